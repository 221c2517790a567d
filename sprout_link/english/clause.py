"""A plain statement as a clause: subject, verb and phrases, found by rules; or not at all."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal

from sprout_link.english.verbs import AUXILIARIES, BE, Tense, guessed_form, known_form
from sprout_link.english.words import (
    NUMBERS,
    TIME_STARTS,
    is_name,
    is_time,
    lower_first,
)

Slot = Literal["object", "place", "time", "other"]

_PREPOSITIONS: Final = frozenset(
    (
        "in on at under behind beside near inside above below by to from with for about as "
        "since until before after into onto over opposite between against around outside "
        "through during beneath underneath within along across per"
    ).split()
)
_PLACE: Final = frozenset(
    (
        "in on at under behind beside near inside above below by into onto over opposite "
        "between against around outside beneath underneath within along across"
    ).split()
)
_DETERMINERS: Final = frozenset("the a an my our your his her its their this that these".split())
_NEGATED: Final = {"don't": "do", "doesn't": "does", "didn't": "did"}
_CONTRACTIONS: Final = (
    (re.compile(r"\b(I)['’]m\b"), r"\1 am"),
    (re.compile(r"\b(I|[Ww]e|[Tt]hey|[Yy]ou)['’]ve\b"), r"\1 have"),
    (re.compile(r"\b([Ww]e|[Tt]hey|[Yy]ou)['’]re\b"), r"\1 are"),
    (re.compile(r"\b(I|[Ww]e|[Tt]hey|[Yy]ou)['’]ll\b"), r"\1 will"),
    (re.compile(r"\b([Ii]t|[Hh]e|[Ss]he|[Tt]here|[Tt]hat)['’]s\b"), r"\1 is"),
    (re.compile(r"\b([Cc])an(?:no|['’])t\b"), r"\1an't"),
)
_AND: Final = re.compile(
    r",?\s+(?:and|but)\s+(?=(?:it|he|she|they|i|we|my|our|his|her|its|their|the)\b)", re.IGNORECASE
)
_FRONTED: Final = re.compile(
    r"^(?P<front>(?:on|in|at|every|each|since|next|last|this|tomorrow|yesterday|today|tonight|"
    r"after|before|during|from)\b[^,]{0,60}?),?\s+(?P<rest>(?:I|we|my|our|the|he|she|they)\b.+)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Phrase:
    """A part after the verb: an object, or a preposition and what follows it."""

    slot: Slot
    preposition: str
    """Empty for an object and for a bare time such as "every Friday"."""
    text: str

    @property
    def whole(self) -> str:
        """Preposition and text."""
        return f"{self.preposition} {self.text}".strip()


@dataclass(frozen=True)
class Clause:
    """One clause in the speaker's person. Text is as it stands inside a sentence."""

    subject: str
    auxiliary: str
    """A form of "be", a modal, "have" or a negated "do" that stands there; may be empty."""
    verb: str
    """The main verb as it stands; empty after a plain "be"."""
    base: str
    """The main verb's base form; empty after a plain "be"."""
    tense: Tense | Literal[""]
    rest: str
    """Everything after the verb."""
    phrases: tuple[Phrase, ...]


def clauses(sentence: str) -> list[Clause]:
    """The clauses of one sentence in which a verb was found; none is no error."""
    text = sentence.strip().rstrip(".!?… ").strip()
    for pattern, expansion in _CONTRACTIONS:
        text = pattern.sub(expansion, text)
    # A lone dash or comma is no word; taken for one it would make a phrase without a text.
    text = " ".join(word for word in text.split() if any(map(str.isalnum, word)))
    found: list[Clause] = []
    for part in _AND.split(text):
        piece = part.strip(" ,;")
        fronted = _FRONTED.match(piece)
        if fronted is not None:
            front = lower_first(fronted["front"].strip())
            piece = f"{fronted['rest']} {front}"
        clause = _clause(piece)
        if clause is None:
            continue
        if found:
            clause = _with_antecedent(clause, found[0].subject)
        found.append(clause)
    return found


def phrases_of(rest: str) -> tuple[Phrase, ...]:
    """Cut what follows a verb into its object and its prepositional and time phrases."""
    words = rest.split()
    cuts = [0]
    for index, word in enumerate(words):
        if index == 0:
            continue
        key = word.lower().strip(",")
        starts_time = key in TIME_STARTS and words[index - 1].lower() not in (
            *_PREPOSITIONS,
            *_DETERMINERS,
            "of",
        )
        starts_phrase = key in _PREPOSITIONS and words[index - 1].lower() not in _PREPOSITIONS
        if key == "by" and words[index - 1].lower() == "close":
            starts_phrase = False
        if starts_time or starts_phrase:
            cuts.append(index)
    found = []
    for start, end in zip(cuts, [*cuts[1:], len(words)], strict=True):
        piece = [word.strip(",") if i + 1 == end - start else word
                 for i, word in enumerate(words[start:end])]  # fmt: skip
        if piece:
            found.append(_phrase(piece))
    return tuple(found)


def _phrase(words: list[str]) -> Phrase:
    head, tail = words[0].lower(), " ".join(words[1:])
    if len(words) > 2 and (head, words[1].lower()) in (("next", "to"), ("close", "to")):
        return Phrase("place", f"{head} to", " ".join(words[2:]))
    if head in _PREPOSITIONS and tail:
        if (
            head in ("since", "until", "during", "before", "after")
            or (head in ("on", "in", "at", "by", "from") and is_time(tail))
            or (head == "at" and (tail.lower() in NUMBERS or tail.isdigit()))
        ):
            return Phrase("time", head, tail)
        if head in _PLACE and not (head == "by" and is_name(tail)):
            return Phrase("place", head, tail)
        return Phrase("other", head, tail)
    text = " ".join(words)
    if head in TIME_STARTS or is_time(words[-1]) or (head[:1].isdigit() and is_time(text)):
        return Phrase("time", "", text)
    return Phrase("object", "", text)


def _clause(text: str) -> Clause | None:
    words = text.split()
    position = _verb_position(words)
    if position is None:
        return None
    subject = _subject(" ".join(words[:position]))
    head = words[position].lower().replace("’", "'")
    after = words[position + 1 :]
    if head in BE:
        if after and after[0].islower() and after[0].endswith("ing") and len(after[0]) > 5:
            size = 2 if after[0] == "getting" and len(after) > 1 else 1
            verb = " ".join(after[:size])
            return _with_rest(Clause(subject, head, verb, verb, "", "", ()), after[size:])
        return _with_rest(Clause(subject, head, "", "", "", "", ()), after)
    if head in _NEGATED and after:
        base = after[0].lower()
        return _with_rest(Clause(subject, head, base, base, "", "", ()), after[1:])
    main = [word for word in after if word.lower() not in ("also", "always", "just", "never")]
    if head in AUXILIARIES or head.endswith("n't"):
        modal = head not in ("have", "has", "had", "do", "does", "did")
        followed = bool(main) and (modal or _is_participle(main[0]))
        if followed:
            verb = main[0].lower()
            skipped = after.index(main[0]) + 1
            return _with_rest(Clause(subject, head, verb, verb, "", "", ()), after[skipped:])
    form = known_form(head) or guessed_form(head)
    if form is None:
        return None
    return _with_rest(Clause(subject, "", head, form[0], form[1], "", ()), after)


def _with_rest(clause: Clause, words: list[str]) -> Clause:
    rest = " ".join(words)
    return replace(clause, rest=rest, phrases=phrases_of(rest))


def _is_participle(word: str) -> bool:
    form = known_form(word)
    return word.lower() in ("been", "gone", "taken", "given", "written", "seen") or (
        form is not None and form[1] == "past" and word.lower() not in ("read", "put", "cut")
    )


def _verb_position(words: list[str]) -> int | None:
    """Index of the first finite verb after a subject of at least one word."""
    if len(words) < 2:
        return None
    pronoun = words[0].lower() in ("i", "we", "he", "she", "they", "it", "you", "there", "this")
    skip = 1
    if pronoun:
        while skip < len(words) - 1 and words[skip].lower() in _ADVERBS:
            skip += 1
        head = words[skip].lower()
        if _is_finite(head) or guessed_form(head) is not None:
            return skip
    for index in range(1, min(len(words), 14)):
        word = words[index].lower()
        if words[index - 1].lower() in _DETERMINERS or words[index - 1].endswith(("'s", "’s")):
            continue
        if word == "am" and words[index - 1] != "I":
            continue  # "6:40 am"
        if word in BE or word in AUXILIARIES or word.endswith("n't"):
            return index
        form = known_form(word)
        if form is not None and (form[1] != "base" or words[0].lower() in ("my", "our", "the")):
            # A bare base form in a noun phrase is a noun more often: "my work phone is …".
            later = {w.lower() for w in words[index + 1 :]}
            if form[1] == "past" or not (later & BE):
                return index
    for index in range(1, min(len(words), 8)):
        word = words[index].lower()
        if words[index - 1].lower() not in _DETERMINERS and word.isalpha():
            form = guessed_form(word)
            if form is not None and words[index].islower():
                return index
    return None


_ADVERBS: Final = frozenset(
    (
        "also always never often usually really only just still now currently recently "
        "sometimes already absolutely once both finally"
    ).split()
)


def _is_finite(word: str) -> bool:
    return word in BE or word in AUXILIARIES or word.endswith("n't") or known_form(word) is not None


def _subject(text: str) -> str:
    words = text.split()
    while len(words) > 1 and words[-1].lower() in _ADVERBS:
        words.pop()
    return lower_first(" ".join(words).strip(","))


def _with_antecedent(clause: Clause, subject: str) -> Clause:
    words = clause.subject.split()
    head = words[0].lower()
    if subject.lower() in ("i", "we"):
        return clause
    if head in ("it", "he", "she", "they") and len(words) == 1:
        return replace(clause, subject=subject)
    if head in ("his", "her", "its", "their") and len(words) > 1:
        return replace(clause, subject=" ".join([f"{subject}'s", *words[1:]]))
    return clause
