"""What can be asked about a clause with "be": where, when, who, what colour, how old."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sprout_link.english.clause import Clause, Phrase
from sprout_link.english.core import Core
from sprout_link.english.noun_phrases import definite, name_owner, possessed, possessive, wh_word
from sprout_link.english.verbs import known_form
from sprout_link.english.words import (
    NUMBERS,
    is_colour,
    is_name,
    is_person,
    is_time,
    lower_first,
    time_unit,
)

_NAMED: Final = re.compile(r"^(?:(?:is|are|was)\s+)?(?:called|named|nicknamed)\s+(.+)$")
_AGE: Final = re.compile(r"^(?:\d+|[a-z]+(?:-[a-z]+)?)(?:\s+(?:years?|months?)\s+old)$")
_MEASURE: Final = re.compile(r"^.*\b(tall|long|wide|deep|high|heavy|old|far|away)$")


def be_cores(clause: Clause, subject: str) -> Iterator[Core]:
    """What can be asked when `subject` stands for the clause's own."""
    be, complement = clause.auxiliary, clause.rest.strip()
    if not complement:
        return
    words = complement.split()

    def ask(wh: str, tail: str = "", *, answer: str = complement) -> Core:
        end = f" {tail}" if tail else ""
        return Core(f"{wh} {be} {subject}{end}", f"{wh} {subject} {be}{end}", answer)

    def about(noun: str) -> Core:
        """Ask for a noun phrase with "what is"."""
        return Core(f"what is {noun}", f"what {noun} is", complement)

    if _NAMED.match(complement):
        yield ask("what", "called")
        yield about(f"the name of {subject}")
        yield about(f"{possessive(subject)} name")
        return
    name_of = name_owner(subject)
    if name_of:
        yield ask("what")
        yield Core(f"what is {name_of} called", f"what {name_of} is called", complement)
        if is_person(name_of):
            yield Core(f"who is {name_of}", f"who {name_of} is", complement)
        yield about(f"the name of {name_of}")
        return
    first = clause.phrases[0] if clause.phrases else Phrase("object", "", complement)
    if first.slot == "place" and first.preposition:
        yield ask("where", answer=first.text)
        if len(first.text.split()) <= 5:
            yield Core(f"what is {first.whole}", f"what is {first.whole}", subject)
        yield from _later_phrases(clause, f"{be} {subject}", f"{subject} {be}")
        return
    if first.slot == "time":
        yield ask("when")
        if unit := time_unit(complement):
            yield ask(f"what {unit}")
        return
    if first.slot == "other" and first.preposition:
        wh = "where" if first.preposition == "from" else wh_word(first.text)
        yield ask(wh, first.preposition, answer=first.text)
        return
    tail = clause.phrases[1:]
    is_adjectival = (
        len(first.text.split()) <= 2
        and first.text.islower()
        and first.text.split()[0] not in ("a", "an", "the", "my", "our")
    )
    if tail and is_adjectival and not is_colour(first.text):
        head = first.text
        for phrase in tail:
            if phrase.slot == "time":
                yield ask("when", head, answer=phrase.text)
            elif phrase.slot == "place" and known_form(head) is not None:
                yield ask("where", head, answer=phrase.text)
                yield ask("where", answer=phrase.text)
            elif phrase.slot == "place" and head == "born":
                yield ask("where", head, answer=phrase.text)
            else:
                wh = wh_word(phrase.text)
                yield ask(wh, f"{head} {phrase.preposition}", answer=phrase.text)
                if head == "allergic":
                    yield from _allergy_cores(subject, phrase.text)
        if head == "born" and (dates := [p.text for p in tail if p.slot == "time"]):
            birthday = f"{possessive(subject)} birthday"
            yield Core(f"when is {birthday}", f"when {birthday} is", dates[0])
            if unit := time_unit(dates[0]):
                yield ask(f"what {unit}", head, answer=dates[0])
        return
    if is_time(complement) and not is_name(complement):
        yield ask("when")
        if unit := time_unit(complement):
            yield ask(f"what {unit}")
        yield ask("what")
        return
    if is_colour(complement):
        for spelling in ("color", "colour"):
            yield ask(f"what {spelling}")
        yield about(f"the color of {subject}")
        return
    if _AGE.match(complement):
        yield ask("how old")
        yield about(f"{possessive(subject)} age")
        return
    measured = _MEASURE.match(complement)
    if measured:
        yield ask(f"how {'far' if measured[1] == 'away' else measured[1]}")
        return
    if is_person(subject) or is_person(complement) or words[0] in ("Dr.", "Mr.", "Mrs.", "Ms."):
        yield ask("who")
    yield ask("what")
    if words[0].lower() == "number" and len(words) == 2:
        yield ask("what number", answer=words[1])
        yield about(f"{possessive(subject)} number")
    if subject.lower() not in ("i", "we"):
        yield Core(f"what's {subject}", f"what {subject} is", complement)
        if of := possessed(subject):
            yield about(of)
    if words[0] in ("a", "an") and (is_person(subject) or is_name(subject)):
        do = "do" if subject.lower() == "i" else "does"
        yield Core(f"what {do} {subject} do", f"what {subject} {do}", complement)
        yield about(f"{possessive(subject)} job")
    inverse = lower_first(complement)
    person = is_person(inverse) or is_person(subject)
    invertible = person or words[0].lower() in ("my", "our", "the")
    named = words[0] not in ("a", "an") and subject.lower() not in ("i", "we")
    if len(words) <= 5 and invertible and named:
        wh = "who" if person or is_name(subject) else "what"
        yield Core(f"{wh} is {inverse}", f"{wh} {inverse} is", subject)


def _later_phrases(clause: Clause, ahead: str, behind: str) -> Iterator[Core]:
    for phrase in clause.phrases[1:]:
        if phrase.slot == "time":
            yield Core(f"when {ahead}", f"when {behind}", phrase.text)


def _allergy_cores(subject: str, cause: str) -> Iterator[Core]:
    have = "have" if subject.lower() in ("i", "we") else "has"
    do = "do" if have == "have" else "does"
    yield Core(f"what should {subject} not eat", f"what {subject} should not eat", cause)
    yield Core(f"what must {subject} avoid", f"what {subject} must avoid", cause)
    yield Core(f"what allergy {do} {subject} have", f"what allergy {subject} {have}", cause)


def existence(clause: Clause) -> Iterator[Core]:
    """Cores of "there is" and "there are"."""
    be = clause.auxiliary
    things = [phrase for phrase in clause.phrases if phrase.slot == "object"]
    places = [phrase for phrase in clause.phrases if phrase.slot == "place"]
    for thing in things[:1]:
        for place in places[:1]:
            named = definite(thing.text)
            yield Core(f"where {be} {named}", f"where {named} {be}", place.text)
            yield Core(f"what is {place.whole}", f"what is {place.whole}", thing.text)
        words = thing.text.split()
        if len(words) > 1 and (words[0].lower() in NUMBERS or words[0].isdigit()):
            things_text, where = " ".join(words[1:]), " ".join(p.whole for p in places)
            yield Core(
                f"how many {things_text} {be} there {where}".strip(),
                f"how many {things_text} there {be} {where}".strip(),
                words[0],
            )
