"""Scores the demo, purely: does an answer count, how many do, and is the night a success."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

MIN_RECALL: Final = 0.8


@dataclass(frozen=True)
class Asked:
    """One question and its answers before and after the night."""

    question: str
    expect: tuple[str, ...]
    before: str
    after: str = ""

    @property
    def right_before(self) -> bool:
        """Did the base know it already?"""
        return holds_every(self.before, self.expect)

    @property
    def right_after(self) -> bool:
        """Does the device know it now?"""
        return holds_every(self.after, self.expect)


@dataclass(frozen=True)
class Score:
    """The demo's figures; each is a fraction of its questions, 0 to 1."""

    recall_before: float
    recall_after: float
    general_before: float
    general_after: float


def holds_every(answer: str, keywords: Sequence[str]) -> bool:
    """Whether `answer` holds every keyword, whatever the case and the kind of space."""
    flat = " ".join(answer.casefold().split())
    return all(" ".join(word.casefold().split()) in flat for word in keywords)


def score(recall: Sequence[Asked], general: Sequence[Asked]) -> Score:
    """Fractions of right answers."""
    return Score(
        recall_before=_fraction(asked.right_before for asked in recall),
        recall_after=_fraction(asked.right_after for asked in recall),
        general_before=_fraction(asked.right_before for asked in general),
        general_after=_fraction(asked.right_after for asked in general),
    )


def shortcomings(figures: Score, *, active: str | None, published: str | None) -> list[str]:
    """Why the demo is no success; empty when it is one."""
    reasons = []
    if figures.recall_after < MIN_RECALL:
        reasons.append(f"recall is {figures.recall_after:.2f}, expected at least {MIN_RECALL}")
    if figures.recall_after <= figures.recall_before:
        reasons.append("recall did not rise")
    if figures.general_after < figures.general_before:
        reasons.append(
            f"general ability fell from {figures.general_before:.2f} to {figures.general_after:.2f}"
        )
    if active is None or active != published:
        reasons.append("the new artifact is not in the active slot")
    return reasons


def _fraction(right: Iterable[bool]) -> float:
    values = list(right)
    return sum(values) / len(values) if values else 0.0
