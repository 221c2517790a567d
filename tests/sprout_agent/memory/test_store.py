from __future__ import annotations

import sqlite3
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from sprout_agent.errors import MemoryStoreError
from sprout_agent.memory.database import Database, open_database
from sprout_agent.memory.gateway import Decision, Gateway
from sprout_agent.memory.migrations import MIGRATIONS
from sprout_agent.memory.recall import Recall
from sprout_agent.memory.salience import Known, Salience, score
from sprout_agent.memory.store import MemoryStore

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)


def judged(text: str, known: list[Known] | None = None) -> tuple[Salience, Decision]:
    salience = score(text, known=known or [])
    return salience, Gateway(0.5).decide(salience)


def say(store: MemoryStore, session: str, text: str) -> str | None:
    return store.add_user_turn(session, text, NOW, judged(text))[1]


def test_turns_come_back_in_order_with_what_answered_them(database: Database) -> None:
    store = MemoryStore(database)
    session = store.start_session(NOW)
    for number in range(4):
        turn, _ = store.add_user_turn(session, f"question {number}", NOW, None)
        store.add_assistant_turn(session, f"answer {number}", NOW, answers=turn, answered_by="base")
    other = store.start_session(NOW)
    store.add_user_turn(other, "elsewhere", NOW, None)
    turns = store.recent_turns(session, 3)
    assert [turn.text for turn in turns] == ["answer 2", "question 3", "answer 3"]
    assert [turn.answered_by for turn in turns] == ["base", None, "base"]
    assert turns[0].at == NOW


def test_a_promoted_turn_becomes_a_memory_with_its_reasons(database: Database) -> None:
    store = MemoryStore(database)
    session = store.start_session(NOW)
    memory_id = say(store, session, "My cat is called Miso.")
    assert say(store, session, "good night") is None
    (stored,) = store.memories()
    assert stored.memory.memory_id == memory_id
    assert stored.memory.sequence == 1
    assert stored.memory.text == "My cat is called Miso."
    assert stored.memory.said_at == NOW
    assert stored.memory.session == session
    assert stored.memory.salience_parts["statement"] == 1.0
    assert stored.reason.startswith("Kept: ")
    assert store.texts_of([str(memory_id), "none"]) == {memory_id: "My cat is called Miso."}
    counts = store.counts()
    assert (counts.sessions, counts.turns, counts.memories, counts.waiting) == (1, 2, 1, 1)


def test_sequence_has_no_gaps_whatever_threads_do(database: Database) -> None:
    store = MemoryStore(database)
    session = store.start_session(NOW)
    threads = [
        threading.Thread(
            target=lambda n=n: [
                say(store, session, f"My locker {n * 100 + i} is in Porto.") for i in range(10)
            ]
        )
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [item.memory.sequence for item in store.memories()] == list(range(1, 41))
    assert [item.memory.sequence for item in store.memories(limit=3)] == [38, 39, 40]


def test_a_turn_and_its_memory_are_stored_together_or_not_at_all(database: Database) -> None:
    store = MemoryStore(database)
    session = store.start_session(NOW)
    database.execute(
        "CREATE TRIGGER broken BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    with pytest.raises(MemoryStoreError, match="full"):
        say(store, session, "My cat is called Miso.")
    assert (store.counts().turns, store.counts().memories) == (0, 0)
    database.execute("DROP TRIGGER broken")
    assert say(store, session, "My cat is called Miso.")


def test_holds_knows_the_same_thing_in_other_clothes(database: Database) -> None:
    store = MemoryStore(database)
    session = store.start_session(NOW)
    say(store, session, "Remember that my cat is called Miso.")
    assert store.holds("my cat is called MISO")
    assert not store.holds("my dog is called Miso")


def test_a_superseded_memory_no_longer_holds_and_is_not_recalled(database: Database) -> None:
    store, recall = MemoryStore(database), Recall(database)
    session = store.start_session(NOW)
    first = say(store, session, "My sister lives in Trondheim.")
    known = [Known(str(first), "My sister lives in Trondheim.")]
    text = "Actually, my sister lives in Bergen now."
    store.add_user_turn(session, text, NOW, judged(text, known))
    old, new = store.memories()
    assert (old.superseded, new.superseded) == (True, False)
    assert (new.memory.source, new.memory.supersedes) == ("corrected", first)
    assert not store.holds("My sister lives in Trondheim.")
    found = recall.find("Where does my sister live?", limit=5)
    assert [item.memory_id for item in found] == [new.memory.memory_id]


def test_everything_survives_closing_and_the_file_is_private(database_file: Path) -> None:
    with open_database(database_file) as database:
        store = MemoryStore(database)
        say(store, store.start_session(NOW), "My cat is called Miso.")
        assert database.number("PRAGMA synchronous") == 2
    assert database_file.stat().st_mode & 0o077 == 0
    with open_database(database_file) as database:
        assert MemoryStore(database).counts().memories == 1


def test_a_full_disk_is_one_clear_sentence_and_stores_nothing(database: Database) -> None:
    store = MemoryStore(database)
    session = store.start_session(NOW)
    pages = database.number("PRAGMA page_count")
    database.execute(f"PRAGMA max_page_count = {pages}")
    text = "My cat is called Miso. " + " ".join(f"She has toy {n}." for n in range(500))
    before = store.counts().turns
    with pytest.raises(MemoryStoreError, match="disk is full"):
        store.add_user_turn(session, text, NOW, judged(text))
    assert store.counts().turns == before
    database.execute("PRAGMA max_page_count = 100000")
    assert say(store, session, "My cat is called Miso.")


def test_a_locked_database_is_one_clear_sentence(database: Database, database_file: Path) -> None:
    database.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(database_file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(MemoryStoreError, match="locked"):
        MemoryStore(database).start_session(NOW)
    other.execute("ROLLBACK")
    other.close()
    assert MemoryStore(database).start_session(NOW)


def test_a_damaged_or_foreign_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"this is no database at all, and long enough to tell" * 40)
    before = foreign.read_bytes()
    with pytest.raises(MemoryStoreError, match="damaged"), open_database(foreign):
        pass
    assert foreign.read_bytes() == before
    with pytest.raises(MemoryStoreError, match="cannot be opened"), open_database(tmp_path):
        pass


def test_a_database_from_a_newer_version_is_refused(database_file: Path) -> None:
    with open_database(database_file) as database:
        database.execute("INSERT INTO migrations VALUES ('9999-future', 'later')")
    with pytest.raises(MemoryStoreError, match="newer version"), open_database(database_file):
        pass


def test_a_migration_that_fails_leaves_neither_itself_nor_its_record(
    database_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (*MIGRATIONS, ("0099-broken", ("CREATE TABLE half (x) ", "CREATE TABLE turns (x)")))
    monkeypatch.setattr("sprout_agent.memory.migrations.MIGRATIONS", broken)
    with pytest.raises(MemoryStoreError), open_database(database_file):
        pass
    monkeypatch.undo()
    with open_database(database_file) as database:
        assert database.number("SELECT COUNT(*) FROM sqlite_master WHERE name = 'half'") == 0
        assert database.number("SELECT COUNT(*) FROM migrations") == len(MIGRATIONS)


def test_times_keep_their_zone(database: Database) -> None:
    store = MemoryStore(database)
    there = NOW.astimezone(timezone(timedelta(hours=9)))
    session = store.start_session(there)
    store.add_user_turn(session, "hello", there, None)
    assert store.recent_turns(session, 1)[0].at.utcoffset() == timedelta(hours=9)
