"""The steps that bring a memory database up to date, each recorded in its own transaction."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timezone
from typing import Final

from sprout_agent.errors import MemoryStoreError

MIGRATIONS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (
        "0001-sessions-turns-memories",
        (
            """
            CREATE TABLE sessions (
                session_id TEXT PRIMARY KEY,
                started_at TEXT NOT NULL
            ) STRICT
            """,
            """
            CREATE TABLE turns (
                turn_id TEXT PRIMARY KEY,
                session_id TEXT NOT NULL REFERENCES sessions,
                speaker TEXT NOT NULL CHECK (speaker IN ('user', 'assistant')),
                text TEXT NOT NULL,
                at TEXT NOT NULL,
                answers TEXT REFERENCES turns,
                answered_by TEXT,
                CHECK ((speaker = 'assistant') = (answered_by IS NOT NULL))
            ) STRICT
            """,
            "CREATE INDEX turns_by_session ON turns (session_id, turn_id)",
            """
            CREATE TABLE memories (
                memory_id TEXT PRIMARY KEY,
                sequence INTEGER NOT NULL UNIQUE CHECK (sequence >= 1),
                turn_id TEXT NOT NULL REFERENCES turns,
                text TEXT NOT NULL,
                normal TEXT NOT NULL,
                salience REAL NOT NULL CHECK (salience BETWEEN 0 AND 1),
                parts TEXT NOT NULL,
                reason TEXT NOT NULL,
                source TEXT NOT NULL CHECK (source IN ('said', 'confirmed', 'corrected')),
                supersedes TEXT REFERENCES memories,
                promoted_at TEXT NOT NULL
            ) STRICT
            """,
            "CREATE INDEX memories_by_normal ON memories (normal)",
            "CREATE INDEX memories_by_supersedes ON memories (supersedes)",
        ),
    ),
    (
        "0002-recall",
        (
            """
            CREATE VIRTUAL TABLE memories_text USING fts5 (
                text, content = 'memories', content_rowid = 'sequence',
                tokenize = 'porter unicode61 remove_diacritics 2'
            )
            """,
            """
            CREATE TRIGGER memories_text_insert AFTER INSERT ON memories BEGIN
                INSERT INTO memories_text (rowid, text) VALUES (new.sequence, new.text);
            END
            """,
        ),
    ),
    (
        "0003-outbox",
        (
            """
            CREATE TABLE batches (
                batch_id TEXT PRIMARY KEY,
                state TEXT NOT NULL CHECK (state IN ('waiting', 'acknowledged', 'refused')),
                attempts INTEGER NOT NULL DEFAULT 0,
                next_attempt_at REAL NOT NULL DEFAULT 0,
                reason TEXT
            ) STRICT
            """,
            """
            CREATE TABLE outbox (
                memory_id TEXT PRIMARY KEY REFERENCES memories,
                batch_id TEXT REFERENCES batches
            ) STRICT
            """,
            "CREATE INDEX outbox_by_batch ON outbox (batch_id)",
            "INSERT INTO outbox (memory_id) SELECT memory_id FROM memories",
        ),
    ),
)


def migrate(connection: sqlite3.Connection, *, source: str) -> list[str]:
    """Apply what is missing, in order; the names of what was applied.

    A crash leaves each migration done and recorded, or neither. The connection must be in
    autocommit mode (`isolation_level=None`).

    Raises:
        MemoryStoreError: the database has migrations that this version does not know.
    """
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations "
        "(name TEXT PRIMARY KEY, applied_at TEXT NOT NULL) STRICT"
    )
    done = {row[0] for row in connection.execute("SELECT name FROM migrations")}
    if unknown := sorted(done - {name for name, _ in MIGRATIONS}):
        raise MemoryStoreError(
            f"{source}: a newer version of sprout-agent wrote this database "
            f"(it has the step {unknown[-1]}); update sprout-agent"
        )
    applied = []
    for name, statements in MIGRATIONS:
        if name in done:
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have done it between our look and our turn to write.
            found = "SELECT 1 FROM migrations WHERE name = ?"
            if connection.execute(found, (name,)).fetchone() is None:
                for statement in statements:
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO migrations VALUES (?, ?)",
                    (name, datetime.now(timezone.utc).isoformat()),
                )
                applied.append(name)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return applied
