"""What can be asked about a clause with a main verb: its subject, object, place and time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sprout_link.english.clause import Clause, Phrase
from sprout_link.english.core import Core
from sprout_link.english.noun_phrases import (
    definite,
    is_plural,
    mine,
    owned_by,
    owned_variants,
    split_name,
    wh_word,
)
from sprout_link.english.words import NUMBERS, is_name, is_person, is_time, time_unit

_PLACING: Final = frozenset("put park leave hide keep store lock bury hang stash place".split())
_NAMING: Final = frozenset(["name", "call", "rename", "nickname", "christen"])
_OWNED_NAME: Final = re.compile(r"^(.+?)\s+(?:called|named)\s+(.+)$")
_MONEY: Final = re.compile(r"^(?:[$€£]\s?\d|\d[\d.,]*\s*(?:dollars|euros|pounds|kronor|kroner)\b)")
_NUMBERED: Final = re.compile(r"^(?:the )?([a-z]+) (?:number )?[A-Z]?\d+[A-Za-z]?$")
_PRONOUNS: Final = frozenset("i we he she they it you there this that".split())


def verb_cores(clause: Clause, subject: str) -> Iterator[Core]:
    """What can be asked when `subject` stands for the clause's own."""
    phrases = clause.phrases
    target = phrases[0] if phrases and phrases[0].slot == "object" else None
    named = _OWNED_NAME.match(target.text) if target else None
    if target and named and clause.base in ("have", "own", "get", "adopt", "buy"):
        owned = owned_by(subject, named[1])
        yield from _named_cores(owned, named[2])
        if owned.startswith("our "):
            yield from _named_cores(f"my {owned[4:]}", named[2])
        return
    if target and clause.base in _NAMING:
        thing, name = split_name(target.text)
        if name:
            yield _with_verb(clause, subject, "what", thing, name)
            yield from _named_cores(thing, name)
            return
    for index, phrase in enumerate(phrases):
        when = phrase.slot == "time" or (bool(phrase.preposition) and is_time(phrase.text))
        others = [
            p.whole for i, p in enumerate(phrases) if i != index and not (when and p.slot == "time")
        ]
        kept, brief = " ".join(others), " ".join(others[:1])
        if phrase.slot == "object" and index == 0:
            yield from _object_cores(clause, subject, phrase.text, kept)
        elif when:
            yield from _time_cores(clause, subject, target, phrase, brief)
        elif phrase.slot == "place":
            yield from _place_cores(clause, subject, target, phrase, brief)
        else:
            yield _stranded(clause, subject, phrase, brief)
            if target and phrase.preposition == "to" and clause.base in ("lend", "give", "loan"):
                thing = definite(target.text)
                yield Core(f"who has {thing}", f"who has {thing}", phrase.text)
    if not phrases:
        yield _with_verb(clause, subject, "what", "", clause.verb)


def _place_cores(
    clause: Clause, subject: str, target: Phrase | None, phrase: Phrase, kept: str
) -> Iterator[Core]:
    if target and clause.base in _PLACING:
        be = "are" if is_plural(target.text) else "is"
        for thing in owned_variants(definite(target.text)):
            yield Core(f"where {be} {thing}", f"where {thing} {be}", phrase.text)
        if numbered := _NUMBERED.match(phrase.text):
            thing = owned_variants(definite(target.text))[-1]
            wh, prep = f"what {numbered[1]}", phrase.preposition
            yield Core(f"{wh} {be} {thing} {prep}", f"{wh} {thing} {be} {prep}", phrase.text)
    yield _with_verb(clause, subject, "where", kept, phrase.text)
    if kept and clause.base in ("work", "live", "study", "play", "train", "keep"):
        yield _with_verb(clause, subject, "where", "", phrase.text)
    if numbered := _NUMBERED.match(phrase.text):
        end = f"{kept} {phrase.preposition}".strip()
        yield _with_verb(clause, subject, f"what {numbered[1]}", end, phrase.text)
    elif clause.base in ("live", "grow", "move") and is_name(phrase.text):
        yield _with_verb(clause, subject, "what city", phrase.preposition, phrase.text)


def _time_cores(
    clause: Clause, subject: str, target: Phrase | None, phrase: Phrase, kept: str
) -> Iterator[Core]:
    if target and clause.base in ("move", "reschedule", "postpone", "schedule", "have"):
        thing = mine(target.text)
        yield Core(f"when is {thing}", f"when {thing} is", phrase.text)
    yield _with_verb(clause, subject, "when", kept, phrase.text)
    if unit := time_unit(phrase.text):
        yield _with_verb(clause, subject, f"what {unit}", kept, phrase.text)
    if phrase.text.startswith("every"):
        yield _with_verb(clause, subject, "how often", kept, phrase.text)


def _stranded(clause: Clause, subject: str, phrase: Phrase, kept: str) -> Core:
    """A question that leaves its preposition at the end: "who do I play with"."""
    wh = wh_word(phrase.text)
    if phrase.preposition == "to" and clause.base in ("go", "fly", "move", "travel"):
        return _with_verb(clause, subject, "where", kept, phrase.text)
    if phrase.preposition == "from" and clause.base not in ("borrow", "get", "buy", "inherit"):
        wh = "where"
    return _with_verb(clause, subject, wh, f"{kept} {phrase.preposition}".strip(), phrase.text)


def _named_cores(thing: str, name: str) -> Iterator[Core]:
    yield Core(f"what is {thing} called", f"what {thing} is called", name)
    yield Core(f"what is the name of {thing}", f"what the name of {thing} is", name)
    yield Core(f"what is {thing}'s name", f"what {thing}'s name is", name)


def _object_cores(clause: Clause, subject: str, target: str, kept: str) -> Iterator[Core]:
    words = target.split()
    counted = bool(words) and (words[0].lower() in NUMBERS or words[0].isdigit())
    if clause.base == "cost" or _MONEY.match(target):
        yield _with_verb(clause, subject, "how much", kept, target)
    elif counted and len(words) > 1:
        things = " ".join(words[1:])
        yield _with_verb(clause, subject, f"how many {things}", kept, words[0])
        yield _with_verb(clause, subject, "what", kept, target)
    elif is_person(target):
        yield _with_verb(clause, subject, "who", kept, target)
        return
    if not (counted and len(words) > 1):
        yield _with_verb(clause, subject, "what", kept, target)
        if clause.base in ("drive", "ride", "play", "drink", "use", "speak", "study"):
            yield _with_verb(clause, subject, "what", "", target)


def subject_cores(clause: Clause) -> Iterator[Core]:
    """ "Who lives in Trondheim", for a third person as the subject."""
    if clause.subject.lower() in _PRONOUNS or not clause.rest:
        return
    head = split_name(clause.subject)[0] or clause.subject
    wh = "who" if is_person(head) or is_name(clause.subject) else "what"
    verb = " ".join(filter(None, (clause.auxiliary, clause.verb)))
    if clause.tense == "base":
        verb = {"have": "has", "do": "does", "go": "goes"}.get(clause.base, f"{clause.base}s")
    yield Core(f"{wh} {verb} {clause.rest}", f"{wh} {verb} {clause.rest}", clause.subject)


def name_cores(clause: Clause) -> Iterator[Core]:
    """ "My sister Odalys …" also says what the sister is called."""
    thing, name = split_name(clause.subject)
    if name and is_person(thing):
        yield Core(f"who is {name}", f"who {name} is")
        yield Core(f"what is {thing}'s name", f"what {thing}'s name is", name)
    elif name:
        yield Core(f"what is {thing} called", f"what {thing} is called", name)


def _with_verb(clause: Clause, subject: str, wh: str, kept: str, answer: str) -> Core:
    """Do-support, or the auxiliary that stands there, before the subject."""
    end = f" {kept}" if kept else ""
    if clause.auxiliary:
        verb = f" {clause.verb}" if clause.verb else ""
        return Core(
            f"{wh} {clause.auxiliary} {subject}{verb}{end}",
            f"{wh} {subject} {clause.auxiliary}{verb}{end}",
            answer,
        )
    do = {"past": "did", "third": "does"}.get(clause.tense, "do")
    return Core(
        f"{wh} {do} {subject} {clause.base}{end}", f"{wh} {subject} {clause.verb}{end}", answer
    )
