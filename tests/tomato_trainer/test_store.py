from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from sprout_link.artifact import Manifest, Proof
from sprout_link.messages import DeviceState, Report
from tests.tomato_trainer.device_messages import NOW, make_batch, make_memory, make_profile
from tomato_trainer.errors import ConflictError, StoreError
from tomato_trainer.jobs import Done, Job, finish, start
from tomato_trainer.store import Store

JOB = Job(job_id="j1", device="kit", state="queued", created_at=NOW)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "ledger.sqlite")
    store.open()
    return store


def make_manifest(**more) -> Manifest:
    values = {
        "kind": "gguf-adapter", "device": "kit", "artifact": "c" * 64, "size_bytes": 10,
        "base_sha256": "a" * 64, "architecture": "llama", "runtime": "llama-cpp",
        "method": "lora", "recipe": {}, "lineage": "d" * 64, "memory_ids": [],
        "figures": {}, "proofs": [Proof(prompt="p", answer="a", shift=1.0)],
        "vocabulary_version": 0, "job_id": make_memory(1).memory_id, "created_at": NOW,
    }  # fmt: skip
    return Manifest(**(values | more))


def publish(store: Store, job: Job, memory_ids: list[str], base: str = "a" * 64) -> None:
    started = start(job, base_sha256=base, now=NOW)
    store.save_job(started, memory_ids=memory_ids)
    ended = finish(started, Done("c" * 64), now=NOW)
    store.save_published(ended, make_manifest(), timestamp_version=2)


def test_a_batch_is_there_after_reopening(store: Store, tmp_path: Path) -> None:
    first, second = make_memory(1), make_memory(2, "I live in Lyon.")
    taken = store.take_batch(make_batch(second, first), now=NOW)
    assert (taken.stored, taken.known) == (2, 0)
    store.close()
    again = Store(tmp_path / "ledger.sqlite")
    again.open()
    assert again.memories_of("kit") == [first, second]
    assert again.profile_of("kit") == make_profile()


def test_the_same_batch_twice_changes_nothing(store: Store) -> None:
    batch = make_batch(make_memory(1), make_memory(2))
    store.take_batch(batch, now=NOW)
    taken = store.take_batch(batch, now=NOW)
    assert (taken.stored, taken.known) == (0, 2)
    assert len(store.memories_of("kit")) == 2


@pytest.mark.parametrize(
    "false",
    [
        make_memory(1, "Another text."),
        make_memory(1, memory_id=make_memory(9).memory_id),
        make_memory(9, memory_id=make_memory(1).memory_id),
    ],
    ids=["same id, other text", "same number, other id", "same id, other number"],
)
def test_a_batch_that_contradicts_the_ledger_is_refused_whole(store: Store, false) -> None:
    kept = make_memory(1)
    store.take_batch(make_batch(kept), now=NOW)
    with pytest.raises(ConflictError) as caught:
        store.take_batch(make_batch(make_memory(5), false), now=NOW)
    assert false.text not in str(caught.value)
    assert store.memories_of("kit") == [kept]


def test_another_device_cannot_claim_a_memory(store: Store) -> None:
    store.take_batch(make_batch(make_memory(1)), now=NOW)
    with pytest.raises(ConflictError):
        store.take_batch(make_batch(make_memory(1), device="other"), now=NOW)
    assert store.memories_of("other") == []


def test_devices_tell_their_state_and_count_their_memories(store: Store) -> None:
    store.take_batch(make_batch(make_memory(1)), now=NOW)
    store.record_state(
        DeviceState(device="kit", online=True, active_artifact="c" * 64, waiting=3), now=NOW
    )
    store.record_state(DeviceState(device="new", online=False), now=NOW)
    kit, new = store.devices()
    assert (kit.online, kit.active_artifact, kit.waiting, kit.memories) == (True, "c" * 64, 3, 1)
    assert (new.device, new.profile, new.memories) == ("new", None, 0)


def test_a_device_is_to_be_trained_until_a_published_job_was_given_its_memories(
    store: Store,
) -> None:
    first, second = make_memory(1), make_memory(2)
    store.take_batch(make_batch(first), now=NOW)
    assert store.devices_to_train() == ["kit"]
    store.save_job(start(JOB, base_sha256="a" * 64, now=NOW), memory_ids=[first.memory_id])
    assert store.devices_to_train() == ["kit"]
    publish(store, JOB, [first.memory_id])
    assert store.devices_to_train() == []
    store.take_batch(make_batch(second), now=NOW)
    assert store.devices_to_train() == ["kit"]


def test_a_device_with_another_base_is_to_be_trained_again(store: Store) -> None:
    memory = make_memory(1)
    store.take_batch(make_batch(memory), now=NOW)
    publish(store, JOB, [memory.memory_id])
    store.take_batch(make_batch(memory, profile=make_profile("e" * 64)), now=NOW)
    assert store.devices_to_train() == ["kit"]


def test_jobs_come_back_as_they_were_saved(store: Store) -> None:
    store.take_batch(make_batch(), now=NOW)
    ended = finish(start(JOB, base_sha256="a" * 64, now=NOW), Done("c" * 64), now=NOW)
    store.save_job(ended)
    waiting = Job("j2", "kit", "queued", NOW)
    store.save_job(waiting)
    assert store.jobs() == [ended, waiting]
    assert store.jobs(unfinished=True) == [waiting]


def test_artifacts_are_listed_with_what_devices_reported_once_each(store: Store) -> None:
    store.take_batch(make_batch(), now=NOW)
    publish(store, JOB, [])
    report = Report(
        device="kit", artifact="c" * 64, outcome="installed", reasons=["it recalls"],
        figures={"recall": 1.0}, reported_at=NOW,
    )  # fmt: skip
    store.record_report(report, now=NOW)
    store.record_report(report, now=NOW)
    (artifact,) = store.artifacts()
    assert artifact.manifest == make_manifest()
    assert artifact.timestamp_version == 2
    assert artifact.reports == (report,)


def test_several_threads_write_at_once(store: Store) -> None:
    def write(device: str) -> None:
        for number in range(1, 11):
            memory = make_memory(number, memory_id=f"{device}0000000-0000-0000-0000-{number:012x}")
            store.take_batch(make_batch(memory, device=device), now=NOW)

    threads = [threading.Thread(target=write, args=(device,)) for device in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [device.memories for device in store.devices()] == [10, 10, 10]


def test_a_newer_schema_is_refused_and_left_alone(store: Store, tmp_path: Path) -> None:
    store.take_batch(make_batch(), now=NOW)
    store.close()
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(StoreError, match="version 99"):
        Store(path).open()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM memories").fetchone() == (1,)


def test_a_file_that_is_no_database_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="not a database"):
        Store(path).open()


def test_a_database_error_never_repeats_what_the_user_said(store: Store, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        connection.execute("DROP TABLE memories")
    with pytest.raises(StoreError) as caught:
        store.take_batch(make_batch(make_memory(1, "My PIN is 4711.")), now=NOW)
    assert "4711" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_the_ledger_is_for_its_owner_only_and_survives_a_power_cut(
    store: Store, tmp_path: Path
) -> None:
    store.take_batch(make_batch(), now=NOW)
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    with store._read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
