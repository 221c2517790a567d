from __future__ import annotations

import hashlib
import os
import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from sprout_agent.update.trust import Trust
from sprout_link.artifact import Manifest, Proof
from sprout_link.messages import CHUNK_BYTES, ChunkReply, ChunkRequest
from tomato_trainer.errors import PublishError
from tomato_trainer.publish import KEPT_TARGETS, Publisher
from tomato_trainer.signed_metadata import KEPT_VERSIONS, SignedMetadata

NOW = datetime.now(timezone.utc)


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher.create(tmp_path / "trust")


def make(tmp_path: Path, content: bytes, device: str = "sprout-1") -> tuple[Path, Manifest]:
    file = tmp_path / "adapter"
    file.write_bytes(content)
    return file, Manifest(
        kind="gguf-adapter",
        device=device,
        artifact=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        base_sha256="0" * 64,
        architecture="llama",
        runtime="llama-cpp",
        method="lora",
        recipe={},
        lineage="1" * 64,
        memory_ids=[],
        figures={"recall": 0.1 + 0.2},
        proofs=[Proof(prompt="a", answer="b", shift=1.5)],
        vocabulary_version=1,
        job_id="01890000-0000-7000-8000-000000000002",
        created_at=NOW,
    )


def ask(publisher: Publisher, path: str, offset: int = 0, size: int = CHUNK_BYTES) -> ChunkReply:
    return publisher.read_chunk(ChunkRequest(path=path, offset=offset, size=size))


def seen_by_a_device(tmp_path: Path, publisher: Publisher, device: str) -> Manifest | None:
    trust = Trust(tmp_path / "device", publisher.root_path.read_bytes(), publisher.read_chunk)
    signed = trust.current(device)
    return None if signed is None else signed.manifest


def test_keys_are_for_their_owner_alone(publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish("sprout-1", *make(tmp_path, b"one"))
    keys = sorted((tmp_path / "trust/keys").iterdir())
    assert [key.stem for key in keys] == [
        "device-sprout-1", "root", "snapshot", "targets", "timestamp",
    ]  # fmt: skip
    assert all(stat.S_IMODE(key.stat().st_mode) == 0o600 for key in keys)
    keys[1].chmod(0o644)
    with pytest.raises(PublishError, match="others may read"):
        Publisher.open(tmp_path / "trust")


def test_creating_again_changes_nothing(publisher: Publisher, tmp_path: Path) -> None:
    before = publisher.root_path.read_bytes()
    assert Publisher.create(tmp_path / "trust").root_path.read_bytes() == before


def test_opening_where_nothing_is_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="tomato-trainer init"):
        Publisher.open(tmp_path)


def test_each_publication_raises_the_version_and_twice_the_same_does_not(
    publisher: Publisher, tmp_path: Path
) -> None:
    assert publisher.timestamp_version() == 1
    assert publisher.publish("sprout-1", *make(tmp_path, b"one")) == 2
    assert publisher.publish("sprout-1", *make(tmp_path, b"one")) == 2
    assert publisher.publish("sprout-1", *make(tmp_path, b"two")) == 3
    file, other = make(tmp_path, b"three", "sprout-2")
    assert publisher.publish("sprout-2", file, other) == 4
    assert publisher.current("sprout-1") == make(tmp_path, b"two")[1]
    assert seen_by_a_device(tmp_path, publisher, "sprout-2") == other
    assert publisher.current("sprout-3") is None


def test_a_file_that_is_not_the_manifests_is_not_published(
    publisher: Publisher, tmp_path: Path
) -> None:
    file, manifest = make(tmp_path, b"one")
    file.write_bytes(b"two")
    with pytest.raises(PublishError, match="the manifest says"):
        publisher.publish("sprout-1", file, manifest)
    with pytest.raises(PublishError, match="is for sprout-1"):
        publisher.publish("sprout-2", file, manifest)
    assert publisher.current("sprout-1") is None


@pytest.mark.parametrize("crash_after", range(5))
def test_a_crash_between_writes_leaves_what_verifies_and_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_after: int
) -> None:
    publisher = Publisher.create(tmp_path / "trust")
    first = make(tmp_path, b"one", "sprout-2")
    publisher.publish("sprout-2", *first)
    writes, write = [0], SignedMetadata.write

    def crashing(self: SignedMetadata, *arguments: object) -> object:
        if writes[0] == crash_after:
            raise KeyboardInterrupt
        writes[0] += 1
        return write(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(SignedMetadata, "write", crashing)
        try:
            publisher.publish("sprout-1", *make(tmp_path, b"two"))
            crashed = False
        except KeyboardInterrupt:
            crashed = True
    assert crashed == (crash_after < 4)
    again = Publisher.open(tmp_path / "trust")
    assert seen_by_a_device(tmp_path, again, "sprout-2") == first[1]
    assert again.publish("sprout-1", *make(tmp_path, b"two")) == 3
    assert seen_by_a_device(tmp_path, again, "sprout-1") == make(tmp_path, b"two")[1]


def test_a_creation_that_broke_off_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher.create(tmp_path / "trust")
    (tmp_path / "trust/repository/metadata/timestamp.json").unlink()
    publisher = Publisher.create(tmp_path / "trust")
    assert publisher.timestamp_version() == 1


def test_a_repository_that_lost_its_timestamp_is_not_started_again(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.publish("sprout-1", *make(tmp_path, b"one"))
    (tmp_path / "trust/repository/metadata/timestamp.json").unlink()
    with pytest.raises(PublishError, match="restore the folder"):
        Publisher.create(tmp_path / "trust")


def test_damaged_metadata_is_named(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "trust/repository/metadata/1.snapshot.json").write_bytes(b"{")
    with pytest.raises(PublishError, match=r"1\.snapshot\.json: damaged"):
        Publisher.open(tmp_path / "trust")


def test_signatures_are_refreshed_when_half_of_their_time_is_over(
    publisher: Publisher, tmp_path: Path
) -> None:
    assert publisher.refresh(NOW + timedelta(days=6)) == 1
    assert publisher.refresh(NOW + timedelta(days=8)) == 2
    assert publisher.refresh(NOW + timedelta(days=9)) == 2
    assert publisher.refresh(NOW + timedelta(days=400)) == 3
    assert (tmp_path / "trust/repository/metadata/2.root.json").exists()
    assert seen_by_a_device(tmp_path, publisher, "sprout-1") is None


def test_old_targets_and_metadata_go(publisher: Publisher, tmp_path: Path) -> None:
    for number in range(KEPT_VERSIONS + 3):
        publisher.publish("sprout-1", *make(tmp_path, f"content {number}".encode()))
    folder = tmp_path / "trust/repository"
    assert len(list((folder / "targets/sprout-1").iterdir())) == KEPT_TARGETS
    assert len(list((folder / "metadata").glob("*.snapshot.json"))) == KEPT_VERSIONS
    assert seen_by_a_device(tmp_path, publisher, "sprout-1") is not None


def test_chunks_are_parts_of_the_file(publisher: Publisher, tmp_path: Path) -> None:
    content = os.urandom(CHUNK_BYTES + 100)
    _, manifest = make(tmp_path, content)
    publisher.publish("sprout-1", tmp_path / "adapter", manifest)
    path = f"targets/sprout-1/{manifest.artifact}.current"
    first, second = ask(publisher, path), ask(publisher, path, CHUNK_BYTES)
    assert first.data + second.data == content
    assert first.total_bytes == len(content)
    assert ask(publisher, path, len(content)).data == b""
    assert ask(publisher, path, len(content) + 1).error == "bad-request"


@pytest.mark.parametrize(
    "path",
    [
        "keys/root.pem", "../keys/root.pem", "metadata/../../keys/root.pem", "/etc/passwd",
        "metadata/..", "metadata/.hidden.json", "metadata//timestamp.json", "metadata/a\0.json",
        "targets/sprout-1/../../../keys/root.pem", "metadata\\timestamp.json",
        "metadata/timestamp.json\n",
    ],
)  # fmt: skip
def test_nothing_outside_the_repository_is_served(publisher: Publisher, path: str) -> None:
    reply = ask(publisher, path)
    assert (reply.error, reply.data) == ("bad-request", b"")


def test_links_and_other_things_than_files_are_not_served(
    publisher: Publisher, tmp_path: Path
) -> None:
    folder = tmp_path / "trust/repository"
    (folder / "metadata/link.json").symlink_to(tmp_path / "trust/keys/root.pem")
    (folder / "metadata/folder.json").mkdir()
    os.mkfifo(folder / "metadata/pipe.json")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / f"{'0' * 64}.current").write_bytes(b"secret")
    (folder / "targets/sprout-9").symlink_to(tmp_path / "outside")
    for path in ("link", "folder", "pipe", "missing"):
        assert ask(publisher, f"metadata/{path}.json").error == "not-found"
    assert ask(publisher, f"targets/sprout-9/{'0' * 64}.current").error == "not-found"
