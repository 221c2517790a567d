"""The trainer on a real broker, a real ledger and real signatures; only the worker is small."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from sprout_link import topics
from sprout_link.broker import EmbeddedBroker
from sprout_link.broker_settings import BrokerSettings
from sprout_link.chunk_requests import Requester
from sprout_link.errors import FolderInUseError
from sprout_link.gguf_header import sha256_of
from sprout_link.messages import (
    CHUNK_BYTES,
    BatchAck,
    ChunkRequest,
    DeviceState,
    JobProgress,
    MemoryBatch,
    Offer,
    decode,
    encode,
)
from sprout_link.mqtt import Link
from tests.tiny_model import make_tiny_gguf
from tests.tomato_trainer.device_messages import make_batch, make_memory, make_profile
from tomato_trainer.config import Settings, load_settings
from tomato_trainer.errors import PublishError
from tomato_trainer.jobs import Job
from tomato_trainer.publish import Publisher
from tomato_trainer.service import JOBS_FOLDER, LEDGER_FILE, Service
from tomato_trainer.store import Store

WAIT_S = 6
Worker = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base.gguf"
    make_tiny_gguf(path)
    return path


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, broker: EmbeddedBroker, base: Path) -> Settings:
    file = tmp_path / "trainer.toml"
    file.write_text(
        f'[broker]\nport = {broker.port}\n[trainer]\nfolder = "data"\nbase_models = ["{base}"]\n'
    )
    found = load_settings(file)
    Publisher.create(found.folder)
    return found


class Device:
    """The device's side of the link, with queues of what came."""

    def __init__(self, broker: EmbeddedBroker, base: Path) -> None:
        self._base_sha256 = sha256_of(base)
        self.acks: queue.Queue[BatchAck] = queue.Queue()
        self.jobs: queue.Queue[JobProgress] = queue.Queue()
        self.offers: queue.Queue[Offer] = queue.Queue()
        self.link = Link(BrokerSettings(port=broker.port), client_id="sprout-kit")
        for channel, kind, came in (
            ("ack", BatchAck, self.acks), ("job", JobProgress, self.jobs),
            ("offer", Offer, self.offers),
        ):  # fmt: skip
            self.link.subscribe(
                topics.build("kit", channel),
                lambda _topic, payload, _properties, kind=kind, came=came: came.put(
                    decode(payload, kind)
                ),
            )
        self.link.start()
        assert self.link.wait_connected(WAIT_S)

    def send(self, *memories, **more) -> MemoryBatch:
        batch = make_batch(*memories, **({"profile": make_profile(self._base_sha256)} | more))
        self.resend(batch)
        return batch

    def resend(self, batch: MemoryBatch) -> None:
        self.link.publish(topics.build("kit", "memories"), encode(batch))

    def job_until(self, *states: str) -> list[JobProgress]:
        seen = [self.jobs.get(timeout=WAIT_S)]
        while seen[-1].state not in states:
            seen.append(self.jobs.get(timeout=WAIT_S))
        return seen


@pytest.fixture
def device(broker: EmbeddedBroker, base: Path) -> Iterator[Device]:
    made = Device(broker, base)
    yield made
    made.link.stop()


class Running:
    """A service in a thread."""

    def __init__(self, settings: Settings, command: list[str], *, reachable: bool = True) -> None:
        self._stop = threading.Event()
        ready = threading.Event()
        service = Service(settings, worker=command, on_ready=ready.set)
        self._thread = threading.Thread(target=service.run, args=(self._stop,))
        self._thread.start()
        assert ready.wait(WAIT_S)
        if not reachable:
            return
        # A trainer that answers has its subscriptions, made in this order, on the broker.
        probe = Link(settings.broker, client_id="probe")
        probe.start()
        request = ChunkRequest(path="metadata/timestamp.json", offset=0, size=1)
        Requester(probe, "probe", timeout_s=0.3, attempts=50).request(request)
        probe.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


@pytest.fixture
def serve(settings: Settings, worker: Worker) -> Iterator[Callable[[str], Running]]:
    running: list[Running] = []

    def start(mode: str, *, reachable: bool = True) -> Running:
        running.append(Running(settings, worker(mode), reachable=reachable))
        return running[-1]

    yield start
    for one in running:
        one.stop()


def ledger(settings: Settings) -> Store:
    store = Store(settings.folder / LEDGER_FILE)
    store.open()
    return store


def test_memories_become_a_signed_artifact_that_the_device_can_fetch(
    serve, device: Device, settings: Settings
) -> None:
    serve("good")
    batch = device.send(make_memory(1), make_memory(2))
    ack = device.acks.get(timeout=WAIT_S)
    assert (ack.batch_id, ack.stored, ack.refused) == (batch.batch_id, 2, None)
    seen = device.job_until("published")
    assert {"train", "publish"} <= {progress.stage for progress in seen}
    offer = device.offers.get(timeout=WAIT_S)

    publisher = Publisher.open(settings.folder)
    assert offer.timestamp_version == publisher.timestamp_version()
    manifest = publisher.current("kit")
    assert manifest is not None
    assert manifest.memory_ids == [memory.memory_id for memory in batch.memories]
    path = f"targets/kit/{manifest.artifact}.current"
    reply = Requester(device.link, "kit").request(
        ChunkRequest(path=path, offset=0, size=CHUNK_BYTES)
    )
    assert reply.error is None
    assert len(reply.data) == reply.total_bytes == manifest.size_bytes

    store = ledger(settings)
    (job,) = store.jobs()
    assert (job.state, job.artifact) == ("published", manifest.artifact)
    assert [artifact.manifest for artifact in store.artifacts()] == [manifest]
    assert store.devices_to_train() == []
    assert list((settings.folder / JOBS_FOLDER).glob("*/*")) == []


def test_a_batch_sent_again_is_known_and_starts_no_job(
    serve, device: Device, settings: Settings
) -> None:
    serve("good")
    batch = device.send()
    device.job_until("published")
    device.acks.get(timeout=WAIT_S)
    device.resend(batch)
    ack = device.acks.get(timeout=WAIT_S)
    assert (ack.stored, ack.known) == (0, 1)
    assert len(ledger(settings).jobs()) == 1


def test_another_base_fails_the_job_and_keeps_the_memories(
    serve, device: Device, settings: Settings, base: Path
) -> None:
    serve("good")
    device.send(profile=make_profile("f" * 64))
    assert device.acks.get(timeout=WAIT_S).stored == 1
    ended = device.job_until("failed")[-1]
    assert "f" * 64 in ended.message
    assert sha256_of(base) in ended.message
    store = ledger(settings)
    assert len(store.memories_of("kit")) == 1
    assert store.artifacts() == []


def test_a_crash_is_tried_once_more(serve, device: Device, settings: Settings) -> None:
    serve("crash-once")
    device.send()
    device.job_until("published")
    (job,) = ledger(settings).jobs()
    assert job.crashes == 1


def test_two_crashes_fail_the_job(serve, device: Device, settings: Settings) -> None:
    serve("crash")
    device.send()
    assert "status 139" in device.job_until("failed")[-1].message
    (job,) = ledger(settings).jobs()
    assert job.crashes == 2


def test_a_stop_while_training_queues_the_job_and_the_next_start_does_it(
    serve, device: Device, settings: Settings
) -> None:
    first = serve("hang")
    device.send()
    while device.jobs.get(timeout=WAIT_S).stage != "train":
        pass
    first.stop()
    (job,) = ledger(settings).jobs()
    assert job.state == "queued"
    serve("good")
    device.job_until("published")
    (again,) = ledger(settings).jobs()
    assert (again.job_id, again.state, again.crashes) == (job.job_id, "published", 0)


def test_a_killed_trainer_starts_its_job_afresh(
    serve, device: Device, settings: Settings, base: Path
) -> None:
    batch = make_batch(profile=make_profile(sha256_of(base)))
    store = ledger(settings)
    store.take_batch(batch, now=batch.sent_at)
    store.save_job(Job("01890a5d-ac96-774b-bcce-000000000077", "kit", "running", batch.sent_at))
    store.close()
    leftover = settings.folder / JOBS_FOLDER / "01890a5d-ac96-774b-bcce-000000000077"
    leftover.mkdir(parents=True)
    (leftover / "job.json").write_text("half")
    serve("good")
    device.job_until("published")
    assert not leftover.exists()


def test_memories_that_no_job_took_are_trained_at_the_next_start(
    serve, device: Device, settings: Settings, base: Path
) -> None:
    batch = make_batch(profile=make_profile(sha256_of(base)))
    store = ledger(settings)
    store.take_batch(batch, now=batch.sent_at)
    store.close()
    serve("good")
    device.job_until("published")


def test_memories_that_come_while_training_get_one_job_together(
    serve, device: Device, settings: Settings, tmp_path: Path
) -> None:
    first = serve("hang")
    device.send(make_memory(1))
    device.acks.get(timeout=WAIT_S)
    while device.jobs.get(timeout=WAIT_S).stage != "train":
        pass
    for number in (2, 3):
        device.send(make_memory(number))
        device.acks.get(timeout=WAIT_S)
    states = [job.state for job in ledger(settings).jobs()]
    assert states == ["running", "queued"]
    first.stop()


def test_offers_are_said_again_to_a_broker_that_forgot_them(
    serve, device: Device, settings: Settings, broker: EmbeddedBroker, base: Path
) -> None:
    serve("good")
    device.send()
    first = device.offers.get(timeout=WAIT_S)
    device.link.stop()
    broker.stop()
    with EmbeddedBroker(settings.broker.port) as fresh:
        late = Device(fresh, base)
        assert late.offers.get(timeout=WAIT_S).timestamp_version == first.timestamp_version
        late.link.stop()


def test_offers_are_said_again_after_a_restart(serve, device: Device, settings: Settings) -> None:
    first = serve("good")
    device.send()
    offer = device.offers.get(timeout=WAIT_S)
    first.stop()
    serve("good")
    assert device.offers.get(timeout=WAIT_S).timestamp_version == offer.timestamp_version


def test_a_malformed_batch_is_refused_by_an_answer(serve, device: Device) -> None:
    serve("good")
    batch = make_batch()
    values = msgspec.to_builtins(batch) | {"memories": []}
    device.link.publish(topics.build("kit", "memories"), msgspec.json.encode(values))
    assert device.acks.get(timeout=WAIT_S).refused


def test_states_reach_the_ledger(serve, device: Device, settings: Settings) -> None:
    serve("good")
    device.link.publish(
        topics.build("kit", "state"), encode(DeviceState(device="kit", online=True, waiting=2))
    )
    device.send()
    device.acks.get(timeout=WAIT_S)  # messages of one device are handled in order
    assert ledger(settings).devices()[0].waiting == 2


def test_a_second_trainer_on_the_folder_is_refused(serve, settings: Settings) -> None:
    serve("good")
    with pytest.raises(FolderInUseError):
        Service(settings).run(threading.Event())


def test_a_folder_without_keys_is_refused(settings: Settings, tmp_path: Path) -> None:
    empty = load_settings(tmp_path / "trainer.toml", folder=tmp_path / "empty")
    with pytest.raises(PublishError, match="tomato-trainer init"):
        Service(empty).run(threading.Event())


def test_no_broker_does_not_keep_it_from_a_clean_stop(
    broker: EmbeddedBroker, serve, settings: Settings
) -> None:
    broker.stop()
    serve("good", reachable=False).stop()
