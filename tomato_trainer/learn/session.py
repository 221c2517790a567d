"""One run from base to adapter: the parts of a training job in the order they happen."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from sprout_link.artifact import Proof
from sprout_link.gguf_header import sha256_of
from sprout_link.router import Router
from tomato_trainer.data.general import held_out_rows
from tomato_trainer.data.restate import Example
from tomato_trainer.data.router_rows import router_rows
from tomato_trainer.data.training_set import TrainingSet
from tomato_trainer.evaluate.drift import drift
from tomato_trainer.evaluate.proof import proofs
from tomato_trainer.evaluate.recall import recall
from tomato_trainer.export.gguf_adapter import write_adapter
from tomato_trainer.job_files import ADAPTER_FILE, JobSpec
from tomato_trainer.learn.gguf_base import Base, load_base
from tomato_trainer.learn.loop import Learned, Progress, learn
from tomato_trainer.learn.lora import AttachedLora, attach
from tomato_trainer.learn.packing import Encoder
from tomato_trainer.learn.passes import SplitModel
from tomato_trainer.learn.recipes import Recipe
from tomato_trainer.learn.router import RouterFit, fit_router

MAX_HELD_OUT: Final = 48
"""Most held-out questions that are asked after a run."""
ANSWER_TOKENS: Final = 48


@dataclass(frozen=True)
class Evaluation:
    """What a run achieved."""

    figures: dict[str, float]
    proofs: list[Proof]


@dataclass(frozen=True)
class AdapterFile:
    """The exported adapter."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class TrainingSession:
    """A base with a fresh adapter in it, and what it is to learn."""

    base: Base
    lora: AttachedLora
    split: SplitModel
    encoder: Encoder
    training_set: TrainingSet
    recipe: Recipe

    @staticmethod
    def open(spec: JobSpec, training_set: TrainingSet, recipe: Recipe) -> TrainingSession:
        """Load the job's base and put an adapter into it.

        Raises:
            JobError: the base or its architecture cannot be used.
        """
        warnings.filterwarnings("ignore", module="transformers|peft")
        if spec.threads > 0:
            torch.set_num_threads(spec.threads)
        base = load_base(
            Path(spec.base_path),
            sha256=spec.profile.base_sha256,
            cache_folder=Path(spec.cache_folder),
        )
        if torch.cuda.is_available():
            # bf16 is fast there; on a CPU it is many times slower than fp32.
            base.model.to("cuda", torch.bfloat16)
        lora = attach(base, recipe)
        encoder = Encoder(base.tokenizer, training_set.system_prompt)
        split = SplitModel(lora.model, first_layer=lora.first_layer, prefix=encoder.prefix)
        return TrainingSession(base, lora, split, encoder, training_set, recipe)

    @property
    def architecture(self) -> str:
        """`general.architecture` of the base."""
        return self.base.architecture

    def train(self, progress: Progress) -> Learned:
        """Learn the training set.

        Raises:
            JobError: the loss is no number any more.
        """
        return learn(self.lora, self.split, self.encoder, self.training_set, self.recipe, progress)

    def evaluate(self) -> Evaluation:
        """Recall of held-out questions before and after, drift, and proofs of effect.

        Raises:
            JobError: there is no effect to prove.
        """
        asked = _spread(self.training_set.held_out, MAX_HELD_OUT)
        model = self.lora.model
        after = recall(model, self.encoder, asked, max_tokens=ANSWER_TOKENS)
        with self.lora.bare():
            before = recall(model, self.encoder, asked, max_tokens=ANSWER_TOKENS)
        held_out = held_out_rows()
        texts = [
            self.encoder.text_row(row.text, max_tokens=self.recipe.max_text_tokens)
            for row in held_out.texts
        ]
        chats = [self.encoder.chat_row(row.question, row.answer) for row in held_out.chats]
        text_drift = drift(self.lora, self.split, texts)
        chat_drift = drift(self.lora, self.split, chats)
        return Evaluation(
            figures={
                "recall_held_out": after,
                "recall_held_out_base": before,
                "held_out_questions": float(len(asked)),
                "kl_general": text_drift.kl,
                "perplexity_ratio": text_drift.perplexity_ratio,
                "kl_general_chat": chat_drift.kl,
                "perplexity_ratio_chat": chat_drift.perplexity_ratio,
            },
            proofs=proofs(self.lora, self.split, self.encoder, self.training_set.questions),
        )

    def fit_router(self) -> RouterFit:
        """Fit what tells the device which questions concern these memories."""
        rows = router_rows(
            self.training_set.statements,
            seed=self.recipe.seed,
            rows_per_fact=self.recipe.router_rows_per_fact,
            max_rows=self.recipe.router_max_rows,
        )
        layer = max(1, self.lora.first_layer)
        with self.lora.bare():
            return fit_router(self.lora.model, self.base.tokenizer, rows, self.recipe, layer=layer)

    def export(self, folder: Path, router: Router | None = None) -> AdapterFile:
        """Write the adapter for llama.cpp into `folder`, with its router.

        Raises:
            JobError: it cannot be written.
        """
        path = folder / ADAPTER_FILE
        write_adapter(
            path, self.lora.pairs(), base=self.base, alpha=self.recipe.alpha, router=router
        )
        return AdapterFile(path.name, sha256_of(path), path.stat().st_size)


def _spread(examples: tuple[Example, ...], count: int) -> list[Example]:
    """At most `count` of them, evenly spread."""
    if len(examples) <= count:
        return list(examples)
    return [examples[index * len(examples) // count] for index in range(count)]
