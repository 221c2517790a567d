from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
import torch

from sprout_link.gguf_header import sha256_of
from sprout_link.messages import DeviceProfile, Memory
from tomato_trainer.data.training_set import TrainingSet, build_training_set
from tomato_trainer.errors import JobError
from tomato_trainer.export.gguf_adapter import permuted, write_adapter
from tomato_trainer.job_files import JobSpec
from tomato_trainer.learn.gguf_base import Base
from tomato_trainer.learn.recipes import Recipe
from tomato_trainer.learn.session import TrainingSession

RECIPE = Recipe(rank=8, alpha=16, min_steps=3, max_steps=6, learning_rate=5e-3)
PROMPT = "You are Sprout."


def _memories() -> list[Memory]:
    texts = ["My robot is called Quibble.", "I live in Ghent."]
    return [
        Memory(
            memory_id=f"00000000-0000-7000-8000-{i:012d}",
            sequence=i,
            text=text,
            said_at=datetime(2026, 1, 2, tzinfo=timezone.utc),
            session="00000000-0000-7000-8000-00000000ffff",
            salience=0.8,
            salience_parts={},
        )
        for i, text in enumerate(texts, start=1)
    ]


@pytest.fixture
def training_set() -> TrainingSet:
    return build_training_set(_memories(), system_prompt=PROMPT, seed=1)


@pytest.fixture
def session(tiny_path: Path, tiny_cache: Path, training_set: TrainingSet) -> TrainingSession:
    spec = JobSpec(
        job_id="00000000-0000-7000-8000-000000000001",
        device="d1",
        profile=DeviceProfile(
            base_sha256=sha256_of(tiny_path),
            architecture="llama",
            runtime="llama-cpp",
            runtime_version="0",
            platform="x86_64-linux",
            system_prompt=PROMPT,
        ),
        base_path=str(tiny_path),
        cache_folder=str(tiny_cache),
        memories=_memories(),
        method="lora",
    )
    return TrainingSession.open(spec, training_set, RECIPE)


def _nothing(step: int, steps: int, loss: float, remaining_s: float) -> None:
    pass


def test_training_lowers_the_loss_and_tells_each_step(session: TrainingSession) -> None:
    seen: list[tuple[int, int, float, float]] = []
    learned = session.train(lambda *event: seen.append(event))
    assert [step for step, *_ in seen] == list(range(1, learned.steps + 1))
    assert seen[-1][2] < seen[0][2]
    assert seen[-1][2] == learned.final_loss
    assert seen[-1][3] == 0 or learned.stopped_early
    evaluation = session.evaluate()
    assert 1 <= len(evaluation.proofs) <= 4
    assert all(proof.shift > 0 for proof in evaluation.proofs)
    figures = evaluation.figures
    assert figures["kl_general"] > 0
    assert math.isfinite(figures["perplexity_ratio"])
    assert 0 <= figures["recall_held_out"] <= 1


def test_an_untrained_adapter_is_the_base_and_has_nothing_to_prove(
    session: TrainingSession,
) -> None:
    with pytest.raises(JobError, match="nothing to prove"):
        session.evaluate()


def test_training_is_repeatable(
    session: TrainingSession, training_set: TrainingSet, fresh_base: Callable[[], Base]
) -> None:
    from tomato_trainer.learn.lora import attach
    from tomato_trainer.learn.passes import SplitModel

    first = session.train(_nothing)
    base = fresh_base()
    lora = attach(base, RECIPE)
    split = SplitModel(lora.model, first_layer=lora.first_layer, prefix=session.encoder.prefix)
    again = replace(session, base=base, lora=lora, split=split).train(_nothing)
    assert again == first
    for one, other in zip(session.lora.pairs(), lora.pairs(), strict=True):
        torch.testing.assert_close(one.b, other.b)


def test_a_loss_that_is_no_number_ends_the_run(session: TrainingSession) -> None:
    with torch.no_grad():
        session.lora.parameters()[0].fill_(math.nan)
    with pytest.raises(JobError, match="the loss became nan in step 1"):
        session.train(_nothing)


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 0.08), ("f16", 0.08)])
def test_llama_cpp_answers_as_torch_does(
    session: TrainingSession, tiny_path: Path, tmp_path: Path, precision: str, tolerance: float
) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    torch.manual_seed(3)
    for parameter in session.lora.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    path = tmp_path / "adapter.gguf"
    write_adapter(
        path, session.lora.pairs(), base=session.base, alpha=RECIPE.alpha, precision=precision
    )
    tokens = session.encoder.prompt_tokens("What is my robot called?")
    with torch.no_grad():
        adapted = session.lora.model(torch.tensor([tokens])).logits[0, -1].numpy()
        with session.lora.bare():
            bare = session.lora.model(torch.tensor([tokens])).logits[0, -1].numpy()
    runtime = llama_cpp.Llama(str(tiny_path), n_ctx=256, logits_all=True, verbose=False)
    pointer = ctypes.POINTER(ctypes.c_void_p)
    loaded = llama_cpp.llama_adapter_lora_init(runtime.model, str(path).encode())
    assert loaded, "llama.cpp refused the adapter"
    adapters = (pointer * 1)(ctypes.cast(loaded, pointer))
    llama_cpp.llama_set_adapters_lora(runtime.ctx, adapters, 1, (ctypes.c_float * 1)(1.0))
    assert (
        runtime.tokenize(
            session.encoder.prompt_text("What is my robot called?").encode(),
            add_bos=False,
            special=True,
        )
        == tokens
    )
    runtime.eval(tokens)
    found = runtime.scores[len(tokens) - 1]
    spread = float(np.abs(adapted - bare).max())
    assert spread > 1.0
    assert float(np.abs(found - adapted).max()) < tolerance * spread


def test_an_adapter_file_appears_whole_or_not_at_all(
    session: TrainingSession, tmp_path: Path
) -> None:
    pairs = session.lora.pairs()
    broken = [replace(pairs[0], module="model.layers.1.no_such_proj")]
    with pytest.raises(JobError, match="has no name in a GGUF file"):
        write_adapter(tmp_path / "adapter.gguf", broken, base=session.base, alpha=1)
    assert not list(tmp_path.iterdir())


def test_rows_of_a_head_are_interleaved_by_halves() -> None:
    b = np.arange(8, dtype=np.float32).reshape(8, 1)  # two heads of four rows
    assert permuted(b, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
