"""The ledger: devices, their memories, jobs and artifacts, in a database by SQLAlchemy Core.

SQLite with WAL and synchronous=FULL, so that what was acknowledged survives a power cut.
Every method is one transaction and may be called from any thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, create_engine, event, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError

from sprout_link.artifact import Manifest
from sprout_link.messages import DeviceProfile, DeviceState, Memory, MemoryBatch, Report
from tomato_trainer.errors import ConflictError, StoreError
from tomato_trainer.jobs import Job
from tomato_trainer.store_schema import (
    SCHEMA_VERSION,
    artifacts,
    batches,
    devices,
    job_memories,
    jobs,
    memories,
    metadata,
    reports,
    schema_version,
)

_UNFINISHED = ("queued", "running")
_json = msgspec.json.Encoder()


@dataclass(frozen=True)
class Intake:
    """What a batch brought."""

    stored: int
    known: int


@dataclass(frozen=True)
class Device:
    """What the ledger knows of a device."""

    device: str
    profile: DeviceProfile | None
    online: bool
    active_artifact: str | None
    waiting: int
    """Memories that it has promoted and the ledger does not have yet, as it last said."""
    memories: int
    seen_at: datetime


@dataclass(frozen=True)
class Artifact:
    """Something that was published."""

    manifest: Manifest
    timestamp_version: int
    reports: tuple[Report, ...] = ()


class Store:
    """The ledger in one SQLite file.

    Args:
        path: the database; its folder exists. `open` makes or checks it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine: Engine | None = None

    def open(self) -> None:
        """Open the database, and make its tables when it is new.

        Raises:
            StoreError: it cannot be opened, is damaged, or a newer program made it.
        """
        with self._wrapped():
            # Made by us, not by SQLite, so that nobody else can ever read it.
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            engine = create_engine(f"sqlite:///{self._path}", connect_args={"timeout": 30})
            event.listen(engine, "connect", _prepare)
            event.listen(engine, "begin", _begin)
            self._engine = engine
            with engine.execution_options(writes=True).begin() as connection:
                metadata.create_all(connection)
                found = connection.scalar(select(func.max(schema_version.c.version)))
                if found is None:
                    connection.execute(schema_version.insert().values(version=SCHEMA_VERSION))
                elif found > SCHEMA_VERSION:
                    raise StoreError(
                        f"{self._path}: its schema is version {found} and this program knows "
                        f"{SCHEMA_VERSION}; use the newer program that wrote it"
                    )

    def close(self) -> None:
        """Let go of the database. Harmless when closed."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def take_batch(self, batch: MemoryBatch, *, now: datetime) -> Intake:
        """Write a whole batch durably, or nothing of it.

        Raises:
            ConflictError: a memory's id or sequence number is there already with another
                content, or belongs to another device.
            StoreError: the database cannot take it now.
        """
        with self._write() as connection:
            _touch(connection, batch.device, now, profile=_json.encode(batch.profile))
            connection.execute(
                insert(batches)
                .values(
                    batch_id=batch.batch_id,
                    device=batch.device,
                    sent_at=batch.sent_at.isoformat(),
                    received_at=now.isoformat(),
                    memories=len(batch.memories),
                )
                .on_conflict_do_nothing()
            )
            stored = sum(_take_memory(connection, batch, memory) for memory in batch.memories)
        return Intake(stored=stored, known=len(batch.memories) - stored)

    def record_state(self, state: DeviceState, *, now: datetime) -> None:
        """Remember what a device says of itself."""
        with self._write() as connection:
            _touch(
                connection,
                state.device,
                now,
                online=state.online,
                base_sha256=state.base_sha256,
                active_artifact=state.active_artifact,
                waiting=state.waiting,
            )

    def record_report(self, report: Report, *, now: datetime) -> None:
        """Keep what a device did with an artifact; the same report twice is kept once."""
        with self._write() as connection:
            _touch(connection, report.device, now)
            connection.execute(
                insert(reports)
                .values(
                    device=report.device,
                    artifact=report.artifact,
                    outcome=report.outcome,
                    reported_at=report.reported_at.isoformat(),
                    record=_json.encode(report),
                )
                .on_conflict_do_nothing()
            )

    def devices(self) -> list[Device]:
        """Every device that was ever heard of, by name."""
        count = (
            select(func.count())
            .where(memories.c.device == devices.c.device)
            .scalar_subquery()
            .label("memories")
        )
        with self._read() as connection:
            rows = connection.execute(select(devices, count).order_by(devices.c.device)).all()
        return [
            Device(
                device=row.device,
                profile=_profile(row.profile),
                online=row.online,
                active_artifact=row.active_artifact,
                waiting=row.waiting,
                memories=row.memories,
                seen_at=datetime.fromisoformat(row.seen_at),
            )
            for row in rows
        ]

    def memories_of(self, device: str) -> list[Memory]:
        """Everything that a device's ledger holds, by sequence."""
        query = select(memories.c.record).where(memories.c.device == device)
        with self._read() as connection:
            rows = connection.scalars(query.order_by(memories.c.sequence)).all()
        return [msgspec.json.decode(row, type=Memory) for row in rows]

    def profile_of(self, device: str) -> DeviceProfile | None:
        """What the device's newest batch said of it; none before its first."""
        query = select(devices.c.profile).where(devices.c.device == device)
        with self._read() as connection:
            return _profile(connection.scalar(query))

    def devices_to_train(self) -> list[str]:
        """Devices with memories that no published job was given, for the base they run now."""
        waiting = []
        for device in self.devices():
            if device.profile is None:
                continue
            given = (
                select(job_memories.c.memory_id)
                .join(jobs, jobs.c.job_id == job_memories.c.job_id)
                .where(jobs.c.state == "published")
                .where(jobs.c.base_sha256 == device.profile.base_sha256)
            )
            query = (
                select(memories.c.memory_id)
                .where(memories.c.device == device.device)
                .where(memories.c.memory_id.not_in(given))
                .limit(1)
            )
            with self._read() as connection:
                if connection.scalar(query) is not None:
                    waiting.append(device.device)
        return waiting

    def jobs(self, *, unfinished: bool = False) -> list[Job]:
        """Jobs by creation, all of them or those that wait or run."""
        query = select(jobs).order_by(jobs.c.created_at, jobs.c.job_id)
        if unfinished:
            query = query.where(jobs.c.state.in_(_UNFINISHED))
        with self._read() as connection:
            return [_job(row) for row in connection.execute(query)]

    def save_job(self, job: Job, *, memory_ids: Sequence[str] = ()) -> None:
        """Write a job as it is now, and which memories it was given when it starts."""
        with self._write() as connection:
            _save_job(connection, job)
            if memory_ids:
                connection.execute(
                    insert(job_memories).on_conflict_do_nothing(),
                    [{"job_id": job.job_id, "memory_id": memory} for memory in memory_ids],
                )

    def save_published(self, job: Job, manifest: Manifest, *, timestamp_version: int) -> None:
        """Write a job's end and its artifact together."""
        with self._write() as connection:
            _save_job(connection, job)
            connection.execute(
                insert(artifacts)
                .values(
                    job_id=job.job_id,
                    device=job.device,
                    artifact=manifest.artifact,
                    timestamp_version=timestamp_version,
                    manifest=_json.encode(manifest),
                )
                .on_conflict_do_nothing()
            )

    def artifacts(self) -> list[Artifact]:
        """Everything that was published, by device and time, with the devices' reports."""
        with self._read() as connection:
            rows = connection.execute(
                select(artifacts)
                .join(jobs, jobs.c.job_id == artifacts.c.job_id)
                .order_by(artifacts.c.device, jobs.c.ended_at)
            ).all()
            said = connection.execute(select(reports).order_by(reports.c.reported_at)).all()
        return [
            Artifact(
                manifest=msgspec.json.decode(row.manifest, type=Manifest),
                timestamp_version=row.timestamp_version,
                reports=tuple(
                    msgspec.json.decode(report.record, type=Report)
                    for report in said
                    if (report.device, report.artifact) == (row.device, row.artifact)
                ),
            )
            for row in rows
        ]

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._wrapped(), self._opened().execution_options(writes=True).begin() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._wrapped(), self._opened().begin() as connection:
            yield connection

    def _opened(self) -> Engine:
        if self._engine is None:
            raise StoreError(f"{self._path}: the ledger is not open")
        return self._engine

    @contextmanager
    def _wrapped(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            # Not the whole text of the error: it repeats the values, a memory's text among them.
            cause = getattr(error, "orig", None) or type(error).__name__
            raise StoreError(f"{self._path}: {cause}") from None
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be opened: {error.strerror}") from error


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # `_begin` begins, not the driver
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    # A writer that begins as a reader can be refused half-way; this one waits its turn.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _touch(connection: Connection, device: str, now: datetime, **values: Any) -> None:
    values["seen_at"] = now.isoformat()
    connection.execute(
        insert(devices)
        .values(device=device, **values)
        .on_conflict_do_update(index_elements=["device"], set_=values)
    )


def _take_memory(connection: Connection, batch: MemoryBatch, memory: Memory) -> bool:
    """Whether the memory was new."""
    rows = connection.execute(
        select(memories.c.device, memories.c.record).where(
            (memories.c.memory_id == memory.memory_id)
            | ((memories.c.device == batch.device) & (memories.c.sequence == memory.sequence))
        )
    ).all()
    for row in rows:
        if row.device != batch.device or msgspec.json.decode(row.record, type=Memory) != memory:
            raise ConflictError(
                f"the memory {memory.memory_id} (number {memory.sequence}) contradicts one "
                "that the ledger holds under the same id or number"
            )
    if rows:
        return False
    connection.execute(
        memories.insert().values(
            memory_id=memory.memory_id,
            device=batch.device,
            sequence=memory.sequence,
            batch_id=batch.batch_id,
            record=_json.encode(memory),
        )
    )
    return True


def _save_job(connection: Connection, job: Job) -> None:
    values = {
        "device": job.device,
        "state": job.state,
        "created_at": job.created_at.isoformat(),
        "crashes": job.crashes,
        "started_at": _text(job.started_at),
        "ended_at": _text(job.ended_at),
        "reason": job.reason,
        "base_sha256": job.base_sha256,
        "artifact": job.artifact,
    }
    connection.execute(
        insert(jobs)
        .values(job_id=job.job_id, **values)
        .on_conflict_do_update(index_elements=["job_id"], set_=values)
    )


def _job(row: Row[Any]) -> Job:
    return Job(
        job_id=row.job_id,
        device=row.device,
        state=row.state,
        created_at=datetime.fromisoformat(row.created_at),
        crashes=row.crashes,
        started_at=_time(row.started_at),
        ended_at=_time(row.ended_at),
        reason=row.reason,
        base_sha256=row.base_sha256,
        artifact=row.artifact,
    )


def _profile(record: bytes | None) -> DeviceProfile | None:
    return None if record is None else msgspec.json.decode(record, type=DeviceProfile)


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
