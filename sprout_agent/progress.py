"""What the agent is doing right now, for `status` and for whoever watches the loop."""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from sprout_link.messages import JobProgress, Report


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """A download on its way."""

    done_bytes: int
    total_bytes: int


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """A trial of an artifact on its way."""

    part: str
    done: int
    total: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one instant."""

    connected: bool = False
    connection: str = "not started"
    """Why the link is as it is, in words."""
    job: JobProgress | None = None
    transfer: Transfer | None = None
    trial: Trial | None = None
    last_report: Report | None = None
    last_refusal: str | None = None
    """Why the trainer refused the last batch, if it did."""
    update_problem: str | None = None
    """Why the last look for an artifact came to nothing, if it did."""


class Progress:
    """Holds the newest snapshot; written by any thread, read by any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot = Snapshot()

    def note(self, **changes: Any) -> None:
        """Replace the named parts of the snapshot."""
        with self._lock:
            self._snapshot = msgspec.structs.replace(self._snapshot, **changes)

    def snapshot(self) -> Snapshot:
        """The newest snapshot."""
        with self._lock:
            return self._snapshot
