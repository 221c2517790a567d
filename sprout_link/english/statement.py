"""A user's statement: cut into sentences, its lead-in dropped, turned to the other person."""

from __future__ import annotations

import re
from typing import Final

from sprout_link.english.verbs import is_verb_form

_ABBREVIATIONS: Final = frozenset(
    (
        "dr mr mrs ms prof st no nr vs jr sr mt ft gen capt lt sgt rev hon approx dept est "
        "a.m p.m e.g i.e u.s u.k"
    ).split()
)
_TERMINAL: Final = re.compile(r"([.!?]+[\"')\]]*)(\s+|$)|(\n+)")

_LEAD_IN: Final = re.compile(
    r"""^(?:
        (?:please\s+)?(?:do\s+)?(?:also\s+)?(?:remember|note|keep\s+in\s+mind|bear\s+in\s+mind|
            don['’]t\s+forget|never\s+forget|be\s+aware|know|make\s+a\s+note)
            (?:(?:\s+this)?\s*[:,\-–—]|\s+that\b|\s+(?=(?:i|my|our|the|we)\b))
      | (?:just\s+)?(?:so\s+(?:that\s+)?you\s+know|for\s+(?:the|your)\s+(?:record|information)|
            fyi|by\s+the\s+way|btw|in\s+case\s+you\s+(?:need|wonder|were\s+wondering)(?:\s+it)?|
            one\s+(?:more|other)\s+thing|another\s+thing|for\s+future\s+reference|
            for\s+what\s+it['’]s\s+worth|speaking\s+of\s+which|to\s+be\s+clear)\s*[:,\-–—]?
      | i\s+(?:want|would\s+like|['’]d\s+like|need)\s+you\s+to\s+(?:know|remember|note)\s+that
      | i['’]d\s+like\s+you\s+to\s+(?:know|remember|note)\s+that
      | you\s+should\s+(?:know|remember)\s+that
      | (?:please\s+)?note\s*[:,\-–—]
      | (?:oh|ah|hey|well|okay|ok|hi|hello|so|yes|no|actually|anyway|also|sorry|right|look|
            listen|sprout|please|correction|important|reminder|and|but)\s*[,:!\-–—]
      | (?:oh|ah|hey|hi|hello)\s+(?=(?:and|by|sprout|my|i|please)\b)
      | (?:and|but|so|also|actually)\s+(?=(?:my|our|i|i['’]m|i['’]ve|the|we|please|remember|
            by\s+the\s+way)\b)
    )\s*""",
    re.IGNORECASE | re.VERBOSE,
)

_TO_SECOND: Final = {
    "i": "you",
    "me": "you",
    "my": "your",
    "mine": "yours",
    "myself": "yourself",
    "i'm": "you're",
    "i've": "you've",
    "i'll": "you'll",
    "i'd": "you'd",
    "we": "you",
    "us": "you",
    "our": "your",
    "ours": "yours",
    "ourselves": "yourselves",
    "we're": "you're",
    "we've": "you've",
    "we'll": "you'll",
    "we'd": "you'd",
}
_TO_FIRST: Final = {
    "your": "my",
    "yours": "mine",
    "yourself": "myself",
    "yourselves": "ourselves",
    "you're": "I'm",
    "you've": "I've",
    "you'll": "I'll",
    "you'd": "I'd",
}
_AGREEMENT: Final = {"am": "are", "was": "were", "wasn't": "weren't"}
_AGREEMENT_BACK: Final = {"are": "am", "were": "was", "weren't": "wasn't", "aren't": "am not"}
_WORD: Final = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)?")
_ADVERBS: Final = frozenset("also always never often usually really only just still now".split())


def sentences(text: str) -> list[str]:
    """The sentences of `text`, stripped, in order, none empty.

    A full stop after an abbreviation ("Dr."), an initial or inside a number ends nothing.
    """
    found = []
    start = 0
    for match in _TERMINAL.finditer(text):
        if match.group(1) == "." and _is_abbreviation(text[start : match.start()]):
            continue
        found.append(text[start : match.end()].strip())
        start = match.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]


def strip_lead_in(text: str) -> str:
    """`text` without "Remember that", "By the way," and the like, its first letter capital."""
    rest = text.strip()
    for _ in range(4):  # "Oh, and by the way, please remember that …"
        match = _LEAD_IN.match(rest)
        if match is None or match.end() >= len(rest):
            break
        rest = rest[match.end() :].lstrip()
    return capitalised(rest)


def flip_person(text: str) -> str:
    """What the user says of themselves, as one says it to them, and the other way round.

    "My robot is called Quibble." becomes "Your robot is called Quibble."; "you" becomes "I"
    or "me" by what follows it.
    """
    pieces: list[str] = []
    end = 0
    words = list(_WORD.finditer(text))
    previous = ""
    subject = ""  # the flipped pronoun that the next verb agrees with
    for index, match in enumerate(words):
        pieces.append(text[end : match.start()])
        end = match.end()
        word = match.group()
        key = word.lower().replace("’", "'")
        if _starts_sentence(text, match.start()):
            previous, subject = "", ""
        following = words[index + 1].group().lower() if index + 1 < len(words) else ""
        flipped = word
        if key in _TO_SECOND and not (key == "us" and word == "US"):
            flipped = _TO_SECOND[key]
            subject = "you" if key in ("i", "we") else ""
        elif key == "you":
            as_subject = _is_subject_position(previous, following)
            flipped = "I" if as_subject else "me"
            subject = "i" if as_subject else ""
        elif key in _TO_FIRST:
            flipped = _TO_FIRST[key]
            subject = ""
        elif subject == "you" and key in _AGREEMENT:
            flipped, subject = _AGREEMENT[key], ""
        elif subject == "i" and key in _AGREEMENT_BACK:
            flipped, subject = _AGREEMENT_BACK[key], ""
        elif (previous == "and" and key in ("was", "am")) or key not in _ADVERBS:
            subject = ""
        if flipped is not word and word[0].isupper() and _starts_sentence(text, match.start()):
            flipped = capitalised(flipped)
        pieces.append(flipped)
        previous = key
    pieces.append(text[end:])
    return "".join(pieces)


def capitalised(text: str) -> str:
    """`text` with its first letter capital, the rest as it is."""
    return text[:1].upper() + text[1:]


def _is_abbreviation(before: str) -> bool:
    words = before.split()
    if not words:
        return True
    word = words[-1].lstrip("(\"'").lower()
    is_initial = len(word) == 1 and words[-1][-1].isupper() and word != "i"
    return word in _ABBREVIATIONS or is_initial or (len(words) == 1 and word.isdigit())


def _starts_sentence(text: str, position: int) -> bool:
    before = text[:position].rstrip(" \t\"'([“‘")
    return not before or before[-1] in ".!?\n:"


def _is_subject_position(previous: str, following: str) -> bool:
    if previous in ("", "and", "but", "because", "if", "when", "that", "so", "what", "where"):
        return bool(following)
    if previous in ("to", "for", "with", "from", "of", "at", "by", "about", "than"):
        return False
    return is_verb_form(following)
