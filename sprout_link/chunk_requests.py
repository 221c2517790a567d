"""Chunks of the trust repository by MQTT 5 request and response, on both sides.

A request carries a response topic and correlation data; the reply carries the same data
back. What matches no waiting request (late, doubled, forged) is ignored.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sprout_link import topics
from sprout_link.errors import MessageError, TopicError, TransportError
from sprout_link.messages import CHUNK_BYTES, ChunkReply, ChunkRequest, decode, encode
from sprout_link.mqtt import Link, Properties

_log = logging.getLogger(__name__)

MAX_REQUEST_BYTES: Final = 4096
MAX_REPLY_BYTES: Final = CHUNK_BYTES + 4096
MAX_CORRELATION_BYTES: Final = 64
_SLICE_S: Final = 0.1
"""How soon a cancelled or disconnected request is noticed, in seconds."""


@dataclass
class _Waiting:
    request: ChunkRequest
    arrived: threading.Event = field(default_factory=threading.Event)
    reply: ChunkReply | None = None


class Requester:
    """Asks for chunks on behalf of one device, one at a time or from several threads.

    Args:
        link: the device's link; the reply topic is subscribed at once.
        device: whose `chunk` topic the replies come by.
        timeout_s: seconds to wait for one reply while the broker is there.
        attempts: times that a request is sent before giving up.
        patience_s: seconds without a broker before giving up.
    """

    def __init__(
        self,
        link: Link,
        device: str,
        *,
        timeout_s: float = 10.0,
        attempts: int = 6,
        patience_s: float = 120.0,
    ) -> None:
        self._link = link
        self._topic = topics.build(device, "chunk")
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._patience_s = patience_s
        self._waiting: dict[bytes, _Waiting] = {}
        self._lock = threading.Lock()
        link.subscribe(self._topic, self._reply_came)

    def request(
        self, request: ChunkRequest, *, cancel: threading.Event | None = None
    ) -> ChunkReply:
        """Ask for a chunk and wait for it, over lost replies and lost connections.

        Raises:
            TransportError: no trainer answered, no broker came back, or `cancel` was set.
        """
        if self._link.on_own_thread():
            raise RuntimeError("a chunk cannot be requested inside a handler of the same link")
        for _ in range(self._attempts):
            self._wait_for_broker(cancel)
            reply = self._attempt(request, cancel)
            if reply is not None:
                return reply
        raise TransportError(
            f"no trainer sent {request.path} by the broker at {self._link.address} "
            f"({self._attempts} attempts); is `tomato-trainer serve` running there?"
        )

    def _wait_for_broker(self, cancel: threading.Event | None) -> None:
        deadline = time.monotonic() + self._patience_s
        while not self._link.wait_connected(_SLICE_S):
            _check(cancel)
            if time.monotonic() > deadline:
                raise TransportError(
                    f"no broker at {self._link.address} for {self._patience_s:.0f} s"
                )

    def _attempt(self, request: ChunkRequest, cancel: threading.Event | None) -> ChunkReply | None:
        correlation = secrets.token_bytes(16)
        waiting = _Waiting(request)
        with self._lock:
            self._waiting[correlation] = waiting
        try:
            self._link.publish(
                topics.FETCH,
                encode(request),
                response_topic=self._topic,
                correlation=correlation,
            )
            deadline = time.monotonic() + self._timeout_s
            while not waiting.arrived.wait(_SLICE_S):
                _check(cancel)
                if time.monotonic() > deadline or not self._link.connected:
                    break
            return waiting.reply
        finally:
            with self._lock:
                del self._waiting[correlation]

    def _reply_came(self, _topic: str, payload: bytes, properties: Properties) -> None:
        with self._lock:
            waiting = self._waiting.get(properties.correlation or b"")
        if waiting is None:
            return
        try:
            reply = decode(payload, ChunkReply, max_bytes=MAX_REPLY_BYTES)
        except MessageError as error:
            _log.warning("a chunk's reply was ignored: %s", error)
            return
        asked = waiting.request
        if (reply.path, reply.offset) != (asked.path, asked.offset) or len(reply.data) > asked.size:
            _log.warning("a chunk's reply was ignored: it answers another question")
            return
        waiting.reply = reply
        waiting.arrived.set()


def serve_requests(link: Link, answer: Callable[[ChunkRequest], ChunkReply]) -> None:
    """Have every chunk request that reaches this trainer answered by `answer`."""

    def handle(_topic: str, payload: bytes, properties: Properties) -> None:
        response_topic, correlation = properties.response_topic, properties.correlation
        if response_topic is None or correlation is None or not _may_reply(response_topic):
            return
        if len(correlation) > MAX_CORRELATION_BYTES:
            return
        try:
            request = decode(payload, ChunkRequest, max_bytes=MAX_REQUEST_BYTES)
        except MessageError as error:
            _log.warning("a chunk request was ignored: %s", error)
            return
        link.publish(response_topic, encode(answer(request)), correlation=correlation)

    link.subscribe(topics.shared_fetch(), handle)


def _may_reply(topic: str) -> bool:
    """Only to a device's chunk topic: a request must not make us speak elsewhere."""
    try:
        return topics.parse(topic).channel == "chunk"
    except TopicError:
        return False


def _check(cancel: threading.Event | None) -> None:
    if cancel is not None and cancel.is_set():
        raise TransportError("the transfer was stopped")
