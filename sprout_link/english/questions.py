"""Questions about a statement, in two partitions: taught by the trainer, or kept for the gate.

A statement gives cores ("where the spare key is"), a core takes forms ("Where is the spare
key?", "Can you tell me where the spare key is?"). The trainer uses the taught forms only,
the device's gate the probe forms only, so that what the gate asks was never taught.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sprout_link.english.core import Core
from sprout_link.english.cores import cores, topics
from sprout_link.english.statement import capitalised, flip_person, strip_lead_in
from sprout_link.english.verbs import known_form
from sprout_link.english.words import content_words

# Frames over a core: {d} is the direct question without its mark, {i} the indirect one.
_TAUGHT_FRAMES: Final = (
    ("direct", "{D}?"),
    ("tell", "Can you tell me {i}?"),
    ("remember", "Do you remember {i}?"),
    ("plain", "{d}"),
    ("please", "Please tell me {i}."),
    ("forgot", "I forgot {i}."),
    ("again", "{D} again?"),
    ("hey", "Hey, {d}?"),
    ("remind", "Could you remind me {i}?"),
)
_TAUGHT_TOPIC_FRAMES: Final = (
    ("about", "Tell me about {t}."),
    ("told", "What did I tell you about {t}?"),
    ("said", "Do you remember what I said about {t}?"),
    ("remind-about", "Remind me about {t}."),
)
_PROBE_FRAMES: Final = (
    ("know", "Do you know {i}?"),
    ("quick", "Quick question: {d}?"),
    ("like-to-know", "I'd like to know {i}."),
)
_PROBE_TOPIC_FRAMES: Final = (("what-about", "What do you know about {t}?"),)

HELD_OUT_FORMS: Final = frozenset({"remind", "remind-about"})
"""Of the taught forms, those that the trainer keeps for its own evaluation."""
TAUGHT_FORMS: Final = frozenset(
    {name for name, _ in (*_TAUGHT_FRAMES, *_TAUGHT_TOPIC_FRAMES)} | {"cloze"}
)
PROBE_FORMS: Final = frozenset(name for name, _ in (*_PROBE_FRAMES, *_PROBE_TOPIC_FRAMES))


@dataclass(frozen=True)
class Question:
    """A question as the user would put it, in the user's person."""

    text: str
    form: str
    answer: str = ""
    """The part of the statement that it asks for; empty for a generic question."""


def taught_questions(statement: str) -> list[Question]:
    """Questions for the trainer, the most natural first; the same core in several forms.

    Every statement with a letter or digit gets some, if only generic ones; others get none.
    """
    return _unique(_ask(statement, _TAUGHT_FRAMES, _TAUGHT_TOPIC_FRAMES, cloze=True))


def probe_questions(statement: str) -> list[Question]:
    """Questions for the device's gate; none of them is in `taught_questions`."""
    taught = {_key(question.text) for question in taught_questions(statement)}
    asked = _unique(_ask(statement, _PROBE_FRAMES, _PROBE_TOPIC_FRAMES, cloze=False))
    return [question for question in asked if _key(question.text) not in taught]


def keywords(statement: str, question: Question | str) -> tuple[str, ...]:
    """What an answer must hold: the content words asked for that the question lacks.

    For a question that asks for one part, that part's words. Otherwise the statement's:
    names and numbers alone where there are some, since an answer may put the rest
    otherwise. At most three; empty when the question gives everything away.
    """
    asked = question if isinstance(question, str) else question.text
    part = "" if isinstance(question, str) else flip_person(question.answer)
    given = {_stem(word) for word in content_words(asked)}
    wanted = [
        word
        for word in content_words(strip_lead_in(flip_person(strip_lead_in(statement))))
        if _stem(word) not in given
    ]
    if part:
        part_words = [word for word in content_words(part) if _stem(word) not in given]
        if part_words:
            return tuple(part_words[-3:])
    nouns = [word for word in wanted if known_form(word) is None or word[0].isupper()] or wanted
    first = content_words(strip_lead_in(statement))[:1]
    exact = [
        word
        for word in nouns
        if any(c.isdigit() for c in word) or (word[0].isupper() and [word] != first)
    ]
    return tuple((exact or nouns)[-3:])


def _ask(
    statement: str,
    frames: tuple[tuple[str, str], ...],
    topic_frames: tuple[tuple[str, str], ...],
    *,
    cloze: bool,
) -> Iterator[Question]:
    text = strip_lead_in(statement)
    if not any(c.isalnum() for c in text):
        return
    found = cores(text)
    subjects = topics(text)
    # Forms rotate over the cores, so that a cut list still has every core and every form.
    for turn in range(len(frames)):
        for index, core in enumerate(found):
            name, frame = frames[(turn + index) % len(frames)] if turn else frames[0]
            yield Question(_fill(frame, core), name, core.answer)
        for index, topic in enumerate(subjects):
            if turn < len(topic_frames):
                name, frame = topic_frames[(turn + index) % len(topic_frames)]
                yield Question(frame.format(t=topic), name)
        if cloze and turn == 0 and (opening := _opening(text)):
            yield Question(f"Complete the sentence: {opening} …", "cloze")


def _fill(frame: str, core: Core) -> str:
    return frame.format(D=capitalised(core.direct), d=core.direct, i=core.indirect)


def _opening(text: str) -> str:
    """The flipped statement up to its last content words; empty when there is too little."""
    words = flip_person(text).rstrip(".!?").split()
    return " ".join(words[: max(2, (len(words) * 3) // 5)]) if len(words) >= 3 else ""


def _unique(questions: Iterator[Question]) -> list[Question]:
    seen: set[str] = set()
    kept = []
    for question in questions:
        if (key := question.text) not in seen:
            seen.add(key)
            kept.append(question)
    return kept


def _key(text: str) -> str:
    return " ".join(text.lower().split()).rstrip("?.! …")


def _stem(word: str) -> str:
    key = word.lower()
    form = known_form(key)
    if form is not None:
        return form[0]
    return key.removesuffix("s") if len(key) > 3 else key
