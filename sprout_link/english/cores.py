"""What can be asked about a statement: cores such as "where the spare key is", and topics."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sprout_link.english.be_cores import be_cores, existence
from sprout_link.english.clause import Clause, clauses
from sprout_link.english.core import Core
from sprout_link.english.noun_phrases import definite, mine, split_name, variants
from sprout_link.english.verb_cores import name_cores, subject_cores, verb_cores
from sprout_link.english.words import content_words

_OWNED_NAME: Final = re.compile(r"^(.+?)\s+(?:called|named)\s+(.+)$")
_PRONOUNS: Final = frozenset("i we he she they it you there this that".split())


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
            found.extend(variants(clause.subject)[:2])
        for phrase in clause.phrases:
            if phrase.slot == "object" and phrase.text and clause.base:
                named = _OWNED_NAME.match(phrase.text)
                thing = mine(named[1]) if named else definite(phrase.text)
                found.append(split_name(thing)[0] or thing)
        if clause.subject.lower() in _PRONOUNS and not clause.base:
            found.extend(p.text for p in clause.phrases if p.slot != "object")
    if not found:
        words = content_words(statement)
        names = re.findall(r"(?<=\s)[A-Z][\w'’-]+(?:\s[A-Z][\w'’-]+)*", statement)
        found = ([name for name in names if content_words(name)] or words)[:2]
    return list(dict.fromkeys(topic for topic in found if len(topic) <= 80))[:3] or ["that"]


def _cores_of(clause: Clause) -> Iterator[Core]:
    if clause.subject.lower() == "there" and not clause.base:
        yield from existence(clause)
        return
    by_variant = [
        list(verb_cores(clause, subject) if clause.base else be_cores(clause, subject))
        for subject in variants(clause.subject)
    ]
    for rank in range(max(len(found) for found in by_variant)):
        for found in by_variant:
            yield from found[rank : rank + 1]
    yield from name_cores(clause)
    if clause.base:
        yield from subject_cores(clause)
