"""What can be asked about a statement: cores such as "where the spare key is", and topics."""

# ruff: noqa: SIM905 - a word list reads better as words

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sprout_link.english.clause import Clause, Phrase, clauses
from sprout_link.english.verbs import known_form
from sprout_link.english.words import (
    NUMBERS,
    content_words,
    is_colour,
    is_name,
    is_person,
    is_time,
    lower_first,
    time_unit,
)

_PLACING: Final = frozenset("put park leave hide keep store lock bury hang stash place".split())
_NAMING: Final = frozenset(["name", "call", "rename", "nickname", "christen"])
_NAMED: Final = re.compile(r"^(?:(?:is|are|was)\s+)?(?:called|named|nicknamed)\s+(.+)$")
_OWNED_NAME: Final = re.compile(r"^(.+?)\s+(?:called|named)\s+(.+)$")
_AGE: Final = re.compile(r"^(?:\d+|[a-z]+(?:-[a-z]+)?)(?:\s+(?:years?|months?)\s+old)$")
_MEASURE: Final = re.compile(r"^.*\b(tall|long|wide|deep|high|heavy|old|far|away)$")
_MONEY: Final = re.compile(r"^(?:[$€£]\s?\d|\d[\d.,]*\s*(?:dollars|euros|pounds|kronor|kroner)\b)")
_NUMBERED: Final = re.compile(r"^(?:the )?([a-z]+) (?:number )?[A-Z]?\d+[A-Za-z]?$")
_ATTACHED: Final = re.compile(
    r"^(my|our|the) ([a-z]+(?: [a-z]+)?) (?:for|at|in|of|to|on) "
    r"(?:my|our|the) ([a-z]+(?: [a-z]+)?)$"
)
_PRONOUNS: Final = frozenset("i we he she they it you there this that".split())


@dataclass(frozen=True)
class Core:
    """One thing to ask: direct ("where is my key") and indirect ("where my key is")."""

    direct: str
    indirect: str
    answer: str = ""
    """The part of the statement that is asked for; empty when it is not just one part."""


def cores(statement: str) -> list[Core]:
    """Everything the rules can ask about a statement, the most natural first, none twice."""
    found: list[Core] = []
    seen: set[str] = set()
    for clause in clauses(statement):
        for core in _cores_of(clause):
            key = core.direct.lower()
            if key not in seen and len(core.direct) <= 160:
                seen.add(key)
                found.append(core)
    return found[:12]


def topics(statement: str) -> list[str]:
    """Noun phrases that a statement is about, in the user's person; at least one."""
    found: list[str] = []
    for clause in clauses(statement):
        if clause.subject.lower() not in _PRONOUNS:
            found.extend(_variants(clause.subject)[:2])
        for phrase in clause.phrases:
            if phrase.slot == "object" and phrase.text and clause.base:
                named = _OWNED_NAME.match(phrase.text)
                thing = _mine(named[1]) if named else _definite(phrase.text)
                found.append(_split_name(thing)[0] or thing)
        if clause.subject.lower() in _PRONOUNS and not clause.base:
            found.extend(p.text for p in clause.phrases if p.slot != "object")
    if not found:
        words = content_words(statement)
        names = re.findall(r"(?<=\s)[A-Z][\w'’-]+(?:\s[A-Z][\w'’-]+)*", statement)
        found = ([name for name in names if content_words(name)] or words)[:2]
    return list(dict.fromkeys(topic for topic in found if len(topic) <= 80))[:3] or ["that"]


def _cores_of(clause: Clause) -> Iterator[Core]:
    if clause.subject.lower() == "there" and not clause.base:
        yield from _existence(clause)
        return
    by_variant = [
        list(_verb_cores(clause, subject) if clause.base else _be_cores(clause, subject))
        for subject in _variants(clause.subject)
    ]
    for rank in range(max(len(found) for found in by_variant)):
        for found in by_variant:
            yield from found[rank : rank + 1]
    yield from _name_cores(clause)
    if clause.base:
        yield from _subject_cores(clause)


def _be_cores(clause: Clause, subject: str) -> Iterator[Core]:
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
        yield about(f"{_possessive(subject)} name")
        return
    name_of = _name_owner(subject)
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
        wh = "where" if first.preposition == "from" else _wh(first.text)
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
                wh = _wh(phrase.text)
                yield ask(wh, f"{head} {phrase.preposition}", answer=phrase.text)
                if head == "allergic":
                    yield from _allergy_cores(subject, phrase.text)
        if head == "born" and (dates := [p.text for p in tail if p.slot == "time"]):
            birthday = f"{_possessive(subject)} birthday"
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
        yield about(f"{_possessive(subject)} age")
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
        yield about(f"{_possessive(subject)} number")
    if subject.lower() not in ("i", "we"):
        yield Core(f"what's {subject}", f"what {subject} is", complement)
        if of := _possessed(subject):
            yield about(of)
    if words[0] in ("a", "an") and (is_person(subject) or is_name(subject)):
        do = "do" if subject.lower() == "i" else "does"
        yield Core(f"what {do} {subject} do", f"what {subject} {do}", complement)
        yield about(f"{_possessive(subject)} job")
    inverse = lower_first(complement)
    person = is_person(inverse) or is_person(subject)
    invertible = person or words[0].lower() in ("my", "our", "the")
    named = words[0] not in ("a", "an") and subject.lower() not in ("i", "we")
    if len(words) <= 5 and invertible and named:
        wh = "who" if person or is_name(subject) else "what"
        yield Core(f"{wh} is {inverse}", f"{wh} {inverse} is", subject)


def _allergy_cores(subject: str, cause: str) -> Iterator[Core]:
    have = "have" if subject.lower() in ("i", "we") else "has"
    do = "do" if have == "have" else "does"
    yield Core(f"what should {subject} not eat", f"what {subject} should not eat", cause)
    yield Core(f"what must {subject} avoid", f"what {subject} must avoid", cause)
    yield Core(f"what allergy {do} {subject} have", f"what allergy {subject} {have}", cause)


def _verb_cores(clause: Clause, subject: str) -> Iterator[Core]:
    phrases = clause.phrases
    target = phrases[0] if phrases and phrases[0].slot == "object" else None
    named = _OWNED_NAME.match(target.text) if target else None
    if target and named and clause.base in ("have", "own", "get", "adopt", "buy"):
        owned = _owned_by(subject, named[1])
        yield from _named_cores(owned, named[2])
        if owned.startswith("our "):
            yield from _named_cores(f"my {owned[4:]}", named[2])
        return
    if target and clause.base in _NAMING:
        thing, name = _split_name(target.text)
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
                thing = _definite(target.text)
                yield Core(f"who has {thing}", f"who has {thing}", phrase.text)
    if not phrases:
        yield _with_verb(clause, subject, "what", "", clause.verb)


def _place_cores(
    clause: Clause, subject: str, target: Phrase | None, phrase: Phrase, kept: str
) -> Iterator[Core]:
    if target and clause.base in _PLACING:
        be = "are" if _is_plural(target.text) else "is"
        for thing in _owned_variants(_definite(target.text)):
            yield Core(f"where {be} {thing}", f"where {thing} {be}", phrase.text)
        if numbered := _NUMBERED.match(phrase.text):
            thing = _owned_variants(_definite(target.text))[-1]
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
        thing = _mine(target.text)
        yield Core(f"when is {thing}", f"when {thing} is", phrase.text)
    yield _with_verb(clause, subject, "when", kept, phrase.text)
    if unit := time_unit(phrase.text):
        yield _with_verb(clause, subject, f"what {unit}", kept, phrase.text)
    if phrase.text.startswith("every"):
        yield _with_verb(clause, subject, "how often", kept, phrase.text)


def _stranded(clause: Clause, subject: str, phrase: Phrase, kept: str) -> Core:
    """A question that leaves its preposition at the end: "who do I play with"."""
    wh = _wh(phrase.text)
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
    counted = words[0].lower() in NUMBERS or words[0].isdigit()
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


def _later_phrases(clause: Clause, ahead: str, behind: str) -> Iterator[Core]:
    for phrase in clause.phrases[1:]:
        if phrase.slot == "time":
            yield Core(f"when {ahead}", f"when {behind}", phrase.text)


def _subject_cores(clause: Clause) -> Iterator[Core]:
    """ "Who lives in Trondheim", for a third person as the subject."""
    if clause.subject.lower() in _PRONOUNS or not clause.rest:
        return
    head = _split_name(clause.subject)[0] or clause.subject
    wh = "who" if is_person(head) or is_name(clause.subject) else "what"
    verb = " ".join(filter(None, (clause.auxiliary, clause.verb)))
    if clause.tense == "base":
        verb = {"have": "has", "do": "does", "go": "goes"}.get(clause.base, f"{clause.base}s")
    yield Core(f"{wh} {verb} {clause.rest}", f"{wh} {verb} {clause.rest}", clause.subject)


def _name_cores(clause: Clause) -> Iterator[Core]:
    """ "My sister Odalys …" also says what the sister is called."""
    thing, name = _split_name(clause.subject)
    if name and is_person(thing):
        yield Core(f"who is {name}", f"who {name} is")
        yield Core(f"what is {thing}'s name", f"what {thing}'s name is", name)
    elif name:
        yield Core(f"what is {thing} called", f"what {thing} is called", name)


def _existence(clause: Clause) -> Iterator[Core]:
    be = clause.auxiliary
    things = [phrase for phrase in clause.phrases if phrase.slot == "object"]
    places = [phrase for phrase in clause.phrases if phrase.slot == "place"]
    for thing in things[:1]:
        for place in places[:1]:
            named = _definite(thing.text)
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


def _variants(subject: str) -> list[str]:
    """Other ways to name the same subject: without its name, by the name, "the" for "our"."""
    found = [subject]
    thing, name = _split_name(subject)
    if name:
        found = [thing, name]
    head, _, tail = subject.partition(" ")
    attached = _ATTACHED.match(subject)
    if attached:
        found.append(f"{attached[1]} {attached[3]} {attached[2]}")
    if head == "our" and tail:
        found.extend([f"the {tail}", f"my {tail}"])
    elif head == "the" and tail and not name:
        found.append(f"my {tail}")
    return found


def _split_name(phrase: str) -> tuple[str, str]:
    """ "my sister Odalys" as ("my sister", "Odalys"); the name is empty when there is none."""
    words = phrase.replace(",", "").split()
    if len(words) < 3 or words[0].lower() not in ("my", "our", "the", "a", "his", "her"):
        return (phrase if len(words) < 3 else ""), ""
    cut = len(words)
    while cut > 1 and is_name(words[cut - 1]):
        cut -= 1
    if cut == len(words) or cut < 2 or not words[cut - 1].islower():
        return phrase, ""
    if words[cut - 1].endswith(("'s", "’s")) or not all(w.islower() for w in words[1:cut]):
        return phrase, ""
    return " ".join(words[:cut]), " ".join(words[cut:])


def _name_owner(subject: str) -> str:
    """Whose name it is: "my dog" for "my dog's name" and "the name of my dog"."""
    for ending in ("'s name", "’s name", "s' name"):
        if subject.endswith(ending):
            return subject.removesuffix(ending) + ("s" if ending == "s' name" else "")
    if subject.lower().startswith("the name of "):
        return subject[len("the name of ") :]
    return ""


def _possessed(subject: str) -> str:
    """ "the vet of my cat" for "my cat's vet", and the other way round."""
    match = re.match(r"^(.+?)['’]s (.+)$", subject)
    if match:
        return f"the {match[2]} of {match[1]}"
    match = re.match(r"^the (\w+(?: \w+)?) (?:of|for) ((?:my|our) .+)$", subject)
    return f"{match[2]}'s {match[1]}" if match else ""


def _owned_by(subject: str, thing: str) -> str:
    if subject.lower() == "we":
        return f"our {_bare(thing)}"
    return _mine(thing) if subject.lower() == "i" else f"{subject}'s {_bare(thing)}"


def _possessive(subject: str) -> str:
    return {"i": "my", "we": "our", "it": "its", "he": "his", "she": "her", "they": "their"}.get(
        subject.lower(), f"{subject}'s"
    )


def _definite(thing: str) -> str:
    """ "the ladder" for "a ladder", "the trees" for "seven trees"."""
    head, _, tail = thing.partition(" ")
    counted = head.lower() in NUMBERS or head.isdigit()
    return f"the {tail}" if tail and (counted or head.lower() in ("a", "an")) else thing


def _owned_variants(thing: str) -> list[str]:
    """ "the car" and "my car" for "the car"."""
    return [thing, f"my {thing[4:]}"] if thing.startswith("the ") else [thing]


def _mine(thing: str) -> str:
    return f"my {_bare(thing)}" if thing.split()[0].lower() in ("a", "an") else thing


def _bare(thing: str) -> str:
    head, _, tail = thing.partition(" ")
    return tail if head.lower() in ("a", "an", "the", "my", "our") and tail else thing


def _is_plural(phrase: str) -> bool:
    last = phrase.split()[-1].lower()
    return last.endswith("s") and not last.endswith(("ss", "us"))


def _wh(phrase: str) -> str:
    return "who" if is_person(phrase) or is_name(phrase) else "what"
