"""What the trainer tells devices: where their job stands, and what is on offer.

Both are retained by the broker, and a broker may lose what it retained: everything that
was said last is said again whenever the link comes back.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

from sprout_link import topics
from sprout_link.errors import TransportError
from sprout_link.messages import JobProgress, Message, Offer, encode
from sprout_link.mqtt import Link
from tomato_trainer.job_files import WorkerEvent
from tomato_trainer.jobs import Job

_log = logging.getLogger(__name__)

MIN_INTERVAL_S: Final = 0.25
"""Least seconds between two messages about the same stage of a job."""

_MAX_MESSAGE_CHARS: Final = 500


class Announcements:
    """The last word to each device. May be used from any thread.

    Args:
        link: where it is said.
        clock: the time now, with time zone.
        monotonic: seconds that only grow, for the pace of progress.
    """

    def __init__(
        self, link: Link, *, clock: Callable[[], datetime], monotonic: Callable[[], float]
    ) -> None:
        self._link = link
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._last: dict[str, Message] = {}
        self._said_at: dict[str, tuple[float, str | None]] = {}

    def job(self, job: Job) -> None:
        """Say where a job stands between its stages: waiting, ended, and why."""
        self._say(
            topics.build(job.device, "job"),
            JobProgress(
                device=job.device,
                job_id=job.job_id,
                state=job.state,
                stage="prepare" if job.state == "running" else None,
                message=job.reason[:_MAX_MESSAGE_CHARS],
            ),
        )

    def progress(self, job: Job, event: WorkerEvent) -> None:
        """Say how far a worker is, at most four times a second."""
        now = self._monotonic()
        said_at, stage = self._said_at.get(job.device, (-math.inf, None))
        if event.stage == stage and now - said_at < MIN_INTERVAL_S and event.step < event.steps:
            return
        self._said_at[job.device] = (now, event.stage)
        self._say(
            topics.build(job.device, "job"),
            JobProgress(
                device=job.device,
                job_id=job.job_id,
                state="running",
                stage=event.stage,
                step=max(0, event.step),
                steps=max(0, event.steps),
                loss=_finite(event.loss),
                remaining_s=_finite(event.remaining_s),
                message=event.message[:_MAX_MESSAGE_CHARS],
            ),
        )

    def offer(self, device: str, timestamp_version: int) -> None:
        """Say that the trust repository has something for a device."""
        self._say(
            topics.build(device, "offer"),
            Offer(device=device, timestamp_version=timestamp_version, published_at=self._clock()),
        )

    def repeat(self) -> None:
        """Say everything again that was said last."""
        with self._lock:
            said = list(self._last.items())
        for topic, message in said:
            self._send(topic, message)

    def _say(self, topic: str, message: Message) -> None:
        with self._lock:
            self._last[topic] = message
        self._send(topic, message)

    def _send(self, topic: str, message: Message) -> None:
        if not self._link.connected:
            return  # said when the link is back; queueing each step would only grow a heap
        try:
            self._link.publish(topic, encode(message), retain=True)
        except TransportError as error:
            _log.warning("an announcement was not sent: %s", error, extra={"topic": topic})


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
