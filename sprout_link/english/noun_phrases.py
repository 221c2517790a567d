"""Noun phrases put otherwise: whose they are, what they are called, which word asks for them."""

from __future__ import annotations

import re
from typing import Final

from sprout_link.english.words import NUMBERS, is_name, is_person

_ATTACHED: Final = re.compile(
    r"^(my|our|the) ([a-z]+(?: [a-z]+)?) (?:for|at|in|of|to|on) "
    r"(?:my|our|the) ([a-z]+(?: [a-z]+)?)$"
)


def variants(subject: str) -> list[str]:
    """Other ways to name the same subject: without its name, by the name, "the" for "our"."""
    found = [subject]
    thing, name = split_name(subject)
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


def split_name(phrase: str) -> tuple[str, str]:
    """ "my sister Odalys" as ("my sister", "Odalys"); the name is empty when there is none."""
    words = phrase.replace(",", "").split()
    if len(words) < 3 or words[0].lower() not in ("my", "our", "the", "a", "his", "her"):
        return (phrase if len(words) < 3 else ""), ""
    cut = len(words)
    while cut > 1 and is_name(words[cut - 1]):
        cut -= 1
    attached = words[cut - 1] in ("in", "at", "on", "of", "from", "near", "to", "for", "with", "by")
    if cut == len(words) or cut < 2 or attached or not words[cut - 1].islower():
        return phrase, ""
    if words[cut - 1].endswith(("'s", "’s")) or not all(w.islower() for w in words[1:cut]):
        return phrase, ""
    return " ".join(words[:cut]), " ".join(words[cut:])


def name_owner(subject: str) -> str:
    """Whose name it is: "my dog" for "my dog's name" and "the name of my dog"."""
    for ending in ("'s name", "’s name", "s' name"):
        if subject.endswith(ending):
            return subject.removesuffix(ending) + ("s" if ending == "s' name" else "")
    if subject.lower().startswith("the name of "):
        return subject[len("the name of ") :]
    return ""


def possessed(subject: str) -> str:
    """ "the vet of my cat" for "my cat's vet", and the other way round."""
    match = re.match(r"^(.+?)['’]s (.+)$", subject)
    if match:
        return f"the {match[2]} of {match[1]}"
    match = re.match(r"^the (\w+(?: \w+)?) (?:of|for) ((?:my|our) .+)$", subject)
    return f"{match[2]}'s {match[1]}" if match else ""


def possessive(subject: str) -> str:
    """ "my robot's" for "my robot", "my" for "I"."""
    return {"i": "my", "we": "our", "it": "its", "he": "his", "she": "her", "they": "their"}.get(
        subject.lower(), f"{subject}'s"
    )


def definite(thing: str) -> str:
    """ "the ladder" for "a ladder", "the trees" for "seven trees"."""
    head, _, tail = thing.partition(" ")
    counted = head.lower() in NUMBERS or head.isdigit()
    return f"the {tail}" if tail and (counted or head.lower() in ("a", "an")) else thing


def owned_variants(thing: str) -> list[str]:
    """ "the car" and "my car" for "the car"."""
    return [thing, f"my {thing[4:]}"] if thing.startswith("the ") else [thing]


def owned_by(subject: str, thing: str) -> str:
    """ "my cat" for the cat that "I" have, "my sister's cat" for one of hers."""
    if subject.lower() == "we":
        return f"our {_bare(thing)}"
    return mine(thing) if subject.lower() == "i" else f"{subject}'s {_bare(thing)}"


def mine(thing: str) -> str:
    """ "my cat" for "a cat"; anything definite as it is."""
    return f"my {_bare(thing)}" if thing.lower().startswith(("a ", "an ")) else thing


def _bare(thing: str) -> str:
    head, _, tail = thing.partition(" ")
    return tail if head.lower() in ("a", "an", "the", "my", "our") and tail else thing


def is_plural(phrase: str) -> bool:
    """Whether a phrase takes "are", by its last letter."""
    last = phrase.rpartition(" ")[2].lower()
    return last.endswith("s") and not last.endswith(("ss", "us"))


def wh_word(phrase: str) -> str:
    """ "who" for a person or a name, "what" for anything else."""
    return "who" if is_person(phrase) or is_name(phrase) else "what"
