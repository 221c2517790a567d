"""The training loop: questions and statements to learn, general rows to leave alone."""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from tomato_trainer.data.training_set import TrainingSet
from tomato_trainer.errors import JobError
from tomato_trainer.learn.lora import AttachedLora
from tomato_trainer.learn.packing import Encoder, Row
from tomato_trainer.learn.passes import SplitModel
from tomato_trainer.learn.recipes import Recipe

T = TypeVar("T")

Progress = Callable[[int, int, float, float], None]
"""Called after each step with step, steps, loss (nats per token) and remaining seconds."""


@dataclass(frozen=True)
class Learned:
    """How a run ended."""

    steps: int
    final_loss: float
    """Mean cross-entropy of the last step's rows, nats per token."""
    exact_share: float
    """Share of the questions whose latest visit was greedy-correct in every token."""
    stopped_early: bool


@dataclass(frozen=True)
class _StepRows:
    questions: list[Row]
    statement: Row
    anchors: list[Row]
    """A general text and general chats."""


def learn(
    lora: AttachedLora,
    split: SplitModel,
    encoder: Encoder,
    training_set: TrainingSet,
    recipe: Recipe,
    progress: Progress,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Learned:
    """Train the adapter in place until every question is exact, or the steps are used up.

    A step's loss is the cross-entropy of the answers of `questions_per_step` questions about
    distinct facts and of one statement, and the mean KL(base || adapted) of one general text
    and `chats_per_step` general chats.

    Raises:
        JobError: the loss is no number any more.
    """
    schedule = _Schedule(encoder, training_set, recipe)
    split.keep([*schedule.questions, *schedule.statements])
    steps = recipe.steps(training_set.facts)
    optimizer = torch.optim.AdamW(lora.parameters(), lr=recipe.learning_rate, weight_decay=0.0)
    exact: dict[Row, bool] = dict.fromkeys(schedule.questions, False)
    base_states: dict[Row, Tensor] = {}
    began = clock()
    loss = math.nan
    for step, rows in enumerate(schedule.steps(steps), start=1):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * rate_share(step, steps, recipe)
        _add_base_states(lora, split, rows.anchors, base_states)
        loss = _one_step(split, rows, recipe, base_states, exact)
        if not math.isfinite(loss):
            raise JobError(
                f"the loss became {loss} in step {step}; try a smaller learning_rate than "
                f"{recipe.learning_rate:g}"
            )
        torch.nn.utils.clip_grad_norm_(lora.parameters(), recipe.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        progress(step, steps, loss, (clock() - began) / step * (steps - step))
        if step >= recipe.min_steps and all(exact.values()):
            break
    share = sum(exact.values()) / max(1, len(exact))
    return Learned(step, loss, share, stopped_early=step < steps)


def rate_share(step: int, steps: int, recipe: Recipe) -> float:
    """Share of the learning rate in `step` (from 1): linear warm-up, then a cosine."""
    if step <= recipe.warmup_steps:
        return step / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, steps - recipe.warmup_steps)
    low = recipe.final_rate_share
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _one_step(
    split: SplitModel,
    rows: _StepRows,
    recipe: Recipe,
    base_states: dict[Row, Tensor],
    exact: dict[Row, bool],
) -> float:
    """Forward and backward; gives the learned rows' cross-entropy."""
    learned = [*rows.questions, rows.statement]
    packed, states = split.final_states([*learned, *rows.anchors], learn=True)
    logits = split.logits(states[torch.cat(packed.predictors)])
    sizes = [len(p) for p in packed.predictors]
    pieces = list(torch.split(logits, sizes))
    labels = torch.cat(packed.labels[: len(learned)])
    cross_entropy = functional.cross_entropy(torch.cat(pieces[: len(learned)]), labels)
    with torch.no_grad():
        for row, piece, label in zip(rows.questions, pieces, packed.labels, strict=False):
            exact[row] = bool((piece.argmax(-1) == label).all())
    divergence = torch.stack(
        [
            kl_to_base(split.logits(base_states[row]), piece)
            for row, piece in zip(rows.anchors, pieces[len(learned) :], strict=True)
        ]
    ).mean()
    (cross_entropy + recipe.kl_weight * divergence).backward()  # type: ignore[no-untyped-call]
    return float(cross_entropy.detach())


def kl_to_base(base_logits: Tensor, logits: Tensor) -> Tensor:
    """Mean KL(base || adapted) over (N, vocabulary) logits, nats per token, a scalar."""
    return functional.kl_div(
        functional.log_softmax(logits, -1),
        functional.log_softmax(base_logits, -1),
        reduction="batchmean",
        log_target=True,
    )


def _add_base_states(
    lora: AttachedLora, split: SplitModel, rows: Sequence[Row], known: dict[Row, Tensor]
) -> None:
    """The base's last states where a row's targets are predicted, once for each row."""
    missing = [row for row in rows if row not in known]
    if missing:
        with lora.bare():
            packed, states = split.final_states(missing, learn=False)
        for row, predictors in zip(missing, packed.predictors, strict=True):
            known[row] = states[predictors].clone()


class _Schedule:
    """Which rows each step sees: every question before any comes again, facts mixed."""

    def __init__(self, encoder: Encoder, training_set: TrainingSet, recipe: Recipe) -> None:
        self._order = random.Random(recipe.seed)
        self._per_step = recipe.questions_per_step
        self._chats_per_step = recipe.chats_per_step
        self._by_fact: dict[str, list[Row]] = defaultdict(list)
        for example in training_set.questions:
            self._by_fact[example.fact].append(encoder.chat_row(example.user, example.assistant))
        self.statements = [
            encoder.chat_row(example.user, example.assistant, whole=True)
            for example in training_set.statements
        ]
        self._texts = [
            encoder.text_row(row.text, max_tokens=recipe.max_text_tokens)
            for row in training_set.general.texts
        ]
        self._chats = [
            encoder.chat_row(row.question, row.answer) for row in training_set.general.chats
        ]

    @property
    def questions(self) -> list[Row]:
        return [row for rows in self._by_fact.values() for row in rows]

    def steps(self, count: int) -> Iterator[_StepRows]:
        facts = self._endless(list(self._by_fact))
        questions = {fact: self._endless(rows) for fact, rows in self._by_fact.items()}
        statements = self._endless(self.statements)
        texts, chats = self._endless(self._texts), self._endless(self._chats)
        for _ in range(count):
            chosen = [next(questions[next(facts)]) for _ in range(self._per_step)]
            anchors = [next(texts), *(next(chats) for _ in range(self._chats_per_step))]
            yield _StepRows(chosen, next(statements), anchors)

    def _endless(self, values: list[T]) -> Iterator[T]:
        while True:
            shuffled = list(values)
            self._order.shuffle(shuffled)
            yield from shuffled
