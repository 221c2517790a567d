"""Looks for a new artifact when there may be one, and has it installed, on its own thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from sprout_agent.errors import AgentError
from sprout_agent.progress import Progress
from sprout_link import topics
from sprout_link.errors import LinkError, MessageError
from sprout_link.messages import Offer, Report, decode
from sprout_link.mqtt import Link, Properties

_log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 3600.0
"""An offer can be lost with a broker's memory; so it looks by itself, too."""
RETRY_S: Final = (5.0, 300.0)
"""First and longest wait after a failure; doubles."""


class Updater:
    """Waits for offers. The offer itself is only a nudge: what counts is what is signed."""

    def __init__(
        self,
        link: Link,
        install_offered: Callable[[], Report | None],
        *,
        device: str,
        progress: Progress,
        on_report: Callable[[Report], None],
    ) -> None:
        self._link = link
        self._install_offered = install_offered
        self._device = device
        self._progress = progress
        self._on_report = on_report
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="updater", daemon=True)

    def start(self) -> None:
        """Begin to listen for offers."""
        self._link.subscribe(topics.build(self._device, "offer"), self._offered)
        self._thread.start()

    def stop(self) -> None:
        """End. What is on its way must be stopped by its own means before this waits for it."""
        self._stopping.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(10.0)

    def _offered(self, _topic: str, payload: bytes, _properties: Properties) -> None:
        try:
            offer = decode(payload, Offer)
        except MessageError as error:
            _log.warning("an offer was not understood: %s", error)
            return
        _log.info("offered: timestamp version %d", offer.timestamp_version)
        self._wanted.set()

    def _work(self) -> None:
        wait_s = LOOK_EVERY_S
        failures = 0
        while not self._stopping.is_set():
            self._wanted.wait(wait_s)
            if self._stopping.is_set():
                return
            self._wanted.clear()
            if self._look():
                failures, wait_s = 0, LOOK_EVERY_S
            else:
                wait_s = min(RETRY_S[0] * 2.0**failures, RETRY_S[1])
                failures += 1

    def _look(self) -> bool:
        """Fetch, try and install what there is; false when it should be tried again soon."""
        problem: str | None = None
        try:
            report = self._install_offered()
            if report is not None:
                _log.info("%s %s: %s", report.outcome, report.artifact[:12], report.reasons or "ok")
                self._on_report(report)
        except (AgentError, LinkError) as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - the edge of this thread
            problem = f"the update failed unexpectedly ({type(error).__name__})"
            _log.exception("the update failed")
        self._progress.note(update_problem=problem, transfer=None, trial=None)
        if problem is not None and not self._stopping.is_set():
            _log.warning("no update: %s", problem)
        return problem is None
