"""The link against the real embedded broker."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sprout_link.broker import EmbeddedBroker
from sprout_link.broker_settings import BrokerSettings
from sprout_link.errors import TransportError
from sprout_link.mqtt import Link, Properties, Will

TOPIC = "sprout/v1/kit/memories"
WAIT_S = 10


class Links:
    """Makes started links and stops them at the end."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self.made: list[Link] = []

    def __call__(self, client_id: str, *, settings: BrokerSettings | None = None, **more) -> Link:
        link = Link(
            settings or self._settings, client_id=client_id, reconnect_delay_s=(1, 1), **more
        )
        self.made.append(link)
        link.start()
        return link


@pytest.fixture
def links(settings: BrokerSettings) -> Iterator[Links]:
    made = Links(settings)
    yield made
    for link in made.made:
        link.stop()


def collect(link: Link, topic_filter: str) -> queue.Queue[tuple[str, bytes, Properties]]:
    """What comes by a filter, once the subscription is known to stand."""
    came: queue.Queue[tuple[str, bytes, Properties]] = queue.Queue()
    link.subscribe(topic_filter, lambda *message: came.put(message))
    # The broker answers one client's packets in order: when it has this, it has the subscription.
    assert link.publish("test/ready", b"").wait(WAIT_S)
    return came


def test_a_message_reaches_the_handler_with_its_properties(links: Links) -> None:
    came = collect(links("listener-1"), "sprout/v1/+/memories")
    sender = links("sender-1")
    assert sender.publish(
        TOPIC, b"hello", response_topic="sprout/v1/kit/chunk", correlation=b"42"
    ).wait(WAIT_S)
    topic, payload, properties = came.get(timeout=WAIT_S)
    assert (topic, payload) == (TOPIC, b"hello")
    assert properties == Properties("sprout/v1/kit/chunk", b"42", retained=False)


def test_five_mebibytes_pass_whole(links: Links) -> None:
    came = collect(links("listener-2"), "big/2")
    payload = bytes(range(256)) * 20_480
    assert links("sender-2").publish("big/2", payload).wait(WAIT_S)
    assert came.get(timeout=WAIT_S)[1] == payload


def test_messages_wait_for_a_link_that_is_away(links: Links) -> None:
    listener = links("listener-3")
    came = collect(listener, "away/3")
    listener.stop()
    assert links("sender-3").publish("away/3", b"later").wait(WAIT_S)
    listener.start()
    assert came.get(timeout=WAIT_S)[1] == b"later"


def test_a_message_whose_handler_never_ended_comes_again(settings: BrokerSettings) -> None:
    stuck, entered = threading.Event(), threading.Event()
    first = Link(settings, client_id="crash-4")

    def hang(*_message: object) -> None:
        entered.set()
        stuck.wait(WAIT_S)

    first.subscribe("crash/4", hang)
    first.start()
    assert first.wait_connected(WAIT_S)
    assert first.publish("crash/4", b"precious").wait(WAIT_S)
    assert entered.wait(WAIT_S)
    # The same client id takes the session over, as the program does after a crash.
    second = Link(settings, client_id="crash-4")
    came: queue.Queue[bytes] = queue.Queue()
    second.subscribe("crash/4", lambda _topic, payload, _properties: came.put(payload))
    first_client = first._client
    assert first_client is not None
    first_client.disconnect()
    second.start()
    try:
        assert came.get(timeout=WAIT_S) == b"precious"
    finally:
        stuck.set()
        first.stop()
        second.stop()


def test_a_failing_handler_is_logged_by_type_and_ends_nothing(
    links: Links, caplog: pytest.LogCaptureFixture
) -> None:
    listener = links("listener-5")
    done = threading.Event()

    def fail(_topic: str, payload: bytes, _properties: Properties) -> None:
        if payload == b"bad":
            raise ValueError("my secret is 1234")
        done.set()

    listener.subscribe("fail/5", fail)
    assert listener.publish("test/ready", b"").wait(WAIT_S)
    with caplog.at_level(logging.ERROR):
        listener.publish("fail/5", b"bad")
        listener.publish("fail/5", b"good")
        assert done.wait(WAIT_S)
    assert "ValueError" in caplog.text
    assert "1234" not in caplog.text


def test_a_retained_message_reaches_who_comes_later_and_says_so(links: Links) -> None:
    assert links("sender-6").publish("kept/6", b"state", retain=True).wait(WAIT_S)
    _, payload, properties = collect(links("listener-6"), "kept/6").get(timeout=WAIT_S)
    assert payload == b"state"
    assert properties.retained


def test_a_shared_subscription_hands_each_message_to_one(links: Links) -> None:
    first = collect(links("share-7a"), "$share/g7/shared/7")
    second = collect(links("share-7b"), "$share/g7/shared/7")
    sender = links("sender-7")
    for number in range(10):
        assert sender.publish("shared/7", bytes([number])).wait(WAIT_S)
    got = []
    while len(got) < 10:
        for came in (first, second):
            try:
                got.append(came.get(timeout=0.05)[1][0])
            except queue.Empty:
                continue
    assert sorted(got) == list(range(10))


def test_no_broker_is_said_once_and_the_link_comes_up_when_there_is_one() -> None:
    with EmbeddedBroker() as finder:
        port = finder.port  # free once this one has stopped
    said: queue.Queue[tuple[bool, str]] = queue.Queue()
    link = Link(
        BrokerSettings(port=port),
        client_id="early",
        on_state=lambda connected, why: said.put((connected, why)),
        reconnect_delay_s=(1, 1),
    )
    link.start()
    try:
        connected, why = said.get(timeout=WAIT_S)
        assert not connected
        assert f"no broker at 127.0.0.1:{port}" in why
        waiting = link.publish("early/8", b"x")
        assert not waiting.wait(0)
        with EmbeddedBroker(port):
            assert said.get(timeout=WAIT_S)[0]
            assert waiting.wait(WAIT_S)
        connected, why = said.get(timeout=WAIT_S)
        assert not connected
        assert "lost the broker" in why
    finally:
        link.stop()


def test_the_last_will_is_published_when_the_process_vanishes(
    links: Links, settings: BrokerSettings
) -> None:
    came = collect(links("listener-9"), "will/9")
    dying = Link(settings, client_id="dying-9", will=Will("will/9", b"gone"))
    dying.start()
    assert dying.wait_connected(WAIT_S)
    client = dying._client
    assert client is not None
    connection = client.socket()
    assert connection is not None
    connection.shutdown(2)  # no goodbye, as when the process is killed
    assert came.get(timeout=WAIT_S)[1] == b"gone"
    dying.stop()


def test_a_full_memory_of_waiting_messages_is_an_error_not_a_growing_heap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sprout_link.mqtt.MAX_WAITING", 5)
    link = Link(BrokerSettings(port=1), client_id="full")
    link.start()
    try:
        for _ in range(5):
            link.publish("full/10", b"x")
        with pytest.raises(TransportError, match="cannot be sent"):
            link.publish("full/10", b"x")
    finally:
        link.stop()


def test_publishing_before_the_start_is_an_error() -> None:
    with pytest.raises(TransportError, match="not started"):
        Link(BrokerSettings(), client_id="idle").publish("a", b"")


def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    settings = BrokerSettings(username="u", password_file="secret").beside(tmp_path)
    with pytest.raises(TransportError, match="secret: the password cannot be read"):
        Link(settings, client_id="p").start()


def test_a_missing_authority_file_is_named(tmp_path: Path) -> None:
    settings = BrokerSettings(ca_file="ca.pem").beside(tmp_path)
    with pytest.raises(TransportError, match=r"ca\.pem"):
        Link(settings, client_id="p").start()


def test_stopping_twice_and_without_a_start_is_harmless(links: Links) -> None:
    link = links("stop-11")
    link.stop()
    link.stop()
    Link(BrokerSettings(), client_id="never").stop()
