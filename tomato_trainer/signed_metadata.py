"""Reads, signs and writes the trust repository's metadata files; `timestamp.json` commits.

What `timestamp.json` leads to is the committed state, and nothing else is ever read.
Files that a crash left beyond it are overwritten by the next publication.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final, Literal, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from sprout_link.files import write_durably
from tomato_trainer.errors import PublishError
from tomato_trainer.signing_keys import SigningKeys

Kind = Literal["root", "targets", "snapshot", "timestamp"]

LIFETIMES: Final[dict[Kind, timedelta]] = {
    "root": timedelta(days=730),
    "targets": timedelta(days=365),
    "snapshot": timedelta(days=30),
    "timestamp": timedelta(days=14),
}
"""How long a signature holds; a device role's as long as that of `targets`."""

KEPT_VERSIONS: Final = 10
"""Versions kept of each role's metadata. Roots are all kept: a device walks through them."""

_VERSIONED = re.compile(r"(?P<version>[1-9][0-9]{0,17})\.(?P<role>[A-Za-z0-9-]+)\.json")

S = TypeVar("S", Root, Targets, Snapshot, Timestamp)


def expiry(now: datetime, kind: Kind) -> datetime:
    """When something signed `now` expires, in whole seconds of UTC as TUF wants it."""
    return (now + LIFETIMES[kind]).astimezone(timezone.utc).replace(microsecond=0)


def is_due(signed: Signed, kind: Kind, now: datetime) -> bool:
    """Is less than half of the lifetime left?"""
    return signed.expires - now < LIFETIMES[kind] / 2


class SignedMetadata:
    """The `metadata/` folder of the repository and the keys that sign it."""

    def __init__(self, folder: Path, keys: SigningKeys) -> None:
        self.folder = folder
        self._keys = keys

    @property
    def is_complete(self) -> bool:
        """Was a first state ever committed here?"""
        return (self.folder / "timestamp.json").exists()

    def read(self, name: str, kind: type[S]) -> S:
        """The content of one file.

        Raises:
            PublishError: it is missing, damaged or of another type.
        """
        path = self.folder / name
        try:
            metadata: Metadata[S] = Metadata.from_bytes(path.read_bytes())
        except OSError as error:
            raise PublishError(
                f"{path}: cannot be read ({error.strerror}); restore the folder from a backup"
            ) from error
        except (DeserializationError, RepositoryError) as error:
            raise PublishError(
                f"{path}: damaged, not TUF metadata; restore the folder from a backup"
            ) from error
        if not isinstance(metadata.signed, kind):
            raise PublishError(f"{path}: holds {metadata.signed.type}, expected {kind.type}")
        return metadata.signed

    def committed(self) -> tuple[Timestamp, Snapshot]:
        """The newest timestamp and the snapshot that it leads to.

        Raises:
            PublishError: they cannot be read.
        """
        timestamp = self.read("timestamp.json", Timestamp)
        version = timestamp.snapshot_meta.version
        return timestamp, self.read(f"{version}.snapshot.json", Snapshot)

    def newest_root(self) -> Root:
        """The last of the chain of roots.

        Raises:
            PublishError: it cannot be read.
        """
        version = 1
        while (self.folder / f"{version + 1}.root.json").exists():
            version += 1
        return self.read(f"{version}.root.json", Root)

    def write(self, name: str, signed: S, key: str) -> MetaFile:
        """Sign `signed` by the key of the role `key` and replace the file durably.

        Returns:
            Its entry for the metadata that leads to it.

        Raises:
            PublishError: the key is missing.
            OSError: the folder cannot be written.
        """
        metadata = Metadata(signed)
        metadata.sign(self._keys.load(key))
        data = metadata.to_bytes()
        # Public by nature: a web server of another user may serve the same folder.
        write_durably(self.folder / name, data, mode=0o644)
        return MetaFile(signed.version, len(data), MetaFile.from_data(1, data, ["sha256"]).hashes)

    def write_next(self, role: str, signed: S, kind: Kind, now: datetime) -> MetaFile:
        """The same as the next version of `role`, with a new expiry."""
        signed.version += 1
        signed.expires = expiry(now, kind)
        return self.write(f"{signed.version}.{role}.json", signed, role)

    def commit(self, timestamp: Timestamp, snapshot: Snapshot, now: datetime) -> int:
        """Sign `snapshot` and make it the repository's state by one rename.

        Returns:
            The version of the new timestamp.

        Raises:
            OSError: the folder cannot be written; the former state stands.
        """
        timestamp.snapshot_meta = self.write_next("snapshot", snapshot, "snapshot", now)
        timestamp.version += 1
        timestamp.expires = expiry(now, "timestamp")
        self.write("timestamp.json", timestamp, "timestamp")
        self._drop_old_versions(timestamp, snapshot)
        return timestamp.version

    def refuse_half_lost(self) -> None:
        """A repository that lost its timestamp must not start again at version 1.

        Raises:
            PublishError: there are later versions of something.
        """
        for path in sorted(self.folder.glob("*.json")):
            match = _VERSIONED.fullmatch(path.name)
            if match and int(match["version"]) > 1:
                raise PublishError(
                    f"{self.folder}: {path.name} is there and timestamp.json is missing; restore "
                    "the folder from a backup, for devices refuse a repository that went back"
                )

    def _drop_old_versions(self, timestamp: Timestamp, snapshot: Snapshot) -> None:
        newest = {name.removesuffix(".json"): meta.version for name, meta in snapshot.meta.items()}
        newest["snapshot"] = timestamp.snapshot_meta.version
        for path in list(self.folder.iterdir()):
            match = _VERSIONED.fullmatch(path.name)
            if match is None or match["role"] not in newest:
                continue
            if int(match["version"]) <= newest[match["role"]] - KEPT_VERSIONS:
                with suppress(OSError):
                    path.unlink()
