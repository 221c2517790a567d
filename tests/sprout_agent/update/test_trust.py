from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from sprout_agent.errors import DiskError, TrustError, UpdateError, UpdateStoppedError
from sprout_agent.update.trust import Trust
from sprout_link.artifact import Manifest
from sprout_link.errors import TransportError
from sprout_link.messages import CHUNK_BYTES, ChunkReply, ChunkRequest
from tomato_trainer.publish import Publisher

DEVICE = "sprout-1"
Change = Callable[[ChunkRequest, ChunkReply], ChunkReply]


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    path.write_bytes(os.urandom(2 * CHUNK_BYTES + 77))
    return path


class Line:
    """The way between both ends, which an attacker may own."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self.change: Change = lambda _request, reply: reply
        self.requests: list[ChunkRequest] = []

    def __call__(self, request: ChunkRequest) -> ChunkReply:
        self.requests.append(request)
        return self.change(request, self.publisher.read_chunk(request))


@pytest.fixture
def line(publisher: Publisher) -> Line:
    return Line(publisher)


@pytest.fixture
def trust(tmp_path: Path, publisher: Publisher, line: Line) -> Trust:
    return Trust(tmp_path / "trust", publisher.root_path.read_bytes(), line)


@pytest.fixture
def published(
    publisher: Publisher, big_file: Path, make_manifest: Callable[..., Manifest]
) -> Manifest:
    manifest = make_manifest(big_file)
    publisher.publish(DEVICE, big_file, manifest)
    return manifest


def test_nothing_published_is_nothing_offered(trust: Trust) -> None:
    assert trust.current(DEVICE) is None


def test_what_was_published_arrives_whole_with_its_manifest(
    trust: Trust, published: Manifest, big_file: Path, tmp_path: Path
) -> None:
    signed = trust.current(DEVICE)
    assert signed is not None
    assert signed.manifest == published
    seen: list[tuple[int, int]] = []
    got = trust.download(signed, tmp_path / "got", lambda done, total: seen.append((done, total)))
    assert got.read_bytes() == big_file.read_bytes()
    size = big_file.stat().st_size
    assert seen == [(0, size), (CHUNK_BYTES, size), (2 * CHUNK_BYTES, size), (size, size)]
    assert trust.current("sprout-2") is None


def test_a_changed_byte_in_the_target_is_refused_and_leaves_nothing(
    trust: Trust, published: Manifest, line: Line, tmp_path: Path
) -> None:
    signed = trust.current(DEVICE)
    assert signed is not None
    line.change = lambda request, reply: (
        msgspec.structs.replace(reply, data=bytes([reply.data[0] ^ 1]) + reply.data[1:])
        if request.offset == CHUNK_BYTES
        else reply
    )
    with pytest.raises(TrustError, match="not the file that was signed"):
        trust.download(signed, tmp_path / "got")
    assert [path for path in tmp_path.iterdir() if "got" in path.name] == []


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "device-sprout-1"])
def test_a_changed_byte_in_metadata_is_refused(
    trust: Trust, published: Manifest, line: Line, role: str
) -> None:
    line.change = lambda request, reply: (
        msgspec.structs.replace(reply, data=reply.data.replace(b'"20', b'"21'))
        if request.path.endswith(f"{role}.json")
        else reply
    )
    with pytest.raises(TrustError):
        trust.current(DEVICE)


def test_the_root_of_another_trainer_is_refused(
    tmp_path: Path, line: Line, published: Manifest
) -> None:
    other = Publisher.create(tmp_path / "other")
    trust = Trust(tmp_path / "trust", other.root_path.read_bytes(), line)
    with pytest.raises(TrustError, match="not signed by the keys"):
        trust.current(DEVICE)


def test_a_root_that_is_no_root_is_refused(tmp_path: Path, line: Line) -> None:
    with pytest.raises(TrustError):
        Trust(tmp_path / "trust", b"{}", line).current(DEVICE)


def test_replayed_old_metadata_is_refused(
    trust: Trust, publisher: Publisher, published: Manifest, line: Line
) -> None:
    name = "metadata/timestamp.json"
    old = publisher.read_chunk(ChunkRequest(path=name, offset=0, size=CHUNK_BYTES))
    publisher.refresh(datetime.now(timezone.utc) + timedelta(days=10))
    assert trust.current(DEVICE) is not None
    line.change = lambda request, reply: old if request.path == name else reply
    with pytest.raises(TrustError, match="older than what this device"):
        trust.current(DEVICE)


def test_expired_metadata_is_refused_until_it_is_signed_again(
    tmp_path: Path, big_file: Path, make_manifest: Callable[..., Manifest]
) -> None:
    past = datetime.now(timezone.utc) - timedelta(days=20)
    publisher = Publisher.create(tmp_path / "stale", clock=lambda: past)
    publisher.publish(DEVICE, big_file, make_manifest(big_file))
    trust = Trust(tmp_path / "trust", publisher.root_path.read_bytes(), publisher.read_chunk)
    with pytest.raises(TrustError, match="expired"):
        trust.current(DEVICE)
    publisher.refresh(datetime.now(timezone.utc))
    assert trust.current(DEVICE) is not None


def test_endless_data_is_refused_after_one_request(
    trust: Trust, published: Manifest, line: Line, tmp_path: Path
) -> None:
    line.change = lambda request, reply: ChunkReply(
        path=request.path, offset=request.offset, total_bytes=10**12, data=bytes(request.size)
    )
    with pytest.raises(TrustError):
        trust.current(DEVICE)
    assert len(line.requests) == 1


def test_data_in_tiny_pieces_is_refused(trust: Trust, published: Manifest, line: Line) -> None:
    line.change = lambda request, reply: msgspec.structs.replace(reply, data=reply.data[:1])
    with pytest.raises(TrustError, match="incomplete"):
        trust.current(DEVICE)


def test_a_trainer_without_the_artifact_is_named(
    trust: Trust, published: Manifest, publisher: Publisher, tmp_path: Path
) -> None:
    signed = trust.current(DEVICE)
    assert signed is not None
    for path in (tmp_path / "trainer/repository/targets" / DEVICE).iterdir():
        path.unlink()
    with pytest.raises(UpdateError, match="the trainer has no"):
        trust.download(signed, tmp_path / "got")


def test_a_silent_trainer_is_a_transport_error(trust: Trust, line: Line) -> None:
    def silent(_request: ChunkRequest, _reply: ChunkReply) -> ChunkReply:
        raise TransportError("no trainer answered")

    line.change = silent
    with pytest.raises(TransportError):
        trust.current(DEVICE)


def test_too_little_room_is_told_before_a_byte_is_fetched(
    tmp_path: Path, publisher: Publisher, published: Manifest, line: Line
) -> None:
    root = publisher.root_path.read_bytes()
    trust = Trust(tmp_path / "trust", root, line, free=lambda _folder: 1000)
    signed = trust.current(DEVICE)
    assert signed is not None
    before = len(line.requests)
    with pytest.raises(DiskError, match="free some space"):
        trust.download(signed, tmp_path / "got")
    assert len(line.requests) == before


def test_a_disk_that_fills_up_during_the_download_leaves_nothing(
    tmp_path: Path, trust: Trust, published: Manifest
) -> None:
    signed = trust.current(DEVICE)
    assert signed is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores SIGXFSZ, so the write fails as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (CHUNK_BYTES, hard))
    try:
        with pytest.raises(DiskError, match=os.strerror(errno.EFBIG)):
            trust.download(signed, tmp_path / "got")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path for path in tmp_path.iterdir() if "got" in path.name] == []


def test_a_stop_during_the_download_leaves_nothing(
    tmp_path: Path, trust: Trust, published: Manifest
) -> None:
    signed = trust.current(DEVICE)
    assert signed is not None

    def stop(done: int, _total: int) -> None:
        if done:
            raise UpdateStoppedError

    with pytest.raises(UpdateStoppedError):
        trust.download(signed, tmp_path / "got", stop)
    assert [path for path in tmp_path.iterdir() if "got" in path.name] == []


def test_importing_the_device_side_loads_no_torch() -> None:
    code = "import sys, sprout_agent.update.installer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
