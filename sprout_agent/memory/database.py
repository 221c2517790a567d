"""The SQLite file of the device's memory: one connection, durable transactions, clear errors."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlite_utils

from sprout_agent.errors import MemoryStoreError
from sprout_agent.memory.migrations import migrate

_BUSY_TIMEOUT_S = 5.0

Row = dict[str, Any]


class Database:
    """One connection that threads share, one at a time. Made by `open_database`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._sqlite = sqlite_utils.Database(connection)
        self._path = path
        self._lock = threading.RLock()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block or nothing of it; durable when it ends. Nested blocks join in.

        Raises:
            MemoryStoreError: the disk is full, or the file is locked or damaged.
        """
        with self._lock, _clear_errors(self._path):
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself after some errors, a full disk among them.
                with suppress(sqlite3.OperationalError):
                    self._connection.execute("ROLLBACK")
                raise

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run one statement; the number of rows that it changed."""
        with self._lock, _clear_errors(self._path):
            return self._connection.execute(sql, tuple(parameters)).rowcount

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """The rows that a query finds."""
        with self._lock, _clear_errors(self._path):
            return list(self._sqlite.query(sql, list(parameters)))

    def number(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """The one whole number that a query finds; 0 for NULL."""
        with self._lock, _clear_errors(self._path):
            return int(self._connection.execute(sql, tuple(parameters)).fetchone()[0] or 0)


@contextmanager
def open_database(path: Path) -> Iterator[Database]:
    """Open the memory at `path`, make it if there is none, and bring it up to date.

    Raises:
        MemoryStoreError: it cannot be opened, is damaged, or a newer version wrote it.
    """
    with _clear_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # it holds private text
        except OSError as error:
            raise MemoryStoreError(f"{path}: cannot be opened: {error.strerror}") from error
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # NORMAL can lose the last commits at a power cut, after they were acknowledged.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(f"malformed: {found}")
            migrate(connection, source=str(path))
        except BaseException:
            connection.close()
            raise
    try:
        yield Database(connection, path)
    finally:
        connection.close()


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        # Python 3.10 has no error codes here, so the texts of SQLite decide.
        text = str(error)
        if "full" in text:
            said = "the disk is full; free some space, nothing of this turn was stored"
        elif "locked" in text:
            said = "another program holds this database locked; close it and try again"
        elif "malformed" in text or "not a database" in text:
            said = (
                "this database is damaged; move it away and put a backup in its place, "
                "or start without it"
            )
        elif "readonly" in text or "read-only" in text:
            said = "this database cannot be written; check the owner of the file and its folder"
        else:
            said = f"SQLite failed: {text}"
        raise MemoryStoreError(f"{path}: {said}") from error
