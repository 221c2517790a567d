"""What was said, and what of it is kept: sessions, turns and memories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

import msgspec
from uuid6 import uuid7

from sprout_agent.memory.database import Database, Row
from sprout_agent.memory.gateway import Decision
from sprout_agent.memory.salience import Salience, normal_form
from sprout_link.messages import Memory, Source

BASE: str = "base"
"""What answered a turn when no adapter was active."""


@dataclass(frozen=True)
class Turn:
    """One turn as it was stored."""

    turn_id: str
    session_id: str
    speaker: Literal["user", "assistant"]
    text: str
    at: datetime
    answered_by: str | None
    """For the assistant: `base`, or the SHA-256 of the active adapter."""


@dataclass(frozen=True)
class StoredMemory:
    """A memory as it travels, with what only the device keeps."""

    memory: Memory
    reason: str
    """Why the gateway kept it, a sentence."""
    promoted_at: datetime
    superseded: bool
    """A later memory corrects it."""


@dataclass(frozen=True)
class Counts:
    """How much the store holds."""

    sessions: int
    turns: int
    memories: int
    waiting: int
    """Memories that the trainer has not acknowledged."""


class MemoryStore:
    """Sessions, turns and memories in one database; safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start_session(self, now: datetime) -> str:
        """Begin a session; its id, a UUIDv7."""
        session_id = str(uuid7())
        self._database.execute("INSERT INTO sessions VALUES (?, ?)", (session_id, now.isoformat()))
        return session_id

    def add_user_turn(
        self, session_id: str, text: str, now: datetime, kept: tuple[Salience, Decision] | None
    ) -> tuple[str, str | None]:
        """Store a user's turn and, in the same transaction, the memory that it became.

        Args:
            kept: What the turn is worth and the gateway's decision; none keeps no memory.

        Returns:
            The turn's id, and the memory's if one was promoted.

        Raises:
            MemoryStoreError: nothing was stored.
        """
        turn_id = str(uuid7())
        with self._database.transaction():
            self._database.execute(
                "INSERT INTO turns (turn_id, session_id, speaker, text, at) "
                "VALUES (?, ?, 'user', ?, ?)",
                (turn_id, session_id, text, now.isoformat()),
            )
            if kept is None or not kept[1].promote:
                return turn_id, None
            return turn_id, self._promote(turn_id, *kept, now)

    def add_assistant_turn(
        self, session_id: str, text: str, now: datetime, *, answers: str, answered_by: str
    ) -> str:
        """Store an answer. It is never promoted."""
        turn_id = str(uuid7())
        self._database.execute(
            "INSERT INTO turns (turn_id, session_id, speaker, text, at, answers, answered_by) "
            "VALUES (?, ?, 'assistant', ?, ?, ?, ?)",
            (turn_id, session_id, text, now.isoformat(), answers, answered_by),
        )
        return turn_id

    def recent_turns(self, session_id: str, limit: int) -> list[Turn]:
        """The last `limit` turns of a session, oldest first."""
        rows = self._database.rows(
            "SELECT * FROM turns WHERE session_id = ? ORDER BY turn_id DESC LIMIT ?",
            (session_id, limit),
        )
        return [_turn(row) for row in reversed(rows)]

    def memories(self, limit: int | None = None) -> list[StoredMemory]:
        """The newest `limit` memories, or all of them, oldest first."""
        rows = self._database.rows(
            f"{_SELECT_MEMORIES} ORDER BY sequence DESC LIMIT ?", (-1 if limit is None else limit,)
        )
        return [stored_memory(row) for row in reversed(rows)]

    def texts_of(self, memory_ids: Sequence[str]) -> dict[str, str]:
        """Text of each of these memories that exists, by id."""
        rows = self._database.rows(
            "SELECT memory_id, text FROM memories "
            "WHERE memory_id IN (SELECT value FROM json_each(?))",
            (msgspec.json.encode(list(memory_ids)).decode(),),
        )
        return {row["memory_id"]: row["text"] for row in rows}

    def holds(self, text: str) -> bool:
        """Is the same thing, whatever its case and punctuation, a memory that still holds?"""
        return bool(
            self._database.number(
                "SELECT COUNT(*) FROM memories WHERE normal = ? AND memory_id NOT IN "
                "(SELECT supersedes FROM memories WHERE supersedes IS NOT NULL)",
                (normal_form(text),),
            )
        )

    def counts(self) -> Counts:
        """How much the store holds."""
        count = self._database.number
        return Counts(
            sessions=count("SELECT COUNT(*) FROM sessions"),
            turns=count("SELECT COUNT(*) FROM turns"),
            memories=count("SELECT COUNT(*) FROM memories"),
            waiting=count(
                "SELECT COUNT(*) FROM outbox LEFT JOIN batches USING (batch_id) "
                "WHERE state IS NULL OR state = 'waiting'"
            ),
        )

    def _promote(self, turn_id: str, salience: Salience, decision: Decision, now: datetime) -> str:
        memory_id = str(uuid7())
        # Inside an immediate transaction, so the running number has neither gap nor twin.
        sequence = self._database.number("SELECT MAX(sequence) FROM memories") + 1
        self._database.execute(
            "INSERT INTO memories VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                memory_id,
                sequence,
                turn_id,
                salience.text,
                normal_form(salience.text),
                salience.value,
                msgspec.json.encode(salience.parts).decode(),
                decision.reason,
                "corrected" if salience.supersedes else "said",
                salience.supersedes,
                now.isoformat(),
            ),
        )
        self._database.execute("INSERT INTO outbox (memory_id) VALUES (?)", (memory_id,))
        return memory_id


_SELECT_MEMORIES = (
    "SELECT memories.*, turns.at AS said_at, turns.session_id, EXISTS (SELECT 1 FROM memories "
    "AS later WHERE later.supersedes = memories.memory_id) AS superseded "
    "FROM memories JOIN turns USING (turn_id)"
)


def select_memories(database: Database, tail: str, parameters: Sequence[object]) -> list[Row]:
    """Rows that `stored_memory` takes; `tail` is the rest of the query, from WHERE or JOIN on."""
    return database.rows(f"{_SELECT_MEMORIES} {tail}", parameters)


def stored_memory(row: Row) -> StoredMemory:
    """A memory from its row."""
    return StoredMemory(
        memory=Memory(
            memory_id=row["memory_id"],
            sequence=row["sequence"],
            text=row["text"],
            said_at=datetime.fromisoformat(row["said_at"]),
            session=row["session_id"],
            salience=row["salience"],
            salience_parts=msgspec.json.decode(row["parts"], type=dict[str, float]),
            source=cast(Source, row["source"]),
            supersedes=row["supersedes"],
        ),
        reason=row["reason"],
        promoted_at=datetime.fromisoformat(row["promoted_at"]),
        superseded=bool(row["superseded"]),
    )


def _turn(row: Row) -> Turn:
    return Turn(
        turn_id=row["turn_id"],
        session_id=row["session_id"],
        speaker=row["speaker"],
        text=row["text"],
        at=datetime.fromisoformat(row["at"]),
        answered_by=row["answered_by"],
    )
