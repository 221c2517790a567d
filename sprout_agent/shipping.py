"""Ships memories: from the outbox to the broker, until the trainer has acknowledged them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

from sprout_agent.errors import MemoryStoreError
from sprout_agent.memory.outbox import Outbox
from sprout_agent.progress import Progress
from sprout_link import topics
from sprout_link.errors import MessageError, TransportError
from sprout_link.messages import BatchAck, DeviceProfile, decode, encode
from sprout_link.mqtt import Link, Properties

_log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 0.5


class Shipper:
    """Looks into the outbox now and then, on a thread of its own."""

    def __init__(
        self,
        link: Link,
        outbox: Outbox,
        *,
        device: str,
        profile: DeviceProfile,
        ship_requested: threading.Event,
        progress: Progress,
        on_settled: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._link = link
        self._outbox = outbox
        self._device = device
        self._profile = profile
        self._ship_requested = ship_requested
        self._progress = progress
        self._on_settled = on_settled
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="shipper", daemon=True)

    def start(self) -> None:
        """Begin; acknowledgements are listened for from here on."""
        self._link.subscribe(topics.build(self._device, "ack"), self._acknowledged)
        self._thread.start()

    def stop(self) -> None:
        """End; what was not acknowledged is sent again next time."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def connected(self) -> None:
        """The broker is there again: do not wait for the next try."""
        self._outbox.retry_now()

    def _work(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            if not self._link.connected:
                continue
            try:
                self._ship()
            except (MemoryStoreError, TransportError) as error:
                _log.warning("memories wait: %s", error)
                self._stop.wait(5.0)

    def _ship(self) -> None:
        now = self._ship_requested.is_set()
        batch = self._outbox.next_batch(self._clock(), ship_now=now)
        if batch is None:
            self._ship_requested.clear()
            return
        message = batch.message(device=self._device, profile=self._profile, sent_at=self._clock())
        self._link.publish(topics.build(self._device, "memories"), encode(message))
        _log.info(
            "sent %d memories, batch %s, try %d",
            len(batch.memories), batch.batch_id, batch.attempt,
        )  # fmt: skip

    def _acknowledged(self, _topic: str, payload: bytes, _properties: Properties) -> None:
        try:
            ack = decode(payload, BatchAck)
        except MessageError as error:
            _log.warning("an acknowledgement was not understood: %s", error)
            return
        if ack.refused is not None:
            settled = self._outbox.refused(ack.batch_id, ack.refused)
            self._progress.note(last_refusal=ack.refused)
            _log.error("the trainer refused batch %s: %s", ack.batch_id, ack.refused)
        else:
            settled = self._outbox.acknowledge(ack.batch_id)
        if settled:
            _log.info("batch %s: %d new, %d known", ack.batch_id, ack.stored, ack.known)
            self._on_settled()
