"""Questions like those about a memory, but about something else: swapped words, other owners.

What replaces a word comes from fixed lists, without the words that any memory holds, so that
a pair is never a true question about another memory.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Final, Literal

from sprout_link.english.verbs import known_form
from sprout_link.english.words import DAYS, MONTHS, PEOPLE, content_words

Split = Literal["fit", "calibration"]

_THINGS: Final = (
    "kettle lamp ladder drill hammer printer tent saddle boat canoe bicycle scooter car van truck "
    "phone tablet laptop camera speaker radio clock watch ring necklace scarf coat jacket boot "
    "suitcase backpack wallet passport umbrella mirror carpet curtain sofa armchair bookshelf "
    "wardrobe drawer cupboard fridge oven toaster blender mixer teapot plate bowl fork bottle jar "
    "basket bucket broom mop hose rake shovel greenhouse shed garage garden balcony attic cellar "
    "kitchen bathroom bedroom office workshop school library museum bakery hospital station "
    "harbour airport hotel gym pool park forest lake river island village bridge tower market "
    "cat dog hamster parrot rabbit horse goat hen goldfish tortoise snake donkey pony canary "
    "guitar piano violin drum flute trumpet book diary letter parcel ticket map photo painting "
    "recipe cake soup salad pizza bread cheese apple cherry tomato pepper coffee tea juice "
    "meeting lesson concert exam holiday wedding festival race match course project contract "
    "password code key lock alarm boiler heater pump filter battery cable charger router robot "
    "drone kite puzzle game doll train plane rocket telescope microscope engine tyre helmet"
).split()
_NAMES: Final = (
    "Berit Caspian Dagmar Eustace Fenja Gideon Hesper Ilario Jorunn Kasimir Leocadia Mirembe "
    "Nestor Oriol Perpetua Quill Rosalba Sixten Tindra Ulrika Vesna Wilhelmina Xanthe Yorick "
    "Zelda Anton Bridget Carlos Dina Emil Farah Greta Hugo Ingrid Jonas Klara Ludo Mabel Nico"
).split()
_VERBS: Final = (
    "swim sing paint work study park cook sleep run hike shop dance write fish sail ride teach "
    "wait travel climb"
).split()
_KEPT: Final = frozenset(
    "behind beside between below above inside outside through during around again next".split()
)
_OWNERS: Final = (
    "my neighbour's", "his", "her", "their", "your", "my boss's", "the mayor's", "my friend's",
    "somebody's", "the teacher's", "a stranger's", "my grandfather's", "someone else's",
)  # fmt: skip
_THIRD_PERSONS: Final = ("he", "she", "my neighbour", "the mayor", "my boss", "a cat", "a teacher")
_INDEFINITE: Final = {
    "fit": (
        "What is {a}?", "How do I choose {a}?", "What are {b} for?", "Why do people like {b}?",
        "Tell me about {b}.", "How much does {a} cost?", "Where can I buy {a}?",
        "What should I call {a}?", "How does {a} work?", "Where do people keep {b}?",
        "Can you explain what {a} is?", "What makes a good {n}?", "Do I need {a}?",
        "Who invented the {n}?", "When do people use {b}?",
    ),
    "calibration": (
        "What does one do with {a}?", "How do I look after {a}?", "Which {n} is the best?",
        "Are {b} expensive?", "What is the history of the {n}?",
    ),
}  # fmt: skip
_WORD: Final = re.compile(r"[^\W_](?:[\w'’.:-]*[^\W_])?")
_ASKS_SELF: Final = re.compile(r"\b(do|did|am|have) I\b(?! (?:tell|say|mention|ask))")
_MINE: Final = re.compile(r"\b(?:my|our)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Replacements:
    """Words that stand for no memory, by kind."""

    things: tuple[str, ...]
    names: tuple[str, ...]
    people: tuple[str, ...]
    verbs: tuple[str, ...]
    owners: tuple[str, ...]

    @staticmethod
    def apart_from(texts: list[str], split: Split) -> Replacements:
        """A split's share of every list, without the words of `texts`; shares are disjoint."""
        taken = {_stem(word) for text in texts for word in _words(text)}

        def free(words: list[str]) -> tuple[str, ...]:
            mine = [w for i, w in enumerate(words) if (i % 4 == 3) == (split == "calibration")]
            return tuple(w for w in mine if not taken & {_stem(part) for part in _words(w)})

        owners = [*_OWNERS, *(f"{name}'s" for name in _NAMES)]
        return Replacements(
            things=free(_THINGS),
            names=free(_NAMES),
            people=free(sorted(PEOPLE)),
            verbs=free(_VERBS),
            owners=free(owners),
        )


def swapped(question: str, statement: str, words: Replacements, chance: random.Random) -> list[str]:
    """The question about other subjects: all of its own words replaced, and the last one only.

    Empty when nothing in it comes from the statement, or no replacement is free.
    """
    own = {_stem(word) for word in content_words(statement)} - _KEPT
    places = [m for m in _WORD.finditer(question) if _stem(m[0]) in own]
    nouns = [m for m in places if not _is_verb(question, m)]
    chosen = nouns or places
    if not chosen:
        return []
    # The last word of each run is what the phrase is about: "spare key", "cousin Thessaly".
    heads = [
        m
        for m, after in zip(chosen, [*chosen[1:], None], strict=True)
        if after is None or question[m.end() : after.start()] != " "
    ]
    subjects = [chosen, heads, [heads[0]], [chance.choice(heads)]]
    made = [_replaced(question, some, words, chance) for some in subjects]
    return [text for text in dict.fromkeys(made) if text and text != question]


def of_others(question: str, words: Replacements, chance: random.Random) -> list[str]:
    """The question about someone else's: "my robot" as "Jonas's robot", "do I" as "does he"."""
    made = []
    if _MINE.search(question) and words.owners:
        owner = chance.choice(words.owners)
        made.append(_MINE.sub(lambda m: _cased(owner, m[0]), question, count=1))
    elif (found := _ASKS_SELF.search(question)) and words.names:
        who = chance.choice([*_THIRD_PERSONS, *words.names])
        verb = {"do": "does", "did": "did", "am": "is", "have": "has"}[found[1]]
        made.append(f"{question[: found.start()]}{verb} {who}{question[found.end() :]}")
    return made


def indefinite(statement: str, split: Split, chance: random.Random, count: int) -> list[str]:
    """General questions about the kinds of things that a statement names: "What is a robot?"."""
    nouns = [
        word.lower()
        for word in content_words(statement)[:12]
        if word.isalpha() and word.islower() and known_form(word) is None
    ]
    made = [
        frame.format(a=_with_article(noun), b=noun if _plural(noun) else f"{noun}s", n=noun)
        for noun in nouns
        for frame in _INDEFINITE[split]
    ]
    return chance.sample(made, min(count, len(made)))


def _replaced(
    text: str, places: list[re.Match[str]], words: Replacements, chance: random.Random
) -> str:
    """`text` with other words in `places`; empty when there is none for one of them."""
    for place in reversed(places):
        other = _other(place[0], text, place, words, chance)
        if not other:
            return ""
        text = text[: place.start()] + _cased(other, place[0]) + text[place.end() :]
    return text


def _other(
    word: str, text: str, place: re.Match[str], words: Replacements, chance: random.Random
) -> str:
    bare = word.removesuffix("'s").removesuffix("’s")
    ending = word[len(bare) :]
    key = bare.lower()
    if key in DAYS | MONTHS:
        return chance.choice(sorted((DAYS if key in DAYS else MONTHS) - {key})).capitalize()
    if any(c.isdigit() for c in bare):
        return "".join(chance.choice("123456789") if c.isdigit() else c for c in bare)
    if _is_verb(text, place):
        bank = words.verbs
    elif bare[0].isupper() and place.start() > 0:
        bank = words.names
    elif key in PEOPLE:
        bank = words.people
    else:
        bank = words.things
    if not bank:
        return ""
    other = chance.choice(bank)
    return (f"{other}s" if _plural(key) and bank is words.things else other) + ending


def _is_verb(text: str, place: re.Match[str]) -> bool:
    """Whether the word stands as a base verb: known as one, and not within a noun phrase."""
    form = known_form(place[0].lower())
    if form is None or place[0][0].isupper():
        return False
    before = text[: place.start()].split()
    return not before or before[-1].lower() not in (
        "my", "our", "the", "a", "an", "your", "his", "her", "about", "of", "in", "at", "for",
    )  # fmt: skip


def _cased(word: str, like: str) -> str:
    return word[:1].upper() + word[1:] if like[:1].isupper() else word


def _plural(word: str) -> bool:
    return len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is"))


def _with_article(noun: str) -> str:
    if _plural(noun):
        return noun
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _stem(word: str) -> str:
    key = word.lower().removesuffix("'s").removesuffix("’s")
    form = known_form(key)
    if form is not None:
        return form[0]
    return key.removesuffix("s") if len(key) > 3 else key
