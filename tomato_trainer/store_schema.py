"""Tables of the trainer's ledger."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

SCHEMA_VERSION: Final = 1

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True))

devices = Table(
    "devices",
    metadata,
    Column("device", String(63), primary_key=True),
    Column("profile", LargeBinary),  # JSON of DeviceProfile, from its newest batch
    Column("online", Boolean, nullable=False, default=False),
    Column("base_sha256", String(64)),
    Column("active_artifact", String(64)),
    Column("waiting", Integer, nullable=False, default=0),
    Column("seen_at", String(40), nullable=False),
)

batches = Table(
    "batches",
    metadata,
    Column("batch_id", String(36), primary_key=True),
    Column("device", ForeignKey("devices.device"), nullable=False),
    Column("sent_at", String(40), nullable=False),
    Column("received_at", String(40), nullable=False),
    Column("memories", Integer, nullable=False),
)

memories = Table(
    "memories",
    metadata,
    Column("memory_id", String(36), primary_key=True),
    Column("device", ForeignKey("devices.device"), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("batch_id", ForeignKey("batches.batch_id"), nullable=False),
    Column("record", LargeBinary, nullable=False),  # JSON of Memory, as it was sent
    UniqueConstraint("device", "sequence"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", String(36), primary_key=True),
    Column("device", ForeignKey("devices.device"), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", String(40), nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("started_at", String(40)),
    Column("ended_at", String(40)),
    Column("reason", String(600), nullable=False),
    Column("base_sha256", String(64)),
    Column("artifact", String(64)),
    Index("jobs_by_state", "state"),
)

job_memories = Table(
    "job_memories",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("memory_id", ForeignKey("memories.memory_id"), primary_key=True),
)
"""What a job was given, whether or not its training set used it."""

artifacts = Table(
    "artifacts",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("device", ForeignKey("devices.device"), nullable=False),
    Column("artifact", String(64), nullable=False),
    Column("timestamp_version", Integer, nullable=False),
    Column("manifest", LargeBinary, nullable=False),  # JSON of Manifest
    Index("artifacts_by_device", "device"),
)

reports = Table(
    "reports",
    metadata,
    Column("device", ForeignKey("devices.device"), primary_key=True),
    Column("artifact", String(64), primary_key=True),
    Column("outcome", String(16), primary_key=True),
    Column("reported_at", String(40), primary_key=True),
    Column("record", LargeBinary, nullable=False),  # JSON of Report
)
