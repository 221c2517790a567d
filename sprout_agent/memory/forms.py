"""What form a sentence has: question, request, small talk, or something that may be kept.

Pure, and English, as the default model is. The forms are rough on purpose: what they let
through is still weighed, so they only stop what is certainly nothing to keep.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence

from sprout_agent.memory.words import (
    ASKING,
    COMMON,
    FUNCTION,
    MONTHS_DAYS,
    SMALL_TALK,
    words_of,
)
from sprout_link.messages import MAX_TEXT_CHARS


def worth_keeping(text: str, *, asked: bool = False) -> tuple[str, str | None]:
    """The part of a turn that may be kept, and why none of it may.

    With `asked`, only what could do harm is blocked, not what looks trivial.
    """
    plain = _plain(text)
    if not plain:
        return "", "it has no text"
    if len(plain) > MAX_TEXT_CHARS:
        return plain, f"it is longer than {MAX_TEXT_CHARS} characters"
    if _FORGED.search(plain):
        return plain, "it imitates the system or gives orders about its rules"
    if _degenerate(plain):
        return plain, "it repeats itself"
    if asked:
        return plain, None
    sentences = sentences_of(plain)
    reasons = [_passing(sentence) for sentence in sentences]
    kept = [sentence for sentence, reason in zip(sentences, reasons, strict=True) if reason is None]
    if not kept:
        return plain, next(reason for reason in reasons if reason is not None)
    return (plain if len(kept) == len(sentences) else " ".join(kept)), None


ASKED = re.compile(
    r"(?:^|[.!,;:]\s*|\bplease\s+|\b(?:can|could|would|will) you\s+(?:please\s+)?)"
    r"(?:please\s+)?(?:remember|don['’]?t forget|do not forget|never forget|keep in mind"
    r"|bear in mind|make a note|take note|note|memorise|memorize|save this|you should know"
    r"|fyi|for the record|for future reference|just so you know)\b(?!\s+(?:me|when|how|what|if"
    r"|who|where)\b[^.:]*\?)",
    re.IGNORECASE,
)
_FORGED = re.compile(
    r"(?:^|\n)\s*(?:\[|<|#+\s*)?(?:system|assistant|developer)(?:\s+(?:prompt|message))?\s*[\]>]?\s*:"
    r"|<\|?/?(?:im_start|im_end|endoftext|system|assistant|sys|inst)\b|\[/?INST\]|<<SYS>>"
    r"|\b(?:ignore|disregard|forget|override|bypass)\b.{0,30}\b(?:instructions?|rules|prompts?"
    r"|guidelines|everything (?:above|you))\b"
    r"|\byou are now\b|\bfrom now on,? you (?:are|must|will|have)\b|\bact as (?:a|an|if|my)\b"
    r"|\bpretend (?:to be|you|that you)\b|\b(?:developer|dan|jailbreak) mode\b"
    r"|\b(?:reveal|print|show|repeat)\b.{0,20}\b(?:system prompt|your instructions)\b",
    re.IGNORECASE,
)
_QUESTION_START = re.compile(
    r"(?:(?:so|and|but|well|ok|okay|hey|hi|um|now|then|also|please|sprout)[, ]+)*"
    r"(?:what|what's|whats|who|who's|whom|whose|which|where|where's|when|when's|why|how|how's"
    r"|(?:do|does|did|can|could|will|would|shall|should|may|might|is|are|am|was|were|have|has|had"
    r"|isn't|aren't|don't|doesn't|didn't|won't|can't|couldn't|wouldn't)\s+"
    r"(?:i|you|we|they|he|she|it|my|your|our|their|his|her|the|this|that|these|those|there|any"
    r"|anyone|somebody|someone)|any idea|guess what)\b",
    re.IGNORECASE,
)
_WH_STATEMENT = re.compile(
    r"(?:when|whenever|where|while)\b[^?]*,\s*\S+|what (?:i|we|my)\b.*\b(?:is|are|was)\b"
    r"|(?:how|what) (?:a|an|nice|lovely|great|funny|sad)\b",
    re.IGNORECASE,
)
_REQUEST = re.compile(
    r"(?:(?:ok|okay|so|and|now|then|hey|hi|well|just|please|sprout|kindly|go ahead and)[, ]+)*"
    r"(?:tell|write|explain|give|show|list|translate|summari[sz]e|describe|help|make|create"
    r"|generate|sing|say|repeat|stop|continue|carry on|go on|go away|find|search|look up"
    r"|calculate|compute|define|recommend|suggest|compare|rewrite|rephrase|correct|fix|check|read"
    r"|play|open|close|turn|set|remind|wake|convert|count|solve|draw|think of|imagine|pick|choose"
    r"|name|finish|complete|try again|come up|talk to|speak|answer|wait|hold on|hang on|shut up"
    r"|be quiet|let me|let's|lets|let us|can you|could you|would you|will you|i want you to"
    r"|i need you to|i(?:'d| would) like you to|i(?:'d| would) like to (?:ask|hear|know|see)"
    r"|i want to (?:ask|hear|know|see)|excuse me|never ?mind|forget (?:it|that|about)"
    r"|give it|do it|do that|try)\b",
    re.IGNORECASE,
)
_SUPPOSITION = re.compile(
    r"(?:suppose|imagine|pretend|assume|what if|if i (?:were|was|had)|let's say|say i"
    r"|hypothetically|in (?:the|a|my) (?:story|novel|dream|game))\b",
    re.IGNORECASE,
)
CORRECTION = re.compile(
    r"\bactually\b|\bno,|\bnot\b.{1,40}\bany ?more\b|\bno longer\b|\bi was wrong\b|\bcorrection\b"
    r"|\bi meant\b|\binstead of\b|\bchanged\b|\bsince (?:last|this)\b|\bused to\b"
    r"|,\s*not\s+\w+|\bmoved (?:to|from)\b|\brather than\b",
    re.IGNORECASE,
)
_ABBREVIATION = re.compile(r"\b(?:mr|mrs|ms|dr|st|prof|jr|sr|no|vs|e\.g|i\.e|etc|[a-z])\.$", re.I)


def _plain(text: str) -> str:
    """`text` without control characters, surrogates and surrounding space."""
    kept = (c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    return "".join(kept).strip()


def _degenerate(text: str) -> bool:
    words = words_of(text)
    if re.search(r"(\S)\1{11,}", text):
        return True
    if len(words) >= 8 and len(set(words)) <= len(words) // 4:
        return True
    data = text.encode("utf-8", "replace")
    return len(data) >= 200 and len(zlib.compress(data)) < 0.2 * len(data)


def sentences_of(text: str) -> list[str]:
    """Sentences of `text`, by rough rules."""
    pieces: list[str] = []
    for piece in re.split(r"(?<=[.!?…])\s+|\n+", text):
        if pieces and _ABBREVIATION.search(pieces[-1]):
            pieces[-1] += f" {piece}"
        elif piece.strip():
            pieces.append(piece.strip())
    return pieces


def _passing(sentence: str) -> str | None:
    """Why a sentence says nothing to keep; None when it may say something."""
    words = words_of(sentence)
    if not words:
        return "it has no words"
    if ASKED.search(sentence) and (_telling(words) or numbers_of(words)):
        return None
    if sentence.rstrip(" \"')»”").endswith("?"):
        return "it is a question"
    if _QUESTION_START.match(sentence) and not _WH_STATEMENT.match(sentence):
        return "it is a question"
    if _SUPPOSITION.match(sentence):
        return "it is a supposition"
    if _REQUEST.match(sentence) and not re.match(r"call (?:me|us)\b", sentence, re.IGNORECASE):
        return "it is a request"
    if not _telling(words) and not numbers_of(words) and not names_of(sentence):
        return "it is small talk"
    return None


def _telling(words: Sequence[str]) -> list[str]:
    """Words that carry content which small talk does not have."""
    skipped = FUNCTION | SMALL_TALK | ASKING
    return [word for word in words if word not in skipped and len(word) > 1]


def numbers_of(words: Sequence[str]) -> list[str]:
    """Words that hold a digit."""
    return [word for word in words if any(c.isdigit() for c in word)]


def names_of(sentence: str) -> list[str]:
    """Capitalised words that are not so because they start the sentence."""
    found = []
    for match in re.finditer(r"[^\W\d_][\w'’\-]*", sentence):
        word = match.group()
        low = word.lower().replace("’", "'")
        if not word[0].isupper() or low in FUNCTION or low in MONTHS_DAYS:
            continue
        before = sentence[: match.start()].rstrip()
        starts = not before or before[-1] in ".!?:…"
        if not starts or low not in COMMON | SMALL_TALK | ASKING:
            found.append(word)
    return found
