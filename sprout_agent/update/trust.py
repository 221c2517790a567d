"""Fetches what the trust repository signed for this device, and nothing else (TUF, python-tuf).

The root that the administrator gave the device is the only thing trusted. Every other file
comes through a broker and a trainer that may both lie: signatures, versions, expiries,
lengths and hashes are checked by python-tuf before a byte is used.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater

from sprout_agent.errors import DiskError, TrustError, UpdateError
from sprout_agent.update.fetcher import ChunkFetcher, Request
from sprout_link import artifact
from sprout_link.artifact import Manifest
from sprout_link.errors import MessageError
from sprout_link.files import sync_folder

_BYTES_PER_MIB: Final = 1024 * 1024


@dataclass(frozen=True)
class SignedTarget:
    """An artifact that the trust repository signed for this device."""

    manifest: Manifest
    size_bytes: int
    _target: TargetFile = field(repr=False)


def free_bytes(folder: Path) -> int:
    """Free space of the disk that holds `folder`, in bytes."""
    return shutil.disk_usage(folder).free


class Trust:
    """The device's end of the trust repository.

    Args:
        folder: keeps the newest metadata that was seen, against rollbacks. Used by one
            process and one thread at a time.
        root_bytes: content of the trainer's `1.root.json`, given by hand.
        request: fetches one chunk, or raises TransportError.
        spare_mib: free space to leave beside a download, in MiB.
        free: free space of a folder's disk, in bytes.
    """

    def __init__(
        self,
        folder: Path,
        root_bytes: bytes,
        request: Request,
        *,
        spare_mib: int = 64,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._folder = folder
        self._root = root_bytes
        self._fetcher = ChunkFetcher(request)
        self._spare_bytes = spare_mib * _BYTES_PER_MIB
        self._free = free

    def current(self, device: str) -> SignedTarget | None:
        """What is signed for `device` now, or none when nothing was published for it.

        Raises:
            TrustError: a signature, version, expiry, hash or the root is not as it must be.
            UpdateError: the trainer does not have it, or the manifest is of another version.
            DiskError: the metadata cannot be kept.
            TransportError: no trainer answered.
        """
        with _explained("the trust repository's metadata"):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._drop_leftovers()
            updater = Updater(
                metadata_dir=str(self._folder),
                metadata_base_url="metadata/",
                fetcher=self._fetcher,
                bootstrap=self._root,
            )
            updater.refresh()
            target = updater.get_targetinfo(artifact.target_path(device))
        if target is None:
            return None
        try:
            manifest = artifact.from_custom(target.custom or {})
        except MessageError as error:
            raise UpdateError(
                f"the manifest of the offered artifact cannot be read: {error}; "
                "is the trainer's version newer than this device's?"
            ) from error
        signed = (target.hashes.get("sha256"), target.length, device)
        if signed != (manifest.artifact, manifest.size_bytes, manifest.device):
            raise TrustError("the manifest describes another file than the one that was signed")
        return SignedTarget(manifest, target.length, target)

    def download(
        self,
        signed: SignedTarget,
        destination: Path,
        on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Path:
        """Fetch the artifact to `destination`, which appears only whole and verified.

        Args:
            signed: from `current`.
            destination: in a folder that exists.
            on_progress: given the bytes done and the bytes in all; what it raises stops
                the download, and nothing is left behind.

        Raises:
            TrustError: what came is not what was signed.
            UpdateError: the trainer does not have it any more.
            DiskError: there is no room, or the disk refused a write.
            TransportError: no trainer answered.
        """
        needed = signed.size_bytes + self._spare_bytes
        available = self._free(destination.parent)
        if available < needed:
            raise DiskError(
                f"{destination.parent}: {_mib(signed.size_bytes)} to download and "
                f"{_mib(self._spare_bytes)} to spare, {_mib(available)} free; free some space"
            )
        partial = destination.with_name(f".{destination.name}.part")
        try:
            with _explained("the artifact"):
                self._receive(signed, partial, on_progress)
                partial.replace(destination)
                sync_folder(destination.parent)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        return destination

    def _receive(
        self, signed: SignedTarget, partial: Path, on_progress: Callable[[int, int], None]
    ) -> None:
        path = "targets/" + signed._target.get_prefixed_paths()[0]
        done = 0
        with partial.open("w+b") as file:
            on_progress(0, signed.size_bytes)
            for piece in self._fetcher.pieces(path, signed.size_bytes):
                file.write(piece)
                done += len(piece)
                on_progress(done, signed.size_bytes)
            file.flush()
            file.seek(0)
            signed._target.verify_length_and_hashes(file)
            os.fsync(file.fileno())

    def _drop_leftovers(self) -> None:
        # python-tuf writes each file beside its place under such a name and renames it.
        for path in self._folder.glob("tmp*"):
            path.unlink(missing_ok=True)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn python-tuf's and the disk's errors into ours, one sentence each."""
    try:
        yield
    except UnsignedMetadataError as error:
        raise TrustError(
            f"{what}: not signed by the keys that this device trusts; is the root file that "
            "it was given the one of this trainer?"
        ) from error
    except ExpiredMetadataError as error:
        raise TrustError(
            f"{what}: its signature has expired ({error}); is the trainer running, "
            "and is this device's clock right?"
        ) from error
    except BadVersionNumberError as error:
        raise TrustError(
            f"{what}: older than what this device has already seen ({error}); "
            "someone replays old files, or the trainer was restored from an old backup"
        ) from error
    except (LengthOrHashMismatchError, DownloadLengthMismatchError) as error:
        raise TrustError(
            f"{what}: not the file that was signed ({error}); it was changed on its way, "
            "and nothing of it is used"
        ) from error
    except RepositoryError as error:
        raise TrustError(f"{what}: refused ({error})") from error
    except DownloadHTTPError as error:
        raise UpdateError(f"{what}: {error}; is this the right trainer?") from error
    except DownloadError as error:
        raise TrustError(f"{what}: {error}; nothing of it is used") from error
    except OSError as error:
        raise DiskError(
            f"{error.filename or what}: cannot be written ({error.strerror}); "
            "free some space or check the disk"
        ) from error


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / _BYTES_PER_MIB:.1f} MiB"
