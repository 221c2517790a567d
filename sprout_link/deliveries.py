"""Publications on their way, and the broker's acknowledgements that settle them."""

from __future__ import annotations

import threading

from sprout_link.errors import TransportError


class Delivery:
    """A publication on its way; `wait` tells whether the broker has it."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._refusal: str | None = None

    def finish(self, refusal: str | None) -> None:
        """Record the broker's acknowledgement, or why it refused."""
        self._refusal = refusal
        self._done.set()

    def wait(self, timeout_s: float) -> bool:
        """Whether the broker has acknowledged within `timeout_s` seconds.

        Raises:
            TransportError: the broker refused the message.
        """
        if not self._done.wait(timeout_s):
            return False
        if self._refusal is not None:
            raise TransportError(f"the broker refused a message: {self._refusal}")
        return True


class Deliveries:
    """Joins message ids with acknowledgements, whichever of the two comes first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, Delivery] = {}
        self._early: dict[int, str | None] = {}

    def sent(self, message_id: int) -> Delivery:
        """The delivery of a message that was just handed to the network thread."""
        delivery = Delivery()
        with self._lock:
            if message_id in self._early:
                delivery.finish(self._early.pop(message_id))
            else:
                self._open[message_id] = delivery
        return delivery

    def settled(self, message_id: int, refusal: str | None) -> None:
        """The broker acknowledged a message, or refused it for the reason given."""
        with self._lock:
            delivery = self._open.pop(message_id, None)
            if delivery is None:
                self._early[message_id] = refusal
            else:
                delivery.finish(refusal)
