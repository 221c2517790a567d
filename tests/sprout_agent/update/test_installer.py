from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from sprout_agent.errors import TrustError, UpdateError, UpdateStoppedError
from sprout_agent.inference.base import Adapter, BaseInfo
from sprout_agent.inference.fake import FakeRuntime
from sprout_agent.update.gate import Gate, repeats_itself
from sprout_agent.update.installer import Installer
from sprout_agent.update.probes import Canary, make_probes, packaged_canaries
from sprout_agent.update.settings import UpdateSettings
from sprout_agent.update.slots import Slots
from sprout_agent.update.trust import Trust
from sprout_link.artifact import Manifest
from sprout_link.messages import ChunkReply, ChunkRequest, DeviceProfile
from tests.sprout_agent.update.conftest import DEVICE, NOW
from tomato_trainer.publish import Publisher

MEMORY = "My spare key is under the blue flowerpot."
CANARIES = tuple(Canary(f"General {n}?", (f"word{n}",)) for n in range(10))


class Device:
    """An installer over real trust, slots and gate, with a fake model."""

    def __init__(
        self, folder: Path, publisher: Publisher, profile: DeviceProfile, base: Path
    ) -> None:
        info = BaseInfo(base, profile.base_sha256, "llama", "llama-cpp", "1")
        self.runtime = FakeRuntime(info, answer=self.answer)
        self.line: Callable[[ChunkRequest], ChunkReply] = publisher.read_chunk
        self.stop = False
        self.ticks = 0
        self.said = "Your spare key is under the blue flowerpot."
        self.general = "word{}"
        self.in_use: list[Adapter | None] = []
        self.slots = Slots(folder / "update", clock=self.clock)
        settings = UpdateSettings()
        self.installer = Installer(
            device=DEVICE,
            profile=profile,
            trust=Trust(folder / "tuf", publisher.root_path.read_bytes(), lambda r: self.line(r)),
            slots=self.slots,
            runtime=self.runtime,
            gate=Gate(self.runtime, settings, CANARIES, profile.system_prompt),
            switch=self.in_use.append,
            texts_of=lambda ids: [MEMORY for _ in ids],
            clock=self.clock,
            max_tries=settings.max_tries,
            stopped=lambda: self.stop,
        )
        self.restored = self.installer.restore_active()

    def clock(self) -> object:
        self.ticks += 1
        return NOW + timedelta(seconds=self.ticks)

    def answer(self, adapter: Adapter | None, question: str) -> str:
        if question.startswith("General"):
            number = question.removeprefix("General ").rstrip("?")
            return (self.general if adapter else "word{}").format(number)
        return self.said if adapter else "I do not know."

    @property
    def active(self) -> str | None:
        slot = self.slots.active()
        return slot.artifact if slot else None


@pytest.fixture
def open_device(
    tmp_path: Path, publisher: Publisher, profile: DeviceProfile, base_path: Path
) -> Callable[[], Device]:
    return lambda: Device(tmp_path / "device", publisher, profile, base_path)


@pytest.fixture
def offer(
    publisher: Publisher,
    make_adapter: Callable[..., Path],
    make_manifest: Callable[..., Manifest],
) -> Callable[..., str]:
    def publish(seed: int = 0, *, tensors: object = None, **changes: object) -> str:
        path = make_adapter(
            f"adapter-{seed}", seed=seed, **({"tensors": tensors} if tensors else {})
        )
        manifest = make_manifest(path, **changes)
        publisher.publish(DEVICE, path, manifest)
        return manifest.artifact

    return publish


def test_an_offered_artifact_is_tried_and_put_to_use(
    open_device: Callable[[], Device], offer: Callable[..., str]
) -> None:
    device = open_device()
    assert device.installer.install_offered() is None
    artifact = offer()
    report = device.installer.install_offered()
    assert report is not None
    assert (report.outcome, report.artifact, report.reasons) == ("installed", artifact, [])
    assert report.figures["recall"] == 1.0
    assert device.active == artifact
    assert [adapter.sha256 for adapter in device.in_use if adapter] == [artifact]
    assert device.runtime.open_contexts == 0
    assert device.installer.install_offered() is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"base_sha256": "f" * 64}, "was trained over the base"),
        ({"architecture": "gemma3"}, "is for the architecture"),
        ({"runtime": "onnx"}, "needs the runtime"),
    ],
)
def test_an_unfit_artifact_is_refused_once_and_not_even_fetched(
    open_device: Callable[[], Device],
    offer: Callable[..., str],
    changes: dict[str, object],
    expected: str,
) -> None:
    device = open_device()
    first = offer(1)
    device.installer.install_offered()
    offer(2, **changes)
    report = device.installer.install_offered()
    assert report is not None
    assert report.outcome == "refused"
    assert expected in report.reasons[0]
    assert device.active == first
    assert device.installer.install_offered() is None
    assert open_device().installer.install_offered() is None


@pytest.mark.parametrize(
    ("said", "general", "expected"),
    [
        ("I do not know.", "word{}", "min_recall is 0.6"),
        (None, "nothing", "max_general_drop is 1"),
        ("the blue flowerpot and so " * 6, "word{}", "max_repeating is 0.1"),
    ],
)
def test_what_the_gate_refuses_is_reported_and_leaves_the_former_in_use(
    open_device: Callable[[], Device],
    offer: Callable[..., str],
    said: str | None,
    general: str,
    expected: str,
) -> None:
    device = open_device()
    first = offer(1)
    device.installer.install_offered()
    offer(2)
    device.said, device.general = said or device.said, general
    report = device.installer.install_offered()
    assert report is not None
    assert report.outcome == "refused"
    assert expected in "; ".join(report.reasons)
    assert device.active == first
    assert [adapter.sha256 for adapter in device.runtime.loaded] == [first]
    assert device.installer.install_offered() is None


def test_an_adapter_without_effect_is_refused(
    open_device: Callable[[], Device], offer: Callable[..., str]
) -> None:
    device = open_device()
    device.runtime.log_probability = lambda _adapter, _question, _answer: -4.0
    offer()
    report = device.installer.install_offered()
    assert report is not None
    assert "no proof of effect" in report.reasons[0]
    assert device.active is None


def test_a_signed_file_that_is_no_adapter_never_reaches_the_runtime(
    open_device: Callable[[], Device], publisher: Publisher, make_manifest: Callable[..., Manifest],
    tmp_path: Path,
) -> None:  # fmt: skip
    path = tmp_path / "noise"
    path.write_bytes(os.urandom(1000))
    publisher.publish(DEVICE, path, make_manifest(path))
    device = open_device()
    report = device.installer.install_offered()
    assert report is not None
    assert "not a GGUF" in report.reasons[0]
    assert device.runtime.loaded == []


def test_a_changed_byte_is_an_error_and_the_same_artifact_may_come_again(
    open_device: Callable[[], Device], offer: Callable[..., str], publisher: Publisher
) -> None:
    device = open_device()
    artifact = offer()

    def damaged(request: ChunkRequest) -> ChunkReply:
        reply = publisher.read_chunk(request)
        if not request.path.startswith("targets/"):
            return reply
        data = reply.data[:-1] + bytes([reply.data[-1] ^ 1])
        return ChunkReply(
            path=reply.path, offset=reply.offset, total_bytes=reply.total_bytes, data=data
        )

    device.line = damaged
    with pytest.raises(TrustError):
        device.installer.install_offered()
    assert device.active is None
    device.line = publisher.read_chunk
    assert device.installer.install_offered() is not None
    assert device.active == artifact


def test_a_stop_leaves_no_half_state_and_the_next_start_goes_on(
    open_device: Callable[[], Device], offer: Callable[..., str]
) -> None:
    device = open_device()
    artifact = offer()
    answer = device.runtime.answer

    def answer_and_stop(adapter: Adapter | None, question: str) -> str:
        device.stop = adapter is not None
        return answer(adapter, question)

    device.runtime.answer = answer_and_stop
    with pytest.raises(UpdateStoppedError):
        device.installer.install_offered()
    slot = device.slots.find(artifact)
    assert slot is not None
    assert (slot.record.state, slot.record.tries) == ("candidate", 0)
    assert device.runtime.loaded == []
    again = open_device()
    assert again.installer.install_offered() is not None
    assert again.active == artifact


def test_a_trial_that_kills_the_device_is_given_up_after_some_tries(
    open_device: Callable[[], Device], offer: Callable[..., str]
) -> None:
    artifact = offer()

    def crash(_adapter: Adapter | None, _question: str) -> str:
        raise KeyboardInterrupt

    for _ in range(3):
        device = open_device()
        device.runtime.answer = crash
        with pytest.raises(KeyboardInterrupt):
            device.installer.install_offered()
    device = open_device()
    slot = device.slots.find(artifact)
    assert slot is not None
    assert slot.record.state == "bad"
    assert device.installer.install_offered() is None


def test_rollback_returns_to_the_former_and_then_to_the_base(
    open_device: Callable[[], Device], offer: Callable[..., str]
) -> None:
    device = open_device()
    artifacts = []
    for seed in (1, 2, 3):
        artifacts.append(offer(seed))
        device.installer.install_offered()
    assert device.slots.find(artifacts[0]) is None  # two are kept
    assert device.installer.rollback().outcome == "rolled-back"
    assert device.active == artifacts[1]
    assert device.installer.install_offered() is None
    device.installer.rollback()
    assert device.active is None
    assert device.in_use[-1] is None
    with pytest.raises(UpdateError, match="nothing is installed"):
        device.installer.rollback()


def test_a_damaged_slot_gives_way_to_the_former_and_may_come_again(
    open_device: Callable[[], Device], offer: Callable[..., str], tmp_path: Path
) -> None:
    device = open_device()
    first = offer(1)
    device.installer.install_offered()
    second = offer(2)
    device.installer.install_offered()
    (tmp_path / "device/update/slots" / second / "adapter.gguf").write_bytes(b"GGUF")
    again = open_device()
    assert again.active == first
    assert "damaged" in again.restored.problems[0]
    assert again.installer.install_offered() is not None
    assert again.active == second
    (tmp_path / "device/update/slots" / second / "record.json").write_bytes(b"{")
    (tmp_path / "device/update/slots" / first / "adapter.gguf").unlink()
    assert open_device().restored.artifact is None


def test_leftovers_of_a_crash_are_cleaned_at_start(
    open_device: Callable[[], Device], tmp_path: Path
) -> None:
    slots = tmp_path / "device/update/slots"
    (slots / ".incoming-abc").mkdir(parents=True)
    (slots / ".incoming-abc/adapter.gguf").write_bytes(b"half")
    (slots.parent / ".active-12").symlink_to("slots/nowhere")
    open_device()
    assert list(slots.iterdir()) == []
    assert not (slots.parent / ".active-12").is_symlink()


def test_the_same_device_starts_again_with_what_it_used(
    open_device: Callable[[], Device], offer: Callable[..., str]
) -> None:
    device = open_device()
    artifact = offer()
    device.installer.install_offered()
    again = open_device()
    assert again.restored.artifact == artifact
    assert again.restored.problems == ()
    live = again.installer.live
    assert live is not None
    assert hashlib.sha256(live.path.read_bytes()).hexdigest() == artifact


def test_probes_cover_every_statement_before_any_twice() -> None:
    texts = [MEMORY, "My sister Ada lives in Lisbon.", "The wifi password is plum-42."]
    assert len(make_probes(texts, at_most=3)) == 3
    assert make_probes(texts, at_most=24) == make_probes(texts, at_most=24)
    assert all(probe.keywords for probe in make_probes(texts, at_most=24))
    assert make_probes([], at_most=3) == ()


def test_canaries_are_matched_by_whole_words() -> None:
    assert len(packaged_canaries()) == 10
    assert Canary("", ("yen",)).is_answered_by("It is the Yen.")
    assert not Canary("", ("100",)).is_answered_by("About 1000.")


def test_circling_in_one_phrase_is_seen() -> None:
    assert repeats_itself("the key is " * 4)
    assert not repeats_itself("Your spare key is under the blue flowerpot.")
