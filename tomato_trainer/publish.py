"""The TUF repository: signs each device's current artifact and keeps the signatures fresh.

    FOLDER/keys/                        private keys, readable by their owner alone
    FOLDER/repository/metadata/         N.root.json, N.targets.json, N.device-….json, …
    FOLDER/repository/targets/DEVICE/   SHA256.current, the newest three

Every write is one atomic rename and `timestamp.json` is always the last, so a crash at any
instant leaves the former state or the new one, and either verifies.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from sprout_link import artifact, topics
from sprout_link.artifact import Manifest
from sprout_link.errors import TopicError
from sprout_link.files import sync_folder
from sprout_link.messages import ChunkReply, ChunkRequest
from tomato_trainer import chunks
from tomato_trainer.errors import PublishError
from tomato_trainer.signed_metadata import Kind, SignedMetadata, expiry, is_due
from tomato_trainer.signing_keys import SigningKeys

KEPT_TARGETS: Final = 3
"""Artifacts kept per device: the current one, and those that a slow download may still read."""

_ROLES: Final[tuple[Kind, ...]] = ("root", "targets", "snapshot", "timestamp")


def _now() -> datetime:
    return datetime.now(timezone.utc)


class Publisher:
    """The trust repository in one folder. Its methods may be called from any thread."""

    def __init__(self, folder: Path, *, clock: Callable[[], datetime] = _now) -> None:
        self._folder = folder
        self._repository = folder / "repository"
        self._targets = self._repository / "targets"
        self._keys = SigningKeys(folder / "keys")
        self._metadata = SignedMetadata(self._repository / "metadata", self._keys)
        self._clock = clock
        self._lock = threading.Lock()

    @classmethod
    def create(cls, folder: Path, *, clock: Callable[[], datetime] = _now) -> Publisher:
        """Make the repository with new keys, or finish what a crash interrupted.

        A repository that is there already is opened and left as it is.

        Raises:
            PublishError: the folder cannot be written, or holds a damaged repository.
        """
        publisher = cls(folder, clock=clock)
        if publisher._metadata.is_complete:
            return cls.open(folder, clock=clock)
        try:
            publisher._metadata.refuse_half_lost()
            publisher._metadata.folder.mkdir(parents=True, exist_ok=True)
            publisher._targets.mkdir(exist_ok=True)
            publisher._sign_first()
        except OSError as error:
            raise PublishError(f"{folder}: cannot be written: {error.strerror}") from error
        return publisher

    @classmethod
    def open(cls, folder: Path, *, clock: Callable[[], datetime] = _now) -> Publisher:
        """Open a repository that `create` made.

        Raises:
            PublishError: there is none, or its metadata or a key is missing or damaged.
        """
        publisher = cls(folder, clock=clock)
        if not publisher._metadata.is_complete:
            raise PublishError(
                f"{folder}: there is no trust repository; make one with `tomato-trainer init`"
            )
        publisher._metadata.committed()
        for role in _ROLES:
            publisher._keys.load(role)
        return publisher

    @property
    def root_path(self) -> Path:
        """`1.root.json`: the file that a device is given once, by hand, to trust this trainer."""
        return self._metadata.folder / "1.root.json"

    def timestamp_version(self) -> int:
        """Version of the newest timestamp, which an offer names.

        Raises:
            PublishError: it cannot be read.
        """
        return self._metadata.committed()[0].version

    def current(self, device: str) -> Manifest | None:
        """Manifest of the artifact that is published for `device`, or none.

        Raises:
            PublishError: the repository cannot be read.
            MessageError: what was published is of another version.
        """
        with self._lock:
            _, snapshot = self._metadata.committed()
            role = self._role_of(device, snapshot)
        target = None if role is None else role.targets.get(artifact.target_path(device))
        return None if target is None else artifact.from_custom(target.custom or {})

    def publish(self, device: str, file: Path, manifest: Manifest) -> int:
        """Sign `file` as the current artifact of `device`.

        Publishing what is current already changes nothing.

        Args:
            device: its name; its role is made when first needed.
            file: copied into the repository.
            manifest: travels in the signed metadata; its hash and size are checked.

        Returns:
            The version of the timestamp that leads to it.

        Raises:
            PublishError: the file is not what the manifest says, or cannot be written.
        """
        try:
            topics.check_device(device)
        except TopicError as error:
            raise PublishError(f"cannot publish: {error}") from error
        if manifest.device != device:
            raise PublishError(f"the manifest is for {manifest.device}, not for {device}")
        with self._lock:
            try:
                return self._publish(device, file, manifest)
            except OSError as error:
                raise PublishError(
                    f"{error.filename or self._repository}: cannot be published: {error.strerror}"
                ) from error

    def refresh(self, now: datetime | None = None) -> int:
        """Sign again every role that has less than half of its lifetime left.

        Args:
            now: with time zone; the clock's time when left out.

        Returns:
            The version of the timestamp, new or not.

        Raises:
            PublishError: the repository cannot be read or written.
        """
        with self._lock:
            try:
                return self._refresh(now or self._clock())
            except OSError as error:
                raise PublishError(
                    f"{self._metadata.folder}: cannot be written: {error.strerror}"
                ) from error

    def read_chunk(self, request: ChunkRequest) -> ChunkReply:
        """A part of a file of the repository; see `tomato_trainer.chunks.read_chunk`."""
        return chunks.read_chunk(self._repository, request)

    def _sign_first(self) -> None:
        now = self._clock()
        root = Root(version=1, expires=expiry(now, "root"), consistent_snapshot=True)
        for role in _ROLES:
            root.add_key(self._keys.make(role).public_key, role)
        targets = Targets(version=1, expires=expiry(now, "targets"))
        snapshot = Snapshot(version=1, expires=expiry(now, "snapshot"))
        timestamp = Timestamp(version=1, expires=expiry(now, "timestamp"))
        write = self._metadata.write
        write("1.root.json", root, "root")
        snapshot.meta["targets.json"] = write("1.targets.json", targets, "targets")
        timestamp.snapshot_meta = write("1.snapshot.json", snapshot, "snapshot")
        write("timestamp.json", timestamp, "timestamp")

    def _publish(self, device: str, file: Path, manifest: Manifest) -> int:
        now = self._clock()
        path = artifact.target_path(device)
        custom = {"custom": artifact.to_custom(manifest)}
        target = TargetFile(manifest.size_bytes, {"sha256": manifest.artifact}, path, custom)
        place = self._targets / target.get_prefixed_paths()[0]
        # Stored even when it is current already: that repairs a copy that was lost.
        self._store(file, place, manifest)
        timestamp, snapshot = self._metadata.committed()
        role = self._role_of(device, snapshot)
        if role is None:
            self._delegate(device, snapshot, now)
            role = Targets(expires=now)
            role.version = 0  # the write below counts it up
        elif role.targets.get(path) == target:
            return timestamp.version
        role.targets = {path: target}
        name = artifact.role_name(device)
        snapshot.meta[f"{name}.json"] = self._metadata.write_next(name, role, "targets", now)
        version = self._metadata.commit(timestamp, snapshot, now)
        _drop_superseded(place)
        return version

    def _role_of(self, device: str, snapshot: Snapshot) -> Targets | None:
        name = f"{artifact.role_name(device)}.json"
        meta = snapshot.meta.get(name)
        return None if meta is None else self._metadata.read(f"{meta.version}.{name}", Targets)

    def _delegate(self, device: str, snapshot: Snapshot, now: datetime) -> None:
        """Let a role of its own sign what is below `DEVICE/`, and nothing else."""
        name = artifact.role_name(device)
        version = snapshot.meta["targets.json"].version
        targets = self._metadata.read(f"{version}.targets.json", Targets)
        delegations = targets.delegations or Delegations(keys={}, roles={})
        if delegations.roles is None:
            raise PublishError(f"{self._metadata.folder}: targets.json delegates to hash bins")
        delegations.roles[name] = DelegatedRole(
            name, keyids=[], threshold=1, terminating=True, paths=[f"{device}/*"]
        )
        targets.delegations = delegations
        targets.add_key(self._keys.make(name).public_key, name)
        snapshot.meta["targets.json"] = self._metadata.write_next(
            "targets", targets, "targets", now
        )

    def _refresh(self, now: datetime) -> int:
        timestamp, snapshot = self._metadata.committed()
        root = self._metadata.newest_root()
        if is_due(root, "root", now):
            self._metadata.write_next("root", root, "root", now)
        stale = is_due(snapshot, "snapshot", now) or is_due(timestamp, "timestamp", now)
        for name, meta in list(snapshot.meta.items()):
            role = self._metadata.read(f"{meta.version}.{name}", Targets)
            if is_due(role, "targets", now):
                stale = True
                snapshot.meta[name] = self._metadata.write_next(
                    name.removesuffix(".json"), role, "targets", now
                )
        return self._metadata.commit(timestamp, snapshot, now) if stale else timestamp.version

    def _store(self, file: Path, place: Path, manifest: Manifest) -> None:
        """Copy the artifact durably, hashing the very bytes that are kept."""
        if not place.parent.exists():
            place.parent.mkdir(parents=True)
            sync_folder(self._targets)
        digest, size = hashlib.sha256(), 0
        handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=".incoming.")
        try:
            with os.fdopen(handle, "wb") as copy, file.open("rb") as source:
                os.fchmod(copy.fileno(), 0o644)
                while piece := source.read(1 << 20):
                    size += len(piece)
                    digest.update(piece)
                    copy.write(piece)
                copy.flush()
                os.fsync(copy.fileno())
            if (size, digest.hexdigest()) != (manifest.size_bytes, manifest.artifact):
                raise PublishError(
                    f"{file}: {size} bytes with SHA-256 {digest.hexdigest()[:12]}…, the manifest "
                    f"says {manifest.size_bytes} with {manifest.artifact[:12]}…"
                )
            Path(temporary).replace(place)
        finally:
            with suppress(FileNotFoundError):
                Path(temporary).unlink()
        sync_folder(place.parent)


def _drop_superseded(current: Path) -> None:
    others = [path for path in current.parent.glob("*.current") if path != current]
    others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in others[KEPT_TARGETS - 1 :] + list(current.parent.glob(".incoming.*")):
        with suppress(OSError):
            path.unlink()
