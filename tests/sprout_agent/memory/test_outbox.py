from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from sprout_agent.memory.database import Database, open_database
from sprout_agent.memory.gateway import Decision
from sprout_agent.memory.outbox import MAX_BATCH_BYTES, Outbox, OutboxSettings
from sprout_agent.memory.salience import Salience
from sprout_agent.memory.store import MemoryStore
from sprout_link.messages import MAX_BATCH_MEMORIES, DeviceProfile, MemoryBatch, decode, encode

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
SETTINGS = OutboxSettings(batch_count=3, quiet_s=20.0, retry_first_s=5.0, retry_max_s=30.0)


def promote(database: Database, *texts: str, at: datetime = NOW) -> None:
    store = MemoryStore(database)
    session = store.start_session(at)
    with database.transaction():
        for text in texts:
            salience = Salience(text, 0.9, {"statement": 1.0})
            store.add_user_turn(session, text, at, (salience, Decision(True, "Kept.", 0.9)))


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_waits_for_enough_memories_or_for_quiet(database: Database) -> None:
    outbox = Outbox(database, SETTINGS)
    assert not outbox.due(after(1_000))
    promote(database, "one", "two")
    assert not outbox.due(after(19))
    assert outbox.next_batch(after(19)) is None
    assert outbox.due(after(20))
    promote(database, "three")
    assert outbox.due(after(0))


def test_a_clock_that_was_set_back_does_not_hold_memories(database: Database) -> None:
    outbox = Outbox(database, SETTINGS)
    promote(database, "one")
    assert outbox.due(after(-3_600))
    assert outbox.next_batch(after(-1)) is not None
    assert not outbox.due(after(0))
    assert outbox.due(after(-3_600))


def test_the_same_batch_is_sent_again_with_growing_waits_until_it_is_acknowledged(
    database: Database,
) -> None:
    outbox = Outbox(database, SETTINGS)
    promote(database, "one", "two", "three")
    first = outbox.next_batch(NOW)
    assert first is not None
    assert (first.attempt, [m.text for m in first.memories]) == (1, ["one", "two", "three"])
    promote(database, "four", "five", "six")
    sent = [second for second in range(1, 130) if outbox.next_batch(after(second)) is not None]
    assert sent == [5, 15, 35, 65, 95, 125]
    again = outbox.next_batch(after(200))
    assert again is not None
    assert (again.batch_id, again.memories) == (first.batch_id, first.memories)
    assert outbox.waiting() == 6

    assert outbox.acknowledge(first.batch_id)
    assert not outbox.acknowledge(first.batch_id)
    assert outbox.waiting() == 3
    following = outbox.next_batch(after(201))
    assert following is not None
    assert [m.sequence for m in following.memories] == [4, 5, 6]


def test_a_new_connection_forgets_the_wait(database: Database) -> None:
    outbox = Outbox(database, SETTINGS)
    promote(database, "one", "two", "three")
    outbox.next_batch(NOW)
    assert not outbox.due(after(1))
    outbox.retry_now()
    assert outbox.due(after(1))


def test_a_refused_batch_is_not_sent_again_and_stays_visible(database: Database) -> None:
    outbox = Outbox(database, SETTINGS)
    promote(database, "one", "two", "three")
    batch = outbox.next_batch(NOW)
    assert batch is not None
    assert outbox.refused(batch.batch_id, "another base")
    assert not outbox.acknowledge(batch.batch_id)
    assert not outbox.due(after(10_000))
    (refusal,) = outbox.refusals()
    assert refusal.reason == "another base"
    assert set(refusal.memory_ids) == {m.memory_id for m in batch.memories}
    assert MemoryStore(database).counts().memories == 3
    promote(database, "four", "five", "six")
    assert outbox.due(NOW)


def test_an_unknown_batch_changes_nothing(database: Database) -> None:
    outbox = Outbox(database, SETTINGS)
    promote(database, "one")
    assert not outbox.acknowledge("00000000-0000-7000-8000-000000000000")
    assert outbox.waiting() == 1


def test_batches_are_bounded_by_count_and_by_bytes(database: Database) -> None:
    outbox = Outbox(database, SETTINGS)
    promote(database, *(f"fact {n}" for n in range(MAX_BATCH_MEMORIES + 10)))
    batch = outbox.next_batch(NOW)
    assert batch is not None
    assert len(batch.memories) == MAX_BATCH_MEMORIES
    outbox.acknowledge(batch.batch_id)
    promote(database, *("漢" * 8_000 for _ in range(60)))
    sizes = []
    while (batch := outbox.next_batch(after(100))) is not None:
        sizes.append(sum(len(msgspec.json.encode(m)) for m in batch.memories))
        outbox.acknowledge(batch.batch_id)
    assert max(sizes) <= MAX_BATCH_BYTES
    assert len(sizes) == 2
    assert outbox.waiting() == 0


@pytest.mark.parametrize("acknowledged", [False, True])
def test_what_waits_survives_a_restart(database_file: Path, acknowledged: bool) -> None:
    with open_database(database_file) as database:
        promote(database, "one", "two", "three")
        batch = Outbox(database, SETTINGS).next_batch(NOW)
        assert batch is not None
        if acknowledged:
            Outbox(database, SETTINGS).acknowledge(batch.batch_id)
    with open_database(database_file) as database:
        again = Outbox(database, SETTINGS).next_batch(after(60))
        assert (again.batch_id if again else None) == (None if acknowledged else batch.batch_id)


def test_a_batch_travels_as_its_message(database: Database) -> None:
    promote(database, "one", "two", "three")
    batch = Outbox(database, SETTINGS).next_batch(NOW)
    assert batch is not None
    profile = DeviceProfile(
        base_sha256="0" * 64, architecture="llama", runtime="llama-cpp", runtime_version="1",
        platform="x86_64-linux", system_prompt="You help.",
    )  # fmt: skip
    message = batch.message(device="sprout-1", profile=profile, sent_at=NOW)
    assert decode(encode(message), MemoryBatch) == message
