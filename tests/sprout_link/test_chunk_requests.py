"""Chunk requests and replies over the real embedded broker."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from sprout_link import topics
from sprout_link.broker import EmbeddedBroker
from sprout_link.broker_settings import BrokerSettings
from sprout_link.chunk_requests import Requester, serve_requests
from sprout_link.errors import TransportError
from sprout_link.messages import CHUNK_BYTES, ChunkReply, ChunkRequest, decode, encode
from sprout_link.mqtt import Link, Properties

WAIT_S = 10
FILE = bytes(range(251)) * 3000
REQUEST = ChunkRequest(path="targets/a", offset=10, size=100)


def answer(request: ChunkRequest) -> ChunkReply:
    data = FILE[request.offset : request.offset + request.size]
    return ChunkReply(path=request.path, offset=request.offset, total_bytes=len(FILE), data=data)


@pytest.fixture
def device(settings: BrokerSettings, request: pytest.FixtureRequest) -> Iterator[Link]:
    link = Link(settings, client_id=f"device-{request.node.name}"[:60])
    link.start()
    assert link.wait_connected(WAIT_S)
    yield link
    link.stop()


@pytest.fixture
def trainer(settings: BrokerSettings, request: pytest.FixtureRequest) -> Iterator[Link]:
    link = Link(settings, client_id=f"trainer-{request.node.name}"[:60])
    link.start()
    assert link.wait_connected(WAIT_S)
    yield link
    link.stop()


def ready(link: Link) -> None:
    assert link.publish("test/ready", b"").wait(WAIT_S)


def test_a_file_comes_whole_in_chunks(device: Link, trainer: Link) -> None:
    serve_requests(trainer, answer)
    ready(trainer)
    requester = Requester(device, "kit")
    data = b""
    while len(data) < len(FILE):
        reply = requester.request(
            ChunkRequest(path="targets/a", offset=len(data), size=CHUNK_BYTES)
        )
        assert reply.total_bytes == len(FILE)
        data += reply.data
    assert data == FILE


def test_two_threads_get_each_their_own_reply(device: Link, trainer: Link) -> None:
    serve_requests(trainer, answer)
    ready(trainer)
    requester = Requester(device, "kit")
    got: dict[int, bytes] = {}

    def ask(offset: int) -> None:
        for _ in range(5):
            got[offset] = requester.request(
                ChunkRequest(path="targets/a", offset=offset, size=10)
            ).data

    threads = [threading.Thread(target=ask, args=(offset,)) for offset in (0, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert got == {0: FILE[:10], 1000: FILE[1000:1010]}


def test_foreign_late_and_malformed_replies_are_ignored(device: Link, trainer: Link) -> None:
    def mislead(_topic: str, payload: bytes, properties: Properties) -> None:
        request = decode(payload, ChunkRequest)
        topic = topics.build("kit", "chunk")
        right = encode(answer(request))
        elsewhere = encode(answer(ChunkRequest(path="targets/b", offset=10, size=100)))
        too_much = encode(answer(ChunkRequest(path="targets/a", offset=10, size=101)))
        trainer.publish(topic, right, correlation=b"of another request")
        trainer.publish(topic, right)
        for false in (b"not msgpack", elsewhere, too_much):
            trainer.publish(topic, false, correlation=properties.correlation)
        trainer.publish(topic, right, correlation=properties.correlation)

    trainer.subscribe(topics.shared_fetch(), mislead)
    ready(trainer)
    assert Requester(device, "kit").request(REQUEST) == answer(REQUEST)


def test_a_lost_reply_is_asked_for_again(device: Link, trainer: Link) -> None:
    asked = []

    def answer_the_second(_topic: str, payload: bytes, properties: Properties) -> None:
        asked.append(properties.correlation)
        if len(asked) > 1:
            reply = encode(answer(decode(payload, ChunkRequest)))
            trainer.publish(
                properties.response_topic or "", reply, correlation=properties.correlation
            )

    trainer.subscribe(topics.shared_fetch(), answer_the_second)
    ready(trainer)
    requester = Requester(device, "kit", timeout_s=0.3, attempts=5)
    assert requester.request(REQUEST) == answer(REQUEST)
    assert len(set(asked)) == len(asked) >= 2


def test_no_trainer_is_one_sentence(device: Link) -> None:
    requester = Requester(device, "kit", timeout_s=0.1, attempts=2)
    with pytest.raises(TransportError, match="tomato-trainer serve"):
        requester.request(REQUEST)


def test_a_cancelled_request_ends_at_once(device: Link) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(TransportError, match="stopped"):
        Requester(device, "kit").request(REQUEST, cancel=cancel)


def test_a_request_resumes_when_the_broker_comes_back() -> None:
    broker = EmbeddedBroker()
    broker.start()
    settings = BrokerSettings(port=broker.port)
    device = Link(settings, client_id="device", reconnect_delay_s=(1, 1))
    trainer = Link(settings, client_id="trainer", reconnect_delay_s=(1, 1))
    serve_requests(trainer, answer)
    requester = Requester(device, "kit", timeout_s=1)
    try:
        device.start()
        trainer.start()
        assert device.wait_connected(WAIT_S)
        assert trainer.wait_connected(WAIT_S)
        broker.stop()
        replies: list[ChunkReply] = []
        thread = threading.Thread(target=lambda: replies.append(requester.request(REQUEST)))
        thread.start()
        broker = EmbeddedBroker(settings.port)
        broker.start()
        thread.join(WAIT_S)
        assert replies == [answer(REQUEST)]
    finally:
        device.stop()
        trainer.stop()
        broker.stop()


def test_no_broker_for_too_long_is_one_sentence() -> None:
    link = Link(BrokerSettings(port=1), client_id="lost")
    link.start()
    try:
        with pytest.raises(TransportError, match="no broker at"):
            Requester(link, "kit", patience_s=0).request(REQUEST)
    finally:
        link.stop()


def test_a_request_inside_a_handler_is_a_programming_error(device: Link) -> None:
    requester = Requester(device, "kit")
    raised = threading.Event()

    def ask(*_message: object) -> None:
        with pytest.raises(RuntimeError):
            requester.request(REQUEST)
        raised.set()

    device.subscribe("inside", ask)
    device.publish("inside", b"")
    assert raised.wait(WAIT_S)


@pytest.mark.parametrize("topic", ["sprout/v1/kit/offer", "anything", None])
def test_a_request_cannot_make_the_trainer_speak_elsewhere(
    device: Link, trainer: Link, topic: str | None
) -> None:
    asked: list[ChunkRequest] = []

    def note(request: ChunkRequest) -> ChunkReply:
        asked.append(request)
        return answer(request)

    serve_requests(trainer, note)
    ready(trainer)
    device.publish(
        topics.FETCH,
        encode(ChunkRequest(path="evil", offset=0, size=1)),
        response_topic=topic,
        correlation=b"1",
    )
    # Requests of one client come in order: after this one's reply the other was handled.
    assert Requester(device, "kit").request(REQUEST) == answer(REQUEST)
    assert [request.path for request in asked] == ["targets/a"]
