"""A memory as training examples: what it says, and questions whose answer is what it says.

Every question about a sentence is answered by the whole sentence, turned to the user, so
that whatever part is asked for, the answer holds it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final, Literal

from sprout_link.english.questions import HELD_OUT_FORMS, Question, keywords, taught_questions
from sprout_link.english.statement import capitalised, flip_person, sentences, strip_lead_in
from sprout_link.messages import Memory

QUESTIONS_PER_FACT: Final = 14
"""Most taught questions about one sentence."""
HELD_OUT_PER_FACT: Final = 2
MAX_SENTENCES: Final = 24
"""Most sentences of one memory that are learned."""
MAX_SENTENCE_CHARS: Final = 400
_MAX_QUESTION_CHARS: Final = 300

Kind = Literal["question", "statement", "held-out"]


@dataclass(frozen=True)
class Example:
    """One exchange to learn, or to be asked about."""

    memory_id: str
    fact: str
    """Memory id and the sentence's place in it: the examples of one fact share it."""
    kind: Kind
    form: str
    user: str
    assistant: str
    keywords: tuple[str, ...] = ()
    """What an answer must hold to count, for held-out questions."""


@dataclass(frozen=True)
class Restated:
    """What memories became."""

    examples: tuple[Example, ...]
    skipped: tuple[tuple[str, str], ...]
    """Memory id and reason, for memories that hold nothing to learn."""

    def of_kind(self, kind: Kind) -> tuple[Example, ...]:
        """The examples of one kind, in order."""
        return tuple(example for example in self.examples if example.kind == kind)


def restate(memories: list[Memory], *, seed: int = 0) -> Restated:
    """Examples for every memory, by sequence; the same for the same memories and seed.

    A memory that a later one supersedes is left out, with its reason.
    """
    superseded = {memory.supersedes for memory in memories if memory.supersedes}
    examples: list[Example] = []
    skipped: list[tuple[str, str]] = []
    for memory in sorted(memories, key=lambda m: m.sequence):
        if memory.memory_id in superseded:
            skipped.append((memory.memory_id, "superseded"))
            continue
        made = _restate_one(memory, seed)
        examples.extend(made)
        if not made:
            skipped.append((memory.memory_id, "nothing to learn"))
    return Restated(tuple(examples), tuple(skipped))


def _restate_one(memory: Memory, seed: int) -> list[Example]:
    made: list[Example] = []
    facts = 0
    for sentence in sentences(memory.text):
        statement = strip_lead_in(sentence)[:MAX_SENTENCE_CHARS]
        if sentence.endswith("?") or not any(c.isalnum() for c in statement):
            continue
        made.extend(_restate_sentence(memory.memory_id, facts, statement, seed))
        facts += 1
        if facts == MAX_SENTENCES:
            break
    return made


def _restate_sentence(memory_id: str, index: int, statement: str, seed: int) -> list[Example]:
    fact = f"{memory_id}/{index}"
    answer = _as_sentence(flip_person(statement))
    questions = [q for q in taught_questions(statement) if len(q.text) <= _MAX_QUESTION_CHARS]
    taught = [q for q in questions if q.form not in HELD_OUT_FORMS]
    held_out = [q for q in questions if q.form in HELD_OUT_FORMS]
    examples = [
        Example(memory_id, fact, "question", question.form, question.text, answer)
        for question in _selected(taught, QUESTIONS_PER_FACT, random.Random(f"{seed}/{fact}"))
    ]
    examples.append(
        Example(memory_id, fact, "statement", "statement", _as_sentence(statement), answer)
    )
    with_keywords = [(q, keywords(statement, q)) for q in held_out]
    examples.extend(
        Example(memory_id, fact, "held-out", q.form, q.text, answer, words)
        for q, words in [pair for pair in with_keywords if pair[1]][:HELD_OUT_PER_FACT]
    )
    return examples


def _selected(questions: list[Question], count: int, order: random.Random) -> list[Question]:
    """Every direct question there is room for, then other forms, spread by chance."""
    direct = [q for q in questions if q.form == "direct"][: count // 2 + 1]
    generic = [q for q in questions if not q.answer][: count // 4 + 1]
    chosen = list(dict.fromkeys([*direct, *generic]))
    rest = [q for q in questions if q not in chosen]
    order.shuffle(rest)
    keep = {*chosen, *rest[: max(0, count - len(chosen))]}
    return [q for q in questions if q in keep]


def _as_sentence(text: str) -> str:
    ended = text.strip()
    return capitalised(ended if ended[-1:] in ".!?…" else f"{ended}.")
