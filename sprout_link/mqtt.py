"""One connection to the broker: paho-mqtt over MQTT 5, behind a small class.

A `Link` keeps trying for ever, keeps its session on the broker while it is away, and
runs every handler on one thread of its own. A message is acknowledged to the broker
only after its handler has returned, so a crash in between brings it again.
"""

from __future__ import annotations

import logging
import queue
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties

from sprout_link import topics
from sprout_link.broker_settings import BrokerSettings, read_password
from sprout_link.deliveries import Deliveries, Delivery
from sprout_link.errors import TransportError

__all__ = ["BrokerSettings", "Delivery", "Handler", "Link", "Properties", "Will"]

_log = logging.getLogger(__name__)

SESSION_EXPIRY_S: Final = 7 * 24 * 3600
"""How long the broker keeps our subscriptions and waiting messages while we are away."""

RECONNECT_DELAY_S: Final = (1, 30)
"""First and longest pause between two attempts; each is twice the one before."""

MAX_INFLIGHT: Final = 20
"""Unacknowledged publications; paho walks them all on every acknowledgement."""

MAX_WAITING: Final = 1_000
"""Publications that wait for a connection, and messages that wait for their handler."""

_CONNECT_TIMEOUT_S: Final = 4.0
_QUEUE_PATIENCE_S: Final = 5.0


@dataclass(frozen=True)
class Will:
    """What the broker publishes for us when we vanish without a goodbye. Retained."""

    topic: str
    payload: bytes


@dataclass(frozen=True)
class Properties:
    """What came with a message besides topic and payload."""

    response_topic: str | None = None
    correlation: bytes | None = None
    retained: bool = False
    """It was kept by the broker, not sent just now."""


Handler = Callable[[str, bytes, Properties], None]
OnState = Callable[[bool, str], None]


@dataclass(frozen=True)
class _Incoming:
    message: paho.MQTTMessage
    session: int
    """Number of the connection that it came by: a message id means nothing in another."""


class Link:
    """One MQTT 5 client with a persistent session. Opens nothing until `start`.

    Args:
        settings: where the broker is and how to log in.
        client_id: names the session on the broker; two links must not share one.
        on_state: called on the link's thread with `(connected, sentence)`, once for each
            change and not for every attempt.
        will: published for us when we vanish.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        client_id: str,
        on_state: OnState | None = None,
        will: Will | None = None,
        session_expiry_s: int = SESSION_EXPIRY_S,
        reconnect_delay_s: tuple[int, int] = RECONNECT_DELAY_S,
    ) -> None:
        self._settings = settings
        self._client_id = client_id
        self._on_state = on_state
        self._will = will
        self._session_expiry_s = session_expiry_s
        self._reconnect_delay_s = reconnect_delay_s
        self._client: paho.Client | None = None
        self._worker: threading.Thread | None = None
        self._handlers: dict[str, Handler] = {}
        self._incoming: queue.Queue[_Incoming | tuple[bool, str] | None] = queue.Queue(MAX_WAITING)
        self._connected = threading.Event()
        self._session = 0
        self._last_state: tuple[bool, str] | None = None
        self._deliveries = Deliveries()
        self._handlers_lock = threading.Lock()
        self._stopping = False

    @property
    def address(self) -> str:
        """`HOST:PORT` of the broker."""
        return f"{self._settings.host}:{self._settings.port}"

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and has not gone since."""
        return self._connected.is_set()

    def wait_connected(self, timeout_s: float) -> bool:
        """Whether a connection is there within `timeout_s` seconds."""
        return self._connected.wait(timeout_s)

    def on_own_thread(self) -> bool:
        """Whether the caller runs inside a handler of this link."""
        return threading.current_thread() is self._worker

    def start(self) -> None:
        """Begin to connect, in the background and for ever; returns at once.

        Raises:
            TransportError: the password file or the authority's file cannot be read.
        """
        if self._client is not None:
            raise RuntimeError("the link was started already")
        client = self._make_client()
        self._stopping = False
        self._client = client
        self._worker = threading.Thread(target=self._work, name="link", daemon=True)
        self._worker.start()
        connect = PahoProperties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        connect.SessionExpiryInterval = self._session_expiry_s
        client.connect_async(
            self._settings.host,
            self._settings.port,
            keepalive=self._settings.keepalive_s,
            clean_start=False,
            properties=connect,
        )
        client.loop_start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Let the handler that runs finish, say goodbye, and stop. Harmless when stopped."""
        client, worker = self._client, self._worker
        if client is None or worker is None:
            return
        self._stopping = True
        with suppress(queue.Full):  # then it sees `_stopping` with the next message it takes
            self._incoming.put_nowait(None)
        worker.join(timeout_s)
        client.disconnect()
        client.loop_stop()
        self._connected.clear()
        self._client = self._worker = None

    def subscribe(self, topic_filter: str, handler: Handler) -> None:
        """Have `handler(topic, payload, properties)` called for what matches, now and after
        every reconnect. An exception in it is logged and ends nothing."""
        with self._handlers_lock:
            self._handlers[topic_filter] = handler
            if self._client is not None and self.connected:
                self._client.subscribe(topic_filter, qos=topics.QOS)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        response_topic: str | None = None,
        correlation: bytes | None = None,
    ) -> Delivery:
        """Send at least once; while there is no broker it waits in memory for one.

        Raises:
            TransportError: the link is not started, or too much is waiting already.
        """
        client = self._client
        if client is None:
            raise TransportError("the link to the broker is not started")
        properties = PahoProperties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if response_topic is not None:
            properties.ResponseTopic = response_topic
        if correlation is not None:
            properties.CorrelationData = correlation
        info = client.publish(topic, payload, topics.QOS, retain, properties)
        if info.rc not in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN):
            raise TransportError(
                f"a message cannot be sent to the broker at {self.address}: "
                f"{paho.error_string(info.rc)}"
            )
        return self._deliveries.sent(info.mid)

    def _make_client(self) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=paho.MQTTv5,
            manual_ack=True,
        )
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(MAX_INFLIGHT)
        client.max_queued_messages_set(MAX_WAITING)
        client.reconnect_delay_set(*self._reconnect_delay_s)
        settings = self._settings
        if settings.username is not None:
            client.username_pw_set(settings.username, read_password(settings.password_file))
        if settings.ca_file is not None:
            try:
                client.tls_set(ca_certs=settings.ca_file)
            except OSError as error:
                raise TransportError(
                    f"{settings.ca_file}: cannot be used as ca_file: {error}"
                ) from error
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, topics.QOS, retain=True)
        client.on_socket_open = _send_at_once
        client.on_connect = self._connect_came
        client.on_subscribe = self._subscribe_confirmed
        client.on_connect_fail = self._connect_failed
        client.on_disconnect = self._disconnect_came
        client.on_message = self._message_came
        client.on_publish = self._publish_confirmed
        return client

    # The following run on paho's network thread, which an exception would end.

    def _connect_came(
        self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._tell(False, f"the broker at {self.address} refuses us: {reason}")
            return
        self._session += 1
        with self._handlers_lock:
            for topic_filter in self._handlers:
                client.subscribe(topic_filter, qos=topics.QOS)
            self._connected.set()
        self._tell(True, f"connected to the broker at {self.address}")

    def _connect_failed(self, _client: paho.Client, _data: Any) -> None:
        error = sys.exc_info()[1]  # paho calls this while it handles the failure
        detail = f" ({error})" if error is not None else ""
        self._tell(False, f"no broker at {self.address} yet{detail}, will keep trying")

    def _disconnect_came(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        self._connected.clear()
        if not self._stopping and self._last_state is not None and self._last_state[0]:
            self._tell(False, f"lost the broker at {self.address} ({reason}), will keep trying")

    def _message_came(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            # Waiting here holds the broker back; it must not last, for acknowledgements
            # of our own messages come by this thread too.
            self._incoming.put(_Incoming(message, self._session), timeout=_QUEUE_PATIENCE_S)
        except queue.Full:
            _log.error("a message was dropped: handlers are too slow", extra={"n": MAX_WAITING})
            client.ack(message.mid, message.qos)

    def _subscribe_confirmed(
        self, _client: paho.Client, _data: Any, _mid: int, reasons: list[Any], _properties: Any
    ) -> None:
        for reason in reasons:
            if reason.is_failure:
                _log.error("the broker at %s refused a subscription: %s", self.address, reason)

    def _publish_confirmed(
        self, _client: paho.Client, _data: Any, mid: int, reason: Any, _properties: Any
    ) -> None:
        self._deliveries.settled(mid, str(reason) if reason.is_failure else None)

    def _tell(self, connected: bool, why: str) -> None:
        if (connected, why) == self._last_state:
            return
        self._last_state = (connected, why)
        try:
            self._incoming.put_nowait((connected, why))
        except queue.Full:
            _log.warning("%s", why)

    # The following run on the link's own thread.

    def _work(self) -> None:
        while not self._stopping:
            item = self._incoming.get()
            if isinstance(item, _Incoming):
                self._handle(item)
            elif item is not None and self._on_state is not None:
                try:
                    self._on_state(*item)
                except Exception as error:  # noqa: BLE001 - the edge of this thread
                    _log.error("a state handler failed: %s", type(error).__name__)

    def _handle(self, item: _Incoming) -> None:
        message, client = item.message, self._client
        for topic_filter, handler in list(self._handlers.items()):
            if not paho.topic_matches_sub(_without_share(topic_filter), message.topic):
                continue
            try:
                handler(message.topic, bytes(message.payload), _properties_of(message))
            except Exception as error:  # noqa: BLE001 - the edge of this thread
                # By type only: the text of an exception may hold a user's words.
                _log.error("the handler of %s failed: %s", topic_filter, type(error).__name__)
        if client is not None and item.session == self._session:
            client.ack(message.mid, message.qos)


def _send_at_once(_client: paho.Client, _data: Any, connection: Any) -> None:
    # Without this a request and its reply wait 40 ms for each other's delayed acknowledgements.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _without_share(topic_filter: str) -> str:
    return topic_filter.split("/", 2)[2] if topic_filter.startswith("$share/") else topic_filter


def _properties_of(message: paho.MQTTMessage) -> Properties:
    sent = message.properties
    return Properties(
        response_topic=getattr(sent, "ResponseTopic", None),
        correlation=getattr(sent, "CorrelationData", None),
        retained=bool(message.retain),
    )
