"""Proofs of effect: exchanges that must become likelier once an adapter is really applied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sprout_link.artifact import Proof
from tomato_trainer.data.restate import Example
from tomato_trainer.errors import JobError
from tomato_trainer.evaluate.drift import mean_log_probabilities
from tomato_trainer.learn.lora import AttachedLora
from tomato_trainer.learn.packing import Encoder
from tomato_trainer.learn.passes import SplitModel

MOST_PROOFS: Final = 4
_CANDIDATES: Final = 12
_MAX_CHARS: Final = 2_000


def proofs(
    lora: AttachedLora, split: SplitModel, encoder: Encoder, examples: Sequence[Example]
) -> list[Proof]:
    """The up to four exchanges, of distinct facts, whose answers rose most over the base.

    Raises:
        JobError: no answer rose, so the adapter has no effect to prove.
    """
    first_of_fact: dict[str, Example] = {}
    for example in examples:
        if max(len(example.user), len(example.assistant)) <= _MAX_CHARS:
            first_of_fact.setdefault(example.fact, example)
    chosen = list(first_of_fact.values())[-_CANDIDATES:]
    rows = [encoder.answer_row(example.user, example.assistant) for example in chosen]
    after = mean_log_probabilities(split, rows)
    with lora.bare():
        before = mean_log_probabilities(split, rows)
    found = [
        Proof(prompt=example.user, answer=example.assistant, shift=tuned - base)
        for example, tuned, base in zip(chosen, after, before, strict=True)
        if tuned > base
    ]
    if not found:
        raise JobError("training changed no answer for the better, so there is nothing to prove")
    return sorted(found, key=lambda proof: -proof.shift)[:MOST_PROOFS]
