"""Slots: one folder per artifact, named by its hash, and one link to the one in use.

    FOLDER/slots/SHA256/adapter.gguf, manifest.json, record.json
    FOLDER/slots/.incoming-SHA256/      a download that is not whole yet
    FOLDER/active -> slots/SHA256       switched by one rename; absent: the bare base

A record goes `candidate → trial → good | bad`. A bad one keeps its record, so that it is
not tried again, and loses its weights. A crash at any instant leaves each file old or new.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from sprout_agent.errors import DiskError, UpdateError
from sprout_link.artifact import Manifest
from sprout_link.files import sync_folder, write_durably
from sprout_link.messages import Sha256

State = Literal["candidate", "trial", "good", "bad"]

ADAPTER_FILE: Final = "adapter.gguf"
KEPT_REFUSALS: Final = 256
"""Records of refused artifacts that are kept, the newest."""

_MAX_RECORD_BYTES: Final = 4 * 1024 * 1024

_T = TypeVar("_T", "Record", Manifest)


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happened to one artifact on this device."""

    version: Literal[1] = 1
    state: State
    tries: int = 0
    """Trials begun without a verdict."""
    reasons: list[str] = []
    """Why it is bad."""
    figures: dict[str, float] = {}
    changed_at: datetime
    activated_at: datetime | None = None
    """When it was last put to use."""


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """One artifact on this device."""

    artifact: Sha256
    folder: Path
    record: Record

    @property
    def adapter(self) -> Path:
        """Where the weights are; a bad slot has none any more."""
        return self.folder / ADAPTER_FILE


class Slots:
    """All slots of a device. Used by one process; `recover` comes first."""

    def __init__(self, folder: Path, *, clock: Callable[[], datetime]) -> None:
        self._folder = folder
        self._slots = folder / "slots"
        self._active = folder / "active"
        self._clock = clock

    def recover(self, *, max_tries: int) -> None:
        """Clean up after a crash: half downloads go, a broken-off trial is counted.

        Raises:
            DiskError: the folder cannot be written.
        """
        with _disk(self._folder):
            self._slots.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in [*self._folder.iterdir(), *self._slots.iterdir()]:
                if path.name.startswith("."):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            for slot in self._all():
                for path in slot.folder.glob(".*"):
                    path.unlink()
                if slot.record.state == "trial":
                    self.end_trial(slot.artifact, max_tries=max_tries, why="the device stopped")

    def find(self, artifact: str) -> Slot | None:
        """The slot of an artifact, or none."""
        record = self._read(self._slots / artifact / "record.json", Record)
        if record is None:
            return None
        return Slot(artifact=artifact, folder=self._slots / artifact, record=record)

    def manifest(self, artifact: str) -> Manifest:
        """The manifest that came with an artifact.

        Raises:
            UpdateError: it is missing or damaged.
        """
        found = self._read(self._slots / artifact / "manifest.json", Manifest)
        if found is None:
            raise UpdateError(f"{self._slots / artifact}: its manifest.json is damaged")
        return found

    def active(self) -> Slot | None:
        """The slot in use, or none: then the bare base answers."""
        name = self.active_name()
        return None if name is None else self.find(name)

    def active_name(self) -> str | None:
        """Hash that the link names, even when its slot is damaged."""
        try:
            return self._active.readlink().name
        except OSError:
            return None

    def previous(self) -> list[Slot]:
        """The other good slots, the one used last first."""
        active = self.active()
        others = [
            slot
            for slot in self._all()
            if slot.record.state == "good" and (active is None or slot.artifact != active.artifact)
        ]
        return sorted(others, key=lambda slot: _used(slot.record), reverse=True)

    def incoming(self, artifact: str) -> Path:
        """An empty folder to download to; `admit` makes it a slot.

        Raises:
            DiskError: it cannot be made.
        """
        folder = self._slots / f".incoming-{artifact}"
        with _disk(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
        return folder

    def discard_incoming(self, artifact: str) -> None:
        """Drop a download that will not become a slot."""
        shutil.rmtree(self._slots / f".incoming-{artifact}", ignore_errors=True)

    def admit(self, manifest: Manifest) -> Slot:
        """Make the folder of `incoming`, with its verified adapter, a candidate.

        Raises:
            DiskError: it cannot be written; there is no slot then.
        """
        incoming = self._slots / f".incoming-{manifest.artifact}"
        place = self._slots / manifest.artifact
        record = Record(state="candidate", changed_at=self._clock())
        with _disk(place):
            write_durably(incoming / "manifest.json", msgspec.json.encode(manifest))
            write_durably(incoming / "record.json", msgspec.json.encode(record))
            shutil.rmtree(place, ignore_errors=True)
            incoming.rename(place)
            sync_folder(self._slots)
        return Slot(artifact=manifest.artifact, folder=place, record=record)

    def begin_trial(self, artifact: str) -> None:
        """Count a trial before it begins, so that one which kills the device counts too."""
        record = self._record(artifact)
        self._write(artifact, state="trial", tries=record.tries + 1)

    def end_trial(self, artifact: str, *, max_tries: int, why: str) -> bool:
        """A trial ended without a verdict: a candidate again, or bad after too many.

        Returns:
            May it be tried again?
        """
        record = self._record(artifact)
        if record.tries < max_tries:
            self._write(artifact, state="candidate")
            return True
        self.refuse(artifact, [f"{record.tries} trials broke off, the last because {why}"])
        return False

    def abandon_trial(self, artifact: str) -> None:
        """A trial was stopped on purpose: it does not count."""
        record = self._record(artifact)
        self._write(artifact, state="candidate", tries=max(0, record.tries - 1))

    def refuse(
        self, artifact: str, reasons: Sequence[str], figures: dict[str, float] | None = None
    ) -> None:
        """Remember an artifact as bad and drop its weights. There need not be a slot yet.

        Raises:
            DiskError: the record cannot be written.
        """
        folder = self._slots / artifact
        with _disk(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._write(artifact, state="bad", reasons=list(reasons), figures=figures or {})
        with suppress(OSError):
            (folder / ADAPTER_FILE).unlink()

    def accept(self, artifact: str, figures: dict[str, float]) -> None:
        """The gate let it through: good from now on, and not in use yet."""
        self._write(artifact, state="good", figures=figures, reasons=[])

    def activate(self, artifact: str | None) -> None:
        """Make a good slot (or the bare base) the one in use, by one rename.

        Raises:
            DiskError: it cannot be written; what was in use still is.
        """
        if artifact is None:
            with _disk(self._active):
                self._active.unlink(missing_ok=True)
                sync_folder(self._folder)
            return
        self._write(artifact, activated_at=self._clock())
        link = self._folder / f".active-{secrets.token_hex(4)}"
        with _disk(self._active):
            try:
                link.symlink_to(Path("slots") / artifact)
                link.replace(self._active)
            finally:
                link.unlink(missing_ok=True)
            sync_folder(self._folder)

    def forget(self, artifact: str) -> None:
        """Drop a slot and its record: a damaged one may come again.

        Raises:
            DiskError: it cannot be removed.
        """
        folder = self._slots / artifact
        with _disk(folder):
            if folder.exists():
                gone = self._slots / f".gone-{artifact}"
                shutil.rmtree(gone, ignore_errors=True)
                folder.rename(gone)  # at once, so that a crash leaves no half slot
                shutil.rmtree(gone)

    def prune(self) -> None:
        """Keep the slot in use, the good one before it, and the newest refusals' records."""
        for slot in self.previous()[1:]:
            self.forget(slot.artifact)
        bad = [slot for slot in self._all() if slot.record.state == "bad"]
        bad.sort(key=lambda slot: slot.record.changed_at, reverse=True)
        for slot in bad[KEPT_REFUSALS:]:
            self.forget(slot.artifact)

    def _all(self) -> Iterator[Slot]:
        names = sorted(path.name for path in self._slots.iterdir()) if self._slots.is_dir() else []
        for name in names:
            slot = None if name.startswith(".") else self.find(name)
            if slot is not None:
                yield slot

    def _record(self, artifact: str) -> Record:
        slot = self.find(artifact)
        if slot is None:
            raise UpdateError(f"{self._slots / artifact}: its record is missing or damaged")
        return slot.record

    def _write(self, artifact: str, **changes: object) -> None:
        path = self._slots / artifact / "record.json"
        record = self._read(path, Record) or Record(state="candidate", changed_at=self._clock())
        record = msgspec.structs.replace(record, changed_at=self._clock(), **changes)
        with _disk(path):
            write_durably(path, msgspec.json.encode(record))

    @staticmethod
    def _read(path: Path, kind: type[_T]) -> _T | None:
        try:
            with path.open("rb") as file:
                return msgspec.json.decode(file.read(_MAX_RECORD_BYTES), type=kind)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # Missing or damaged alike: the artifact is fetched and tried as if it were new.
            return None


def _used(record: Record) -> datetime:
    return record.activated_at or datetime.min.replace(tzinfo=timezone.utc)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"{error.filename or path}: cannot be written ({error.strerror}); "
            "free some space or check the disk"
        ) from error
