"""Questions for a trial: made on this device of its own memories, and general ones.

Made here and never sent, in forms that the trainer does not teach: an adapter that answers
them holds the memory, not the question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import msgspec

from sprout_link.english.questions import keywords, probe_questions
from sprout_link.english.statement import sentences

MAX_SENTENCE_CHARS: Final = 400
"""Longer sentences make no probe: an answer would not fit a trial."""
_MAX_SENTENCES: Final = 24


@dataclass(frozen=True)
class Probe:
    """A question, and what its answer must hold."""

    question: str
    keywords: tuple[str, ...]
    """All of them, whatever the case. Never logged: they come from memories."""

    def is_answered_by(self, text: str) -> bool:
        """Does `text` hold every keyword?"""
        lowered = " ".join(text.casefold().split())
        return all(" ".join(word.casefold().split()) in lowered for word in self.keywords)


@dataclass(frozen=True)
class Canary:
    """A general question, and the words of which one answers it."""

    question: str
    accept: tuple[str, ...]

    def is_answered_by(self, text: str) -> bool:
        """Does `text` hold one of the words, as a word?"""
        return any(
            re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE)
            for word in self.accept
        )


class _PackagedCanary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ask: str
    accept: tuple[str, ...]


def packaged_canaries() -> tuple[Canary, ...]:
    """The general questions that come with the program."""
    data = (files("sprout_agent.update") / "canaries.json").read_bytes()
    loaded = msgspec.json.decode(data, type=list[_PackagedCanary])
    return tuple(Canary(canary.ask, canary.accept) for canary in loaded)


def make_probes(texts: Sequence[str], *, at_most: int) -> tuple[Probe, ...]:
    """Probes over memory texts, at most `at_most`, spread evenly over the statements.

    A statement that gives no question with something left to answer makes none. The same
    texts give the same probes.
    """
    by_statement = [
        _of_statement(statement)
        for text in texts
        for statement in sentences(text)[:_MAX_SENTENCES]
        if len(statement) <= MAX_SENTENCE_CHARS
    ]
    by_statement = [probes for probes in by_statement if probes]
    chosen: list[Probe] = []
    for turn in range(max(map(len, by_statement), default=0)):
        # More statements than room: take them from all over, not the oldest alone.
        left = [probes[turn] for probes in by_statement if turn < len(probes)]
        chosen += _spread(left, at_most - len(chosen))
    return tuple(chosen)


def _of_statement(statement: str) -> list[Probe]:
    made = ((q.text, keywords(statement, q)) for q in probe_questions(statement))
    return [Probe(text, wanted) for text, wanted in made if wanted]


def _spread(probes: Sequence[Probe], room: int) -> list[Probe]:
    if len(probes) <= room:
        return list(probes)
    return [probes[index * len(probes) // room] for index in range(max(0, room))]
