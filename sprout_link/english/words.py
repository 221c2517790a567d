"""Small word lists: what names a time, a person, a colour, and what carries no content."""

from __future__ import annotations

import re
from typing import Final

DAYS: Final = frozenset(
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
)
MONTHS: Final = frozenset(
    (
        "january february march april may june july august september october november december"
    ).split()
)
_TIME_WORDS: Final = (
    DAYS
    | MONTHS
    | {f"{day}s" for day in DAYS}
    | frozenset(
        (
            "noon midnight morning mornings evening evenings afternoon night weekend weekends "
            "spring summer autumn winter tomorrow yesterday today tonight week month year "
            "christmas easter o'clock oclock weekday weekdays"
        ).split()
    )
)
TIME_STARTS: Final = frozenset(
    "every each last next tomorrow yesterday today tonight once twice".split()
)
_CLOCK: Final = re.compile(
    r"\b(?:\d{1,2}[:.]\d{2}|\d{1,2}\s*(?:am|pm|a\.m|p\.m)|(?:half|quarter)\s+(?:past|to)\s)",
    re.IGNORECASE,
)
_YEAR: Final = re.compile(r"^(?:1[5-9]|20)\d\d$")
COLOURS: Final = frozenset(
    (
        "red blue green yellow orange purple pink brown black white grey gray violet "
        "turquoise teal crimson scarlet maroon beige gold silver navy cyan magenta lilac "
        "indigo olive"
    ).split()
)
PEOPLE: Final = frozenset(
    (
        "mother father mum mom dad sister brother aunt uncle cousin niece nephew grandmother "
        "grandfather grandma grandpa granny son daughter wife husband partner girlfriend "
        "boyfriend fiance fiancee friend neighbour neighbor boss manager colleague coworker "
        "teacher tutor coach doctor dentist vet landlord landlady plumber electrician lawyer "
        "therapist physio physiotherapist hairdresser barber trainer nanny babysitter "
        "mechanic accountant gardener roommate flatmate twin child baby supervisor professor "
        "captain nurse surgeon optician stepmother stepfather goddaughter godson grandson "
        "granddaughter instructor mentor assistant cleaner"
    ).split()
)
NUMBERS: Final = frozenset(
    (
        "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty "
        "ninety hundred"
    ).split()
)
STOP_WORDS: Final = frozenset(
    (
        "a an the my our your his her its their this that these those i we you he she it they "
        "me us him them is am are was were be been being do does did done have has had can "
        "could will would shall should must may might and or but if of to in on at by for "
        "from with about as into onto over under near than then so not no yes there here very "
        "just also too really always who whom whose what when where which why how name named "
        "called mine yours ours since until before after every each some any s t m re ve ll d "
        "up out off don't doesn't didn't never ever"
    ).split()
)
_CAPITALISED: Final = re.compile(r"^[A-Z][\w'’.-]*$")
_KEEP_CAPITAL: Final = frozenset(["I", "I'm", "I've", "I'll", "I'd"])
_LOWERED: Final = frozenset(
    (
        "my our the a an your his her its their this that these those we he she it they there "
        "you every each on in at since next last some all both two three four five six seven "
        "eight"
    ).split()
)


def lower_first(text: str) -> str:
    """`text` as it stands inside a sentence: a leading article or pronoun loses its capital."""
    head, _, tail = text.partition(" ")
    if head in _KEEP_CAPITAL or head.lower() not in _LOWERED:
        return text
    return f"{head.lower()} {tail}".strip()


def is_time(text: str) -> bool:
    """Whether a phrase without its preposition names a time: a day, month, year or hour."""
    words = [word.strip(",.").lower() for word in text.split()]
    if not words:
        return False
    return (
        bool(_CLOCK.search(text))
        or any(word in _TIME_WORDS for word in words)
        or (len(words) == 1 and bool(_YEAR.match(words[0])))
    )


def time_unit(text: str) -> str:
    """What a question about this time may ask for: "day", "time", "year", or nothing."""
    words = {word.strip(",.").lower() for word in text.split()}
    if words & DAYS:
        return "day"
    if _CLOCK.search(text) or words & {"noon", "midnight", "o'clock"}:
        return "time"
    if any(_YEAR.match(word) for word in words):
        return "year"
    return "month" if words & MONTHS and not any(word.isdigit() for word in words) else ""


def is_name(text: str) -> bool:
    """Whether `text` is a proper name: every word capitalised, none an article."""
    words = text.split()
    return (
        bool(words)
        and all(_CAPITALISED.match(w) or w in ("de", "van", "von", "der") for w in words)
        and words[0].lower() not in STOP_WORDS
        and words[0].lower() not in DAYS | MONTHS
    )


def is_person(text: str) -> bool:
    """Whether a noun phrase names a person: a role such as "my sister", or a title."""
    words = [word.strip(",.").lower() for word in text.split()]
    if not words or any(word.endswith(("'s", "’s")) for word in words):
        return False
    return words[0] in ("dr", "mr", "mrs", "ms", "prof") or any(
        word in PEOPLE or word.removesuffix("s") in PEOPLE for word in words
    )


def is_colour(text: str) -> bool:
    """Whether `text` is a colour, such as "dark green"."""
    words = text.lower().replace(",", " ").replace("-", " ").split()
    return (
        bool(words)
        and words[-1] in COLOURS
        and all(
            word in COLOURS or word in ("dark", "light", "bright", "pale", "deep", "and", "bottle")
            for word in words
        )
    )


def content_words(text: str) -> list[str]:
    """Words of `text` that carry content, in order, once each, punctuation stripped."""
    found: list[str] = []
    seen: set[str] = set()
    for raw in text.split():
        word = raw.strip(".,;:!?…\"'()[]“”‘’").removesuffix("'s").removesuffix("’s")
        key = word.lower().replace("’", "'")
        if not word or key in seen or not any(c.isalnum() for c in word):
            continue
        if key in STOP_WORDS or ("'" in key and key.split("'")[0] in STOP_WORDS | {"can"}):
            continue
        seen.add(key)
        found.append(word)
    return found
