"""A small table of English verbs: is this word a verb form, and what is its base form?"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

Tense = Literal["base", "third", "past"]

BE: Final = frozenset(["am", "is", "are", "was", "were"])
AUXILIARIES: Final = frozenset(
    "can could will would shall should must may might have has had do does did".split()
)
"""Words that come before the subject in a question, besides the forms of "be"."""
_CONTRACTED: Final = frozenset(
    (
        "can't cannot couldn't won't wouldn't shouldn't mustn't don't doesn't didn't haven't "
        "hasn't hadn't isn't aren't wasn't weren't"
    ).split()
)

# base: (past, past participle); the third person and -ing follow from rules.
_IRREGULAR: Final = dict(
    line.split(":")
    for line in (
        "become:became,become begin:began,begun bring:brought,brought build:built,built "
        "buy:bought,bought break:broke,broken catch:caught,caught choose:chose,chosen "
        "come:came,come cost:cost,cost cut:cut,cut dig:dug,dug do:did,done draw:drew,drawn "
        "drink:drank,drunk drive:drove,driven eat:ate,eaten fall:fell,fallen feed:fed,fed "
        "feel:felt,felt find:found,found fly:flew,flown forget:forgot,forgotten "
        "get:got,gotten give:gave,given go:went,gone grow:grew,grown hang:hung,hung "
        "have:had,had hear:heard,heard hide:hid,hidden hit:hit,hit hold:held,held "
        "keep:kept,kept know:knew,known lead:led,led leave:left,left lend:lent,lent "
        "let:let,let lie:lay,lain lose:lost,lost make:made,made meet:met,met pay:paid,paid "
        "put:put,put read:read,read ride:rode,ridden ring:rang,rung run:ran,run say:said,said "
        "see:saw,seen sell:sold,sold send:sent,sent set:set,set shut:shut,shut sing:sang,sung "
        "sit:sat,sat sleep:slept,slept speak:spoke,spoken spend:spent,spent stand:stood,stood "
        "steal:stole,stolen swim:swam,swum take:took,taken teach:taught,taught tell:told,told "
        "think:thought,thought throw:threw,thrown understand:understood,understood "
        "wake:woke,woken wear:wore,worn win:won,won write:wrote,written hurt:hurt,hurt "
        "sew:sewed,sewn mean:meant,meant spell:spelt,spelt"
    ).split()
)
_REGULAR: Final = (
    "accept add adopt agree allow answer arrive ask bake belong borrow brew call carry "
    "change charge clean climb close collect connect cook cover create cycle dance decide "
    "deliver deposit dislike drop earn end enjoy enter expect expire fear finish fix "
    "follow graduate happen hate help hike hope hire inherit install invite join jog jump "
    "land last learn like listen live lock look love manage marry move name need notice "
    "offer open order owe own pack paint park pass perform phone pick plan plant play "
    "prefer prepare promise propose pull push reach receive record refuse remember remind "
    "rename renew rent repair replace require reserve retire return schedule share ship "
    "sign smell snore sound start stay stop store study suggest support swap talk taste "
    "text train travel treat trust try turn use vaccinate visit volunteer wait walk want "
    "wash watch weigh work worry book stash hang tune restore brush contain stain knit "
    "deal measure register publish serve teach translate host"
).split()


def _third(base: str) -> str:
    if base in ("do", "go"):
        return base + "es"
    if base == "have":
        return "has"
    if base.endswith(("s", "sh", "ch", "x", "z")):
        return base + "es"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    return base + "s"


_DOUBLING: Final = frozenset("drop plan stop jog swap prefer knit ship hug chat".split())


def _regular_past(base: str) -> str:
    if base in _DOUBLING:
        return base + base[-1] + "ed"
    if base.endswith("e"):
        return base + "d"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    return base + "ed"


@lru_cache(maxsize=1)
def _forms() -> dict[str, tuple[str, Tense]]:
    """Each finite form: (base, tense), the tense one of base, third, past."""
    forms: dict[str, tuple[str, Tense]] = {}
    for base in _REGULAR:
        forms.setdefault(_regular_past(base), (base, "past"))
    for base, parts in _IRREGULAR.items():
        forms[parts.split(",")[0]] = (base, "past")
    for base in (*_REGULAR, *_IRREGULAR):
        forms.setdefault(_third(base), (base, "third"))
        if base not in forms:  # "put" and "cut" are past more often than present
            forms[base] = (base, "base")
    return forms


def is_verb_form(word: str) -> bool:
    """Whether `word` is a finite verb, an auxiliary or a form of "be" that the table knows."""
    key = word.lower().replace("’", "'")
    return key in BE or key in AUXILIARIES or key in _CONTRACTED or key in _forms()


def known_form(word: str) -> tuple[str, Tense] | None:
    """Base and tense (`base`, `third`, `past`) of a main verb's form, if the table has it."""
    return _forms().get(word.lower())


def guessed_form(word: str) -> tuple[str, Tense] | None:
    """Base and tense by spelling alone, for a word where a verb is expected."""
    key = word.lower()
    if not key.isalpha() or len(key) < 4:
        return None
    if key.endswith("ied"):
        return key[:-3] + "y", "past"
    if key.endswith("ed"):
        stem = key[:-2]
        if len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] not in "lsz":
            return stem[:-1], "past"
        if stem[-1] in "vcgzsu" or (len(stem) > 2 and stem.endswith(("at", "ir", "in"))):
            return stem + "e", "past"
        return stem, "past"
    if key.endswith("ies"):
        return key[:-3] + "y", "third"
    if key.endswith(("shes", "ches", "xes", "sses")):
        return key[:-2], "third"
    if key.endswith("s") and not key.endswith(("ss", "us", "is")):
        return key[:-1], "third"
    return None
