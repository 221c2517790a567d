"""What was promoted and the trainer has not acknowledged: batches that survive anything.

One batch is on its way at a time. It keeps its id and its content until it is acknowledged
or refused, so the trainer can tell a repetition from something new.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from uuid6 import uuid7

from sprout_agent.memory.database import Database, Row
from sprout_agent.memory.store import select_memories, stored_memory
from sprout_link.messages import MAX_BATCH_MEMORIES, DeviceProfile, Memory, MemoryBatch

MAX_BATCH_BYTES: Final = 1024 * 1024
"""Most bytes that the memories of one batch take as JSON."""


class OutboxSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[outbox]`."""

    batch_count: Annotated[int, Meta(ge=1, le=MAX_BATCH_MEMORIES)] = 8
    """So many waiting memories are sent at once, 1 to 256."""
    quiet_s: Annotated[float, Meta(ge=0.0, le=86_400.0)] = 20.0
    """Fewer are sent when nothing new was promoted for so long, seconds, 0 to 86400."""
    retry_first_s: Annotated[float, Meta(gt=0.0, le=3_600.0)] = 5.0
    """Wait for an acknowledgement before the second try, seconds, up to 3600; doubles."""
    retry_max_s: Annotated[float, Meta(gt=0.0, le=86_400.0)] = 300.0
    """Longest wait between two tries, seconds, up to 86400."""


@dataclass(frozen=True)
class PendingBatch:
    """A batch that is to be sent now."""

    batch_id: str
    memories: tuple[Memory, ...]
    attempt: int
    """1 for the first try."""

    def message(self, *, device: str, profile: DeviceProfile, sent_at: datetime) -> MemoryBatch:
        """The batch as it travels."""
        return MemoryBatch(
            device=device,
            batch_id=self.batch_id,
            sent_at=sent_at,
            profile=profile,
            memories=list(self.memories),
        )


@dataclass(frozen=True)
class RefusedBatch:
    """A batch that the trainer will never take."""

    batch_id: str
    reason: str
    memory_ids: tuple[str, ...]


class Outbox:
    """The queue of promoted memories in the memory database. Times are given, never read."""

    def __init__(self, database: Database, settings: OutboxSettings) -> None:
        self._database = database
        self._settings = settings

    def due(self, now: datetime, *, ship_now: bool = False) -> bool:
        """Is there something to send at `now`? With `ship_now` nothing new has to wait."""
        waiting = self._waiting_batch()
        if waiting is not None:
            return self._retry_due(float(waiting["next_attempt_at"]), now)
        rows = self._database.rows(
            "SELECT COUNT(*) AS count, MAX(promoted_at) AS newest "
            "FROM outbox JOIN memories USING (memory_id) WHERE batch_id IS NULL"
        )
        if rows[0]["count"] == 0:
            return False
        quiet_s = (now - datetime.fromisoformat(rows[0]["newest"])).total_seconds()
        # A clock that was set back makes the newest one lie in the future: send it.
        return (
            ship_now
            or rows[0]["count"] >= self._settings.batch_count
            or quiet_s >= self._settings.quiet_s
            or quiet_s < 0
        )

    def next_batch(self, now: datetime, *, ship_now: bool = False) -> PendingBatch | None:
        """The batch to send at `now`, if one is due. It counts as tried from here on."""
        with self._database.transaction():
            if not self.due(now, ship_now=ship_now):
                return None
            waiting = self._waiting_batch()
            batch_id = str(waiting["batch_id"]) if waiting else self._form_batch()
            attempt = (int(waiting["attempts"]) if waiting else 0) + 1
            wait_s = min(
                self._settings.retry_first_s * 2.0 ** min(attempt - 1, 32),
                self._settings.retry_max_s,
            )
            self._database.execute(
                "UPDATE batches SET attempts = ?, next_attempt_at = ? WHERE batch_id = ?",
                (attempt, now.timestamp() + wait_s, batch_id),
            )
            rows = select_memories(
                self._database,
                "JOIN outbox USING (memory_id) WHERE batch_id = ? ORDER BY sequence",
                (batch_id,),
            )
        memories = tuple(stored_memory(row).memory for row in rows)
        return PendingBatch(batch_id, memories, attempt)

    def retry_now(self) -> None:
        """Forget the wait, for instance when the broker is there again."""
        self._database.execute(
            "UPDATE batches SET attempts = 0, next_attempt_at = 0 WHERE state = 'waiting'"
        )

    def acknowledge(self, batch_id: str) -> bool:
        """The trainer has this batch; false when that was known, or there is no such batch."""
        return self._settle(batch_id, "acknowledged", None)

    def refused(self, batch_id: str, reason: str) -> bool:
        """The trainer will never take this batch. Its memories stay here, and visible."""
        return self._settle(batch_id, "refused", reason)

    def refusals(self) -> list[RefusedBatch]:
        """What the trainer refused, oldest first."""
        batches = self._database.rows(
            "SELECT batch_id, reason FROM batches WHERE state = 'refused' ORDER BY batch_id"
        )
        return [
            RefusedBatch(
                batch["batch_id"],
                batch["reason"] or "",
                tuple(
                    row["memory_id"]
                    for row in self._database.rows(
                        "SELECT memory_id FROM outbox WHERE batch_id = ? ORDER BY memory_id",
                        (batch["batch_id"],),
                    )
                ),
            )
            for batch in batches
        ]

    def waiting(self) -> int:
        """Memories that are promoted and not yet acknowledged, refused ones left out."""
        return self._database.number(
            "SELECT COUNT(*) FROM outbox LEFT JOIN batches USING (batch_id) "
            "WHERE state IS NULL OR state = 'waiting'"
        )

    def _settle(self, batch_id: str, state: str, reason: str | None) -> bool:
        with self._database.transaction():
            changed = self._database.execute(
                "UPDATE batches SET state = ?, reason = ? WHERE batch_id = ? AND state = 'waiting'",
                (state, reason, batch_id),
            )
            if changed and state == "acknowledged":
                self._database.execute("DELETE FROM outbox WHERE batch_id = ?", (batch_id,))
        return bool(changed)

    def _waiting_batch(self) -> Row | None:
        rows = self._database.rows("SELECT * FROM batches WHERE state = 'waiting' LIMIT 1")
        return rows[0] if rows else None

    def _retry_due(self, next_attempt_s: float, now: datetime) -> bool:
        left_s = next_attempt_s - now.timestamp()
        # More than the longest wait is left only when the clock was set back.
        return left_s <= 0 or left_s > self._settings.retry_max_s

    def _form_batch(self) -> str:
        batch_id = str(uuid7())
        self._database.execute(
            "INSERT INTO batches (batch_id, state) VALUES (?, 'waiting')", (batch_id,)
        )
        rows = select_memories(
            self._database,
            "JOIN outbox USING (memory_id) WHERE batch_id IS NULL ORDER BY sequence LIMIT ?",
            (MAX_BATCH_MEMORIES,),
        )
        size_bytes = 0
        for position, row in enumerate(rows):
            memory = stored_memory(row).memory
            size_bytes += len(msgspec.json.encode(memory)) + 1
            if position and size_bytes > MAX_BATCH_BYTES:
                break
            self._database.execute(
                "UPDATE outbox SET batch_id = ? WHERE memory_id = ?",
                (batch_id, memory.memory_id),
            )
        return batch_id
