"""How much a turn is worth keeping: named parts between 0 and 1, or the reason to block it.

Pure: the text, what is known already and the model's surprise go in. The forms are English,
as the default model is. Weights are fixed; a learned network takes their place later.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sprout_agent.memory.forms import (
    ASKED,
    CORRECTION,
    names_of,
    numbers_of,
    sentences_of,
    worth_keeping,
)
from sprout_agent.memory.words import (
    COMMON,
    FIRST_PERSON,
    FUNCTION,
    MONTHS_DAYS,
    SMALL_TALK,
    VERBS,
    words_of,
)

WEIGHTS: Final = {"statement": 0.50, "specificity": 0.35, "novelty": 0.15, "surprise": 0.15}
"""Share of each part; without a surprise the others are scaled to fill up."""


@dataclass(frozen=True)
class Salience:
    """What one turn is worth."""

    text: str
    """What would be kept: the user's own words, without greetings, questions and requests."""
    value: float
    """0 to 1; 0 when blocked."""
    parts: dict[str, float]
    """What the value came from, each 0 to 1: `asked`, `statement`, `specificity`, `novelty`,
    `correction`, and `surprise` where the model was asked."""
    blocked: str | None = None
    """Why it must not be kept whatever its value, as the end of a sentence."""
    supersedes: str | None = None
    """Id of the memory that it corrects."""


@dataclass(frozen=True)
class Known:
    """A stored memory that resembles the turn."""

    memory_id: str
    text: str


def score(
    text: str,
    *,
    known: Sequence[Known] = (),
    duplicate: bool = False,
    surprise: float | None = None,
    asked: bool = False,
) -> Salience:
    """Salience of a user's turn.

    Args:
        known: Stored memories that resemble it.
        duplicate: The store holds the very same already.
        surprise: Mean log-probability per token, nats, that the model gives the statement
            without having seen it in the conversation; None when it was not asked.
        asked: The user asked to keep it by other means than words (`remember`).
    """
    kept, blocked = worth_keeping(text, asked=asked)
    if blocked is None and duplicate:
        blocked = "it is known already"
    if blocked is not None:
        return Salience(text.strip(), 0.0, {}, blocked)
    asks = asked or ASKED.search(kept) is not None
    corrected = _corrected(kept, known)
    parts = {
        "asked": 1.0 if asks else 0.0,
        "statement": _statement(kept),
        "specificity": _specificity(kept),
        "novelty": _novelty(kept, known),
        "correction": 0.0 if not CORRECTION.search(kept) else 1.0 if corrected else 0.5,
    }
    if surprise is not None:
        parts["surprise"] = min(max((-surprise - 2.0) / 4.0, 0.0), 1.0)
    shares = {name: WEIGHTS[name] for name in WEIGHTS if name in parts}
    value = sum(share * parts[name] for name, share in shares.items()) / sum(shares.values())
    value = max(min(value + 0.2 * parts["correction"], 1.0), 0.95 * parts["asked"])
    return Salience(kept, round(value, 4), parts, None, corrected)


def normal_form(text: str) -> str:
    """Words of `text` without case, punctuation and a leading "remember that"."""
    words = words_of(text)
    if words[:2] == ["please", "remember"]:
        words = words[1:]
    if words[:1] == ["remember"]:
        words = words[2:] if words[1:2] == ["that"] else words[1:]
    return " ".join(words)


def _statement(text: str) -> float:
    """Does it have the form of a statement about the user's world?"""
    sentences = sentences_of(text)
    scores = [_statement_form(sentence) for sentence in sentences]
    first = sum(1 for s in sentences if FIRST_PERSON & set(words_of(s)))
    if len(text) > 1_000 and first * 4 < len(sentences):
        return 0.2  # reads like something pasted, not like something told
    return max(scores, default=0.0)


def _statement_form(sentence: str) -> float:
    words = words_of(sentence)
    if len(words) < 3 and not ({"i'm", "my"} & set(words)):
        return 0.1
    if re.match(r"call (?:me|us)\b", sentence, re.IGNORECASE):
        return 1.0
    specific = names_of(sentence) or numbers_of(words)
    if words[0] in ("it", "it's", "its", "that", "that's", "thats", "this") and not specific:
        return 0.2  # about something that only the conversation knows
    if words[0] in ("you", "you're", "your"):
        return 0.2  # about the assistant
    verb = any(w in VERBS or w.endswith(("'s", "'m", "'re", "'ve", "ed")) for w in words)
    if FIRST_PERSON & set(words):
        return 1.0 if verb or len(words) >= 3 else 0.6
    if verb or any(w.endswith("s") and w not in FUNCTION for w in words[1:-1]):
        # Someone or something of theirs, if it is named at all; else it may be anything.
        return 0.75 if specific else 0.6
    return 0.25


def _specificity(text: str) -> float:
    """Does it single something out: names, numbers, dates, codes, rare words?"""
    words = words_of(text)
    numbers = set(numbers_of(words))
    names = {name.lower() for name in names_of(text)}
    missing = 1.0
    for word in dict.fromkeys(words):
        if word in names:
            missing *= 0.5
        elif word in numbers or word in MONTHS_DAYS:
            missing *= 0.6
        elif any(mark in word for mark in "-@/:.") and word not in FUNCTION:
            missing *= 0.5
        elif word not in COMMON and word not in SMALL_TALK and len(word) >= 4:
            missing *= 0.7
        elif word not in FUNCTION and word not in SMALL_TALK and len(word) > 1:
            missing *= 0.88
    return round(1.0 - missing, 4)


def _novelty(text: str, known: Sequence[Known]) -> float:
    """1 less the largest share of its telling words that one known memory has."""
    return round(1.0 - max((_overlap(text, item.text) for item in known), default=0.0), 4)


def _overlap(text: str, other: str) -> float:
    mine = {word for word in words_of(text) if word not in FUNCTION}
    theirs = {word for word in words_of(other) if word not in FUNCTION}
    return len(mine & theirs) / len(mine) if mine else 0.0


def _corrected(text: str, known: Sequence[Known]) -> str | None:
    """The known memory that a correction is about, if it is one and that is clear enough."""
    if not CORRECTION.search(text):
        return None
    best = max(known, key=lambda item: _overlap(item.text, text), default=None)
    return best.memory_id if best and _overlap(best.text, text) >= 0.5 else None
