from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import pytest

from sprout_link import topics
from sprout_link.messages import (
    MAX_MESSAGE_BYTES,
    BatchAck,
    DeviceState,
    MemoryBatch,
    Report,
    encode,
)
from tests.tomato_trainer.device_messages import NOW, make_batch, make_memory
from tomato_trainer.errors import StoreError
from tomato_trainer.intake import Intake
from tomato_trainer.store import Store

TOPIC = topics.build("kit", "memories")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "ledger.sqlite")
    store.open()
    return store


@pytest.fixture
def intake(store: Store) -> Intake:
    return Intake(store, clock=lambda: NOW)


def plain(batch: MemoryBatch, **changes: object) -> bytes:
    return msgspec.json.encode(msgspec.to_builtins(batch) | changes)


def test_a_batch_is_stored_and_then_acknowledged(intake: Intake, store: Store) -> None:
    batch = make_batch(make_memory(1), make_memory(2))
    assert intake.take_batch(TOPIC, encode(batch)) == BatchAck(
        device="kit", batch_id=batch.batch_id, stored=2, known=0
    )
    assert store.memories_of("kit") == batch.memories


def test_a_batch_sent_twice_is_acknowledged_as_known(intake: Intake, store: Store) -> None:
    batch = make_batch()
    intake.take_batch(TOPIC, encode(batch))
    again = intake.take_batch(TOPIC, encode(batch))
    assert again == BatchAck(device="kit", batch_id=batch.batch_id, stored=0, known=1)
    assert len(store.memories_of("kit")) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"memories": []},
        {"version": 2},
        {"surprise": 1},
        {"profile": None},
        {"memories": [{"text": "My PIN is 4711."}]},
        {"sent_at": "My PIN is 4711."},
    ],
)
def test_a_malformed_batch_is_refused_without_repeating_it(
    intake: Intake, store: Store, caplog: pytest.LogCaptureFixture, changes: dict[str, object]
) -> None:
    batch = make_batch(make_memory(1, "My PIN is 4711."))
    ack = intake.take_batch(TOPIC, plain(batch, **changes))
    assert ack is not None
    assert ack.batch_id == batch.batch_id
    assert ack.refused
    assert "4711" not in ack.refused + caplog.text
    assert store.devices() == []


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"\xff", b"[]", b'{"batch_id": 5}', b'{"batch_id": "../x"}', b"[" * 100_000,
     b" " * (MAX_MESSAGE_BYTES + 1)],
)  # fmt: skip
def test_what_names_no_batch_is_logged_and_dropped(
    intake: Intake, store: Store, caplog: pytest.LogCaptureFixture, payload: bytes
) -> None:
    with caplog.at_level(logging.WARNING):
        assert intake.take_batch(TOPIC, payload) is None
    assert "refused" in caplog.text
    assert store.devices() == []


def test_a_batch_of_another_device_than_its_topic_is_refused(intake: Intake, store: Store) -> None:
    ack = intake.take_batch(TOPIC, encode(make_batch(device="other")))
    assert ack is not None
    assert ack.device == "kit"
    assert "other" in (ack.refused or "")
    assert store.devices() == []


def test_a_batch_that_contradicts_the_ledger_is_refused_whole(intake: Intake, store: Store) -> None:
    intake.take_batch(TOPIC, encode(make_batch(make_memory(1))))
    ack = intake.take_batch(TOPIC, encode(make_batch(make_memory(2), make_memory(1, "Other."))))
    assert ack is not None
    assert "contradicts" in (ack.refused or "")
    assert store.memories_of("kit") == [make_memory(1)]


def test_a_ledger_that_cannot_write_acknowledges_nothing(intake: Intake, store: Store) -> None:
    store.close()
    with pytest.raises(StoreError):
        intake.take_batch(TOPIC, encode(make_batch()))


def test_states_and_reports_are_recorded(intake: Intake, store: Store) -> None:
    intake.take_state(topics.build("kit", "state"), encode(DeviceState(device="kit", online=True)))
    report = Report(
        device="kit", artifact="c" * 64, outcome="refused", reasons=["too slow"], figures={},
        reported_at=NOW,
    )  # fmt: skip
    intake.take_report(topics.build("kit", "report"), encode(report))
    assert store.devices()[0].online


def test_malformed_and_foreign_states_and_reports_change_nothing(
    intake: Intake, store: Store
) -> None:
    state = topics.build("kit", "state")
    intake.take_state(state, b"{")
    intake.take_state(state, encode(DeviceState(device="other", online=True)))
    intake.take_report(topics.build("kit", "report"), b"{")
    assert store.devices() == []
