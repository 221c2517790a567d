"""Texts that a router learns from: questions about memories, and everything else.

What belongs to a memory: its taught questions, in the spellings of people who type fast.
What does not: general questions and talk, and minimal pairs of the memory's own questions.
The calibration rows share no form, no general text and no swapped word with the fitted ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from typing import Final, Literal

import msgspec

from sprout_link.english.cores import topics
from sprout_link.english.questions import HELD_OUT_FORMS, taught_questions
from sprout_link.english.statement import capitalised
from sprout_link.english.verbs import known_form
from sprout_link.english.words import DAYS, MONTHS, content_words
from tomato_trainer.data.general import held_out_rows, training_rows
from tomato_trainer.data.minimal_pairs import (
    Replacements,
    Split,
    indefinite,
    of_others,
    swapped,
)
from tomato_trainer.data.restate import Example

RouterKind = Literal["memory", "general", "near"]

_CALIBRATION_SHARE: Final = 5
"""Every so manieth general question is kept for calibration."""
_MAX_CHARS: Final = 300
_TOPIC_FRAMES: Final = (
    "Where can I find {t}?", "What was it about {t}?", "Any idea about {t}?",
    "What's the deal with {t}?", "{T}, what was that again?", "Do I know anything about {t}?",
    "Who or what is {t}?", "Can you say what {t} was?", "Which one was {t}?",
    "Is there anything to know about {t}?", "When was it with {t}?", "What do I call {t}?",
)  # fmt: skip
_NOUN_FRAMES: Final = (
    "Which {n} is mine?", "What {n} do I have?", "Where is my {n}?", "What's my {n}?",
    "Who is my {n}?", "When is my {n}?", "What about my {n}?", "Which one is my {n}?",
    "How old is my {n}?", "What kind of {n} is mine?", "What number is my {n}?",
    "Which {n} was it?", "What is on my {n}?", "In which place is my {n}?",
)  # fmt: skip
_NAME_FRAMES: Final = (
    "Who is {n}?", "Where is {n}?", "How old is {n}?", "What does {n} do?", "When was {n} born?",
    "In which city is {n}?", "What did I say of {n}?", "What's {n}'s job?", "What is {n}?",
)  # fmt: skip
_PREFIXES: Final = (
    "Hey, ", "Can you tell me: ", "Please, ", "OK, ", "Sorry, ", "Hi Sprout, ", "One more thing: ",
    "So ", "Remind me, ", "Um, ", "I was wondering, ", "Tell me, ", "Well, ",
)  # fmt: skip
_SUFFIXES: Final = (" Thanks!", " I forgot.", " Please.", " I don't remember.")


class _GeneralQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the packaged general questions."""

    text: str


@dataclass(frozen=True)
class RouterRow:
    """A text, and whether it concerns a memory."""

    text: str
    kind: RouterKind


@dataclass(frozen=True)
class RouterRows:
    """What a router is fitted on, and what its threshold and figures come from."""

    fit: tuple[RouterRow, ...]
    calibration: tuple[RouterRow, ...]


def router_rows(
    statements: tuple[Example, ...], *, seed: int, rows_per_fact: int, max_rows: int
) -> RouterRows:
    """Rows for the facts of `statements`; the same for the same facts and settings.

    Args:
        statements: the statement example of each fact.
        seed: of every choice.
        rows_per_fact: most questions about one fact; each brings up to four negatives.
        max_rows: roughly the most rows to fit on; facts get fewer questions above it.
    """
    texts = [example.user for example in statements]
    general = _general(seed)
    room = max(0, max_rows - 2 * len(general["fit"]))
    questions = max(4, min(rows_per_fact, room // (4 * max(1, len(texts)))))
    return RouterRows(
        fit=_split(texts, "fit", general["fit"], seed, questions),
        calibration=_split(texts, "calibration", general["calibration"], seed, questions),
    )


def _split(
    texts: list[str], split: Split, general: list[str], seed: int, questions: int
) -> tuple[RouterRow, ...]:
    words = Replacements.apart_from(texts, split)
    chance = random.Random(f"{seed}/{split}")
    memory: list[str] = []
    near: list[str] = []
    for statement in texts:
        asked = _questions(statement, split, chance, questions)
        memory.extend(asked)
        # Typed forms of both sides alike, so that no spelling gives a side away.
        pairs: list[str] = []
        for question in asked:
            pairs.extend(swapped(question, statement, words, chance))
            pairs.extend(of_others(question, words, chance))
        chance.shuffle(pairs)
        near.extend(pairs[: 2 * questions])
        near.extend(swapped(statement, statement, words, chance)[:2])
        near.extend(indefinite(statement, split, chance, 1 + questions // 3))
    plain = [*general, *(_typed(text, chance) for text in general)]
    taken = set(memory)
    rows = [
        *(RouterRow(text, "memory") for text in dict.fromkeys(memory)),
        *(RouterRow(text, "general") for text in dict.fromkeys(plain) if text not in taken),
        *(RouterRow(text, "near") for text in dict.fromkeys(near) if text not in taken),
    ]
    return tuple(row for row in rows if len(row.text) <= _MAX_CHARS)


def _questions(statement: str, split: Split, chance: random.Random, count: int) -> list[str]:
    """Questions about one fact, about a third of them typed otherwise."""
    held_out = split == "calibration"
    taught = [q.text for q in taught_questions(statement) if _is_held_out(q.form) == held_out]
    if held_out:
        return [*taught[:4], *(_typed(text, chance) for text in taught[:2])]
    about = [
        frame.format(t=topic, T=capitalised(topic))
        for topic in topics(statement)
        for frame in _TOPIC_FRAMES
    ]
    named = _by_noun(statement)
    chance.shuffle(about)
    chance.shuffle(named)
    kept = [*taught[: count // 2], *about[: count // 6], *named[: count // 4]]
    spellings = [_typed(text, chance) for text in chance.choices(taught, k=count - len(kept))]
    return list(dict.fromkeys([*kept, *spellings]))


def _by_noun(statement: str) -> list[str]:
    """Loose questions about the things and names of a statement, not about mere places."""
    words = content_words(statement)[:12]
    before = dict(pairwise(word.strip(".,;:!?") for word in reversed(statement.split())))
    made: list[str] = []
    for word in words:
        if not word.isalpha() or before.get(word, "") in ("in", "at", "on", "from", "near"):
            continue
        if word[0].isupper() and word.lower() not in DAYS | MONTHS:
            made.extend(frame.format(n=word) for frame in _NAME_FRAMES)
        elif word[0].islower() and known_form(word) is None:
            made.extend(frame.format(n=word) for frame in _NOUN_FRAMES)
    return made


def _is_held_out(form: str) -> bool:
    return form in HELD_OUT_FORMS


def _typed(text: str, chance: random.Random) -> str:
    """`text` as somebody may type it: lower case, without its mark, with a word around it."""
    ways: tuple[Callable[[str], str], ...] = (
        lambda t: t.lower().rstrip("?.!"),
        lambda t: t.rstrip("?.!"),
        lambda t: t.lower(),
        lambda t: chance.choice(_PREFIXES) + t[:1].lower() + t[1:],
        lambda t: (chance.choice(_PREFIXES) + t[:1].lower() + t[1:]).lower().rstrip("?.!"),
        lambda t: t + chance.choice(_SUFFIXES),
    )
    return chance.choice(ways)(text)


def _general(seed: int) -> dict[Split, list[str]]:
    """General questions and talk by split, none in both."""
    packaged = list(_packaged())
    random.Random(f"{seed}/general").shuffle(packaged)
    kept = packaged[::_CALIBRATION_SHARE]
    learned = [text for i, text in enumerate(packaged) if i % _CALIBRATION_SHARE]
    calibration = [*kept, *(row.question for row in held_out_rows().chats)]
    apart = {text.lower() for text in calibration}
    fit = [*learned, *(row.question for row in training_rows().chats)]
    return {"fit": [text for text in fit if text.lower() not in apart], "calibration": calibration}


def _packaged() -> Iterator[str]:
    content = (files("tomato_trainer.data") / "general_questions.jsonl").read_bytes()
    for line in content.splitlines():
        if line.strip():
            yield msgspec.json.decode(line, type=_GeneralQuestion).text
