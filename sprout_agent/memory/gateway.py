"""The gateway: which turns become memories, and why, in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from sprout_agent.memory.salience import Salience


class MemorySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[memory]`."""

    threshold: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.55
    """Salience from which a turn becomes a memory, 0 to 1."""
    recall_count: Annotated[int, Meta(ge=0, le=32)] = 4
    """Most memories that are recalled into a prompt, 0 to 32; 0 turns recall off."""
    history_turns: Annotated[int, Meta(ge=0, le=200)] = 12
    """Most earlier turns of the session in a prompt, 0 to 200."""
    surprise: bool = False
    """Ask the model how surprising a statement is: one more pass over every turn."""


@dataclass(frozen=True)
class Decision:
    """What the gateway decided about a turn."""

    promote: bool
    reason: str
    """A sentence that a person understands, without the turn's words."""
    salience: float


@dataclass(frozen=True)
class Gateway:
    """Promotes what reaches the threshold."""

    threshold: float

    def decide(self, salience: Salience) -> Decision:
        """Is this turn to become a memory?"""
        if salience.blocked is not None:
            return Decision(False, f"Passed over: {salience.blocked}.", 0.0)
        promote = salience.value >= self.threshold
        figures = f"{salience.value:.2f} of {self.threshold:.2f} needed"
        if promote:
            return Decision(True, f"Kept: {_strong_points(salience)} ({figures}).", salience.value)
        return Decision(False, f"Passed over: {_weak_point(salience)} ({figures}).", salience.value)


def _strong_points(salience: Salience) -> str:
    parts = salience.parts
    points = []
    if parts.get("asked"):
        points.append("you asked to remember it")
    if salience.supersedes:
        points.append("it corrects what was known")
    if parts.get("statement", 0.0) >= 0.9:
        points.append("it says something about you")
    elif parts.get("statement", 0.0) >= 0.5:
        points.append("it states something about your world")
    if parts.get("specificity", 0.0) >= 0.4:
        points.append("it is specific")
    if parts.get("novelty", 0.0) >= 0.7:
        points.append("it is new")
    return ", ".join(points) or "it adds up"


def _weak_point(salience: Salience) -> str:
    parts = salience.parts
    if parts.get("statement", 0.0) < 0.5:
        return "it does not state anything about your world"
    if parts.get("novelty", 1.0) < 0.3:
        return "most of it is known already"
    return "it is not specific enough"
