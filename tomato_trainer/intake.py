"""What devices send becomes durable, and only then is acknowledged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from sprout_link import topics
from sprout_link.errors import MessageError, TopicError
from sprout_link.messages import (
    MAX_MESSAGE_BYTES,
    BatchAck,
    DeviceState,
    Identifier,
    MemoryBatch,
    Report,
    decode,
)
from tomato_trainer.errors import ConflictError
from tomato_trainer.store import Store

_log = logging.getLogger(__name__)

MAX_STATE_BYTES: Final = 16 * 1024
MAX_REPORT_BYTES: Final = 256 * 1024
_MAX_REFUSAL_CHARS: Final = 500


class _BatchId(msgspec.Struct, frozen=True):
    """As much of a malformed batch as is needed to refuse it."""

    batch_id: Annotated[str, Meta(max_length=36)] | None = None


class Intake:
    """Writes messages to the ledger. Its methods run on the link's thread.

    Args:
        store: the ledger.
        clock: the time now, with time zone.
    """

    def __init__(self, store: Store, *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def take_batch(self, topic: str, payload: bytes) -> BatchAck | None:
        """Store a batch and return what to acknowledge; nothing when nobody can be answered.

        Raises:
            StoreError: the ledger cannot take it now; the device will send it again.
        """
        device = _device_of(topic)
        if device is None:
            return None
        try:
            batch = decode(payload, MemoryBatch)
        except MessageError as error:
            return _refusal(device, _readable_id(payload), str(error))
        if batch.device != device:
            return _refusal(
                device, batch.batch_id, f"it names the device {batch.device}, its topic {device}"
            )
        try:
            taken = self._store.take_batch(batch, now=self._clock())
        except ConflictError as error:
            return _refusal(device, batch.batch_id, str(error))
        _log.info(
            "a batch was stored",
            extra={"device": device, "batch": batch.batch_id,
                   "stored": taken.stored, "known": taken.known},
        )  # fmt: skip
        return BatchAck(
            device=device, batch_id=batch.batch_id, stored=taken.stored, known=taken.known
        )

    def take_state(self, topic: str, payload: bytes) -> None:
        """Remember what a device says of itself; anything malformed is logged and ignored."""
        device = _device_of(topic)
        try:
            state = decode(payload, DeviceState, max_bytes=MAX_STATE_BYTES)
        except MessageError as error:
            _log.warning("a state was ignored: %s", error, extra={"device": device})
            return
        if state.device == device:
            self._store.record_state(state, now=self._clock())

    def take_report(self, topic: str, payload: bytes) -> None:
        """Keep what a device did with an artifact; anything malformed is logged and ignored."""
        device = _device_of(topic)
        try:
            report = decode(payload, Report, max_bytes=MAX_REPORT_BYTES)
        except MessageError as error:
            _log.warning("a report was ignored: %s", error, extra={"device": device})
            return
        if report.device != device:
            return
        self._store.record_report(report, now=self._clock())
        _log.info(
            "a device reported",
            extra={"device": device, "artifact": report.artifact, "outcome": report.outcome},
        )


def _device_of(topic: str) -> str | None:
    try:
        return topics.parse(topic).device
    except TopicError as error:
        _log.warning("a message was ignored: %s", error)
        return None


def _readable_id(payload: bytes) -> str | None:
    if len(payload) > MAX_MESSAGE_BYTES:
        return None
    try:
        found = msgspec.json.decode(payload, type=_BatchId).batch_id
        return None if found is None else msgspec.convert(found, Identifier)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _refusal(device: str, batch_id: str | None, reason: str) -> BatchAck | None:
    _log.warning("a batch was refused: %s", reason, extra={"device": device, "batch": batch_id})
    if batch_id is None:
        return None
    return BatchAck(
        device=device, batch_id=batch_id, stored=0, known=0, refused=reason[:_MAX_REFUSAL_CHARS]
    )
