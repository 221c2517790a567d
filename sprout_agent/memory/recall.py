"""Lexical recall: the stored memories that share words with a question."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sprout_agent.memory.database import Database
from sprout_agent.memory.words import FUNCTION, words_of


@dataclass(frozen=True)
class Recalled:
    """A memory that was found."""

    memory_id: str
    text: str
    score: float
    """BM25, larger is better."""


class Recall:
    """Full-text search over the memories that still hold."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, text: str, *, limit: int) -> list[Recalled]:
        """The `limit` best memories for a question or statement, best first.

        Any text is safe: its words are quoted, and FTS5's own syntax has no meaning in it.
        """
        query = match_expression(text)
        if not query or limit < 1:
            return []
        rows = self._database.rows(
            "SELECT memory_id, memories.text, -bm25(memories_text) AS score FROM memories_text "
            "JOIN memories ON memories.sequence = memories_text.rowid "
            "WHERE memories_text MATCH ? AND memory_id NOT IN "
            "(SELECT supersedes FROM memories WHERE supersedes IS NOT NULL) "
            "ORDER BY score DESC, sequence DESC LIMIT ?",
            (query, limit),
        )
        return [Recalled(row["memory_id"], row["text"], row["score"]) for row in rows]


_MAX_WORDS = 32


def match_expression(text: str) -> str:
    """FTS5 expression that any telling word of `text` satisfies; empty when there is none."""
    words = list(dict.fromkeys(words_of(text)))
    telling = [word for word in words if word not in FUNCTION]
    # "Who am I?" has only function words; then they are all there is to go by.
    chosen = (telling or words)[:_MAX_WORDS]
    # The tokenizer of the index splits "sister's" too; the "s" alone tells nothing.
    parts = [part for word in chosen for part in re.findall(r"\w{2,}|\d", word)]
    return " OR ".join(f'"{part}"' for part in dict.fromkeys(parts))
