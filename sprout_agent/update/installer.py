"""Takes an offered artifact all the way into use, or says why not.

fetch → slot → check the file → trial → switch. Each step is durable before the next begins;
until the last one, what is in use is untouched. A refusal is a report, not an exception.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Protocol

from sprout_agent.errors import DiskError, InferenceError, UpdateError, UpdateStoppedError
from sprout_agent.inference.base import Adapter, Runtime
from sprout_agent.update import adapter_check
from sprout_agent.update.gate import Trier
from sprout_agent.update.slots import Slot, Slots
from sprout_agent.update.trust import SignedTarget
from sprout_link import compatibility
from sprout_link.artifact import Manifest
from sprout_link.errors import TransportError
from sprout_link.gguf_header import read_header, sha256_of
from sprout_link.messages import DeviceProfile, Report

_log = logging.getLogger(__name__)

_MAX_REASON_CHARS: Final = 2_000
ROLLED_BACK: Final = "rolled back by the user"


class Source(Protocol):
    """What the installer needs of `Trust`."""

    def current(self, device: str) -> SignedTarget | None:
        """What is signed for the device now."""

    def download(
        self, signed: SignedTarget, destination: Path, on_progress: Callable[[int, int], None]
    ) -> Path:
        """Fetch it, verified."""


class Watcher(Protocol):
    """Is told how an installation goes; called from the installing thread."""

    def transfer(self, done_bytes: int, total_bytes: int) -> None:
        """A download moved on."""

    def trial(self, part: str, done: int, total: int) -> None:
        """A trial moved on."""


class Unwatched:
    """A watcher that looks away."""

    def transfer(self, done_bytes: int, total_bytes: int) -> None:
        """Nothing."""

    def trial(self, part: str, done: int, total: int) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Restored:
    """What was put to use at start."""

    artifact: str | None
    """None: the bare base."""
    problems: tuple[str, ...]
    """Why what was in use before is not; empty when it is."""


class Installer:
    """Installs, restores and rolls back. Used by one thread at a time.

    Args:
        device: name of this device.
        profile: what it can run.
        trust: where artifacts come from.
        slots: where they are kept.
        runtime: loads adapters.
        gate: tries them.
        switch: makes an adapter (or the bare base) answer the conversation, after the
            running answer; raises InferenceError and changes nothing when it cannot.
        texts_of: memory ids to the texts of those that this device still has.
        clock: the time, with zone.
        max_tries: trials that may break off without a verdict.
        stopped: is the program stopping? Asked between all steps.
        watcher: is told how it goes.
    """

    def __init__(
        self,
        *,
        device: str,
        profile: DeviceProfile,
        trust: Source,
        slots: Slots,
        runtime: Runtime,
        gate: Trier,
        switch: Callable[[Adapter | None], None],
        texts_of: Callable[[Sequence[str]], list[str]],
        clock: Callable[[], datetime],
        max_tries: int = 3,
        stopped: Callable[[], bool] = lambda: False,
        watcher: Watcher | None = None,
    ) -> None:
        self._device = device
        self._profile = profile
        self._trust = trust
        self._slots = slots
        self._runtime = runtime
        self._gate = gate
        self._switch = switch
        self._texts_of = texts_of
        self._clock = clock
        self._max_tries = max_tries
        self._stopped = stopped
        self._watcher = watcher or Unwatched()
        self._live: Adapter | None = None

    @property
    def live(self) -> Adapter | None:
        """The adapter that answers now, or none: the bare base."""
        return self._live

    def restore_active(self) -> Restored:
        """At start: clean up after a crash and put the active slot to use again.

        A damaged or unfit one gives way to the good one before it, then to the bare base.

        Raises:
            DiskError: the slots cannot be written.
            InferenceError: not even the bare base can be put to use.
        """
        self._slots.recover(max_tries=self._max_tries)
        problems: list[str] = []
        name, active = self._slots.active_name(), self._slots.active()
        if name is not None and active is None:
            problems.append(f"the artifact {name[:12]}… that was in use is damaged")
            self._slots.forget(name)
        candidates = [*([active] if active else []), *(self._slots.previous() if name else [])]
        for slot in candidates:
            problem = self._put_to_use(slot)
            if problem is None:
                return Restored(slot.artifact, tuple(problems))
            problems.append(problem)
        self._slots.activate(None)
        return Restored(None, tuple(problems))

    def install_offered(self) -> Report | None:
        """Fetch and try what is signed for this device now, and use it if the gate lets it.

        Returns:
            What was done, or none when there is nothing new: nothing published, in use
            already, or refused before.

        Raises:
            UpdateStoppedError: the program is stopping; it goes on at the next start.
            UpdateError, TrustError, DiskError: it could not be fetched or kept.
            TransportError: no trainer answered.
        """
        try:
            signed = self._trust.current(self._device)
        except TransportError:
            self._check_stopped()
            raise
        if signed is None:
            return None
        manifest = signed.manifest
        slot = self._slots.find(manifest.artifact)
        if slot is not None and (
            slot.record.state == "bad" or self._slots.active_name() == slot.artifact
        ):
            return None
        unfit = compatibility.reasons_against(manifest, self._profile, device=self._device)
        if unfit:
            return self._refuse(manifest, unfit)
        slot = self._fetched(signed, slot)
        if slot.record.state == "good":  # a crash came between its trial and the switch
            problem = self._put_to_use(slot)
            if problem is not None:
                return self._refuse(manifest, [problem])
            return self._report(slot.artifact, "installed", (), slot.record.figures)
        reasons = adapter_check.reasons_against(slot.adapter, read_header(self._runtime.info.path))
        if reasons:
            return self._refuse(manifest, reasons)
        return self._try(slot, manifest)

    def rollback(self) -> Report:
        """Go back to the good artifact before the one in use, or to the bare base.

        The one in use is not installed again.

        Raises:
            UpdateError: nothing is in use that could be rolled back.
            DiskError: the slots cannot be written; what was in use still is.
            InferenceError: not even the bare base can be put to use.
        """
        active = self._slots.active()
        if active is None:
            raise UpdateError("nothing is installed; the bare base answers already")
        # First the record: a crash after it makes the next start finish the way back.
        others = self._slots.previous()
        self._slots.refuse(active.artifact, [ROLLED_BACK], active.record.figures)
        for slot in others:
            if self._put_to_use(slot) is None:
                break
        else:
            self._go_live(None, None)
        return self._report(active.artifact, "rolled-back", [ROLLED_BACK], {})

    def _fetched(self, signed: SignedTarget, slot: Slot | None) -> Slot:
        """The slot with the verified file: what an earlier attempt left, or a download."""
        manifest = signed.manifest
        if slot is not None and _is_whole(slot):
            return slot
        destination = self._slots.incoming(manifest.artifact) / "adapter.gguf"
        try:
            self._check_stopped()
            self._trust.download(signed, destination, self._transferred)
            return self._slots.admit(manifest)
        except TransportError:
            self._check_stopped()  # a request that ends because we stop is no broken network
            raise
        finally:
            self._slots.discard_incoming(manifest.artifact)

    def _try(self, slot: Slot, manifest: Manifest) -> Report:
        self._check_stopped()
        self._slots.begin_trial(slot.artifact)
        try:
            adapter = self._load(slot)
        except InferenceError as error:
            return self._refuse(manifest, [f"the runtime cannot load it: {error}"])
        try:
            verdict = self._gate.run(
                adapter,
                manifest,
                self._texts_of(manifest.memory_ids),
                on_progress=self._watcher.trial,
                stopped=self._stopped,
            )
            self._check_stopped()
        except UpdateStoppedError:
            self._runtime.unload_adapter(adapter)
            self._slots.abandon_trial(slot.artifact)
            raise
        except InferenceError as error:
            self._runtime.unload_adapter(adapter)
            return self._broken_off(slot, error)
        except BaseException:
            self._runtime.unload_adapter(adapter)
            raise
        if not verdict.accepted:
            self._runtime.unload_adapter(adapter)
            return self._refuse(manifest, verdict.reasons, verdict.figures)
        try:
            self._slots.accept(slot.artifact, _finite(verdict.figures))
        except DiskError:
            self._runtime.unload_adapter(adapter)
            raise
        try:
            self._go_live(slot, adapter)
        except InferenceError as error:
            return self._refuse(manifest, [f"the runtime cannot switch to it: {error}"])
        return self._report(slot.artifact, "installed", (), verdict.figures)

    def _broken_off(self, slot: Slot, error: InferenceError) -> Report:
        if self._slots.end_trial(slot.artifact, max_tries=self._max_tries, why=str(error)):
            raise UpdateError(
                f"the trial of {slot.artifact[:12]}… broke off and will be repeated: {error}"
            ) from error
        refused = self._slots.find(slot.artifact)
        reasons = refused.record.reasons if refused else [str(error)]
        return self._report(slot.artifact, "refused", reasons, {})

    def _go_live(self, slot: Slot | None, adapter: Adapter | None) -> None:
        """Switch the conversation, then the link; either both or neither."""
        former = self._live
        try:
            self._switch(adapter)
        except InferenceError:
            if adapter is not None:
                self._runtime.unload_adapter(adapter)
            raise
        try:
            self._slots.activate(slot.artifact if slot else None)
        except DiskError:
            self._switch(former)
            if adapter is not None:
                self._runtime.unload_adapter(adapter)
            raise
        self._live = adapter
        if former is not None:
            self._runtime.unload_adapter(former)
        with suppress(DiskError):  # too many kept slots harm nobody
            self._slots.prune()

    def _put_to_use(self, slot: Slot) -> str | None:
        """Put a slot that was good once to use; else why it cannot be."""
        short = f"{slot.artifact[:12]}…"
        if slot.record.state != "good":
            return f"the artifact {short} is {slot.record.state}"
        try:
            manifest = self._slots.manifest(slot.artifact)
        except UpdateError as error:
            self._slots.forget(slot.artifact)
            return f"the artifact {short} is damaged: {error}"
        unfit = compatibility.reasons_against(manifest, self._profile, device=self._device)
        if unfit:
            return f"the artifact {short} does not fit: {'; '.join(unfit)}"
        if not _is_whole(slot):
            self._slots.forget(slot.artifact)  # so that the same artifact may come again
            return f"the artifact {short} is damaged on the disk"
        try:
            self._go_live(slot, self._load(slot))
        except InferenceError as error:
            return f"the artifact {short} cannot be loaded: {error}"
        return None

    def _load(self, slot: Slot) -> Adapter:
        return self._runtime.load_adapter(slot.adapter, sha256=slot.artifact)

    def _refuse(
        self, manifest: Manifest, reasons: Sequence[str], figures: dict[str, float] | None = None
    ) -> Report:
        known = _finite(figures or {})
        self._slots.refuse(manifest.artifact, reasons, known)
        return self._report(manifest.artifact, "refused", reasons, known)

    def _report(
        self,
        artifact: str,
        outcome: Literal["installed", "refused", "rolled-back"],
        reasons: Sequence[str],
        figures: dict[str, float],
    ) -> Report:
        _log.info("artifact %s: %s", artifact[:12], outcome)
        return Report(
            device=self._device,
            artifact=artifact,
            outcome=outcome,
            reasons=[reason[:_MAX_REASON_CHARS] for reason in reasons],
            figures=_finite(figures),
            reported_at=self._clock(),
        )

    def _transferred(self, done_bytes: int, total_bytes: int) -> None:
        self._check_stopped()
        self._watcher.transfer(done_bytes, total_bytes)

    def _check_stopped(self) -> None:
        if self._stopped():
            raise UpdateStoppedError("the update was stopped; what was in use still is")


def _is_whole(slot: Slot) -> bool:
    try:
        return sha256_of(slot.adapter) == slot.artifact
    except OSError:
        return False


def _finite(figures: dict[str, float]) -> dict[str, float]:
    # JSON has no NaN; a report that cannot be read is worse than a figure that lacks.
    return {name: value for name, value in figures.items() if math.isfinite(value)}
