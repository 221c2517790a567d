"""The trainer's composition root: messages in, one job at a time, artifacts out."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Final

from sprout_link import topics
from sprout_link.chunk_requests import serve_requests
from sprout_link.errors import TransportError
from sprout_link.files import sole_use
from sprout_link.messages import encode
from sprout_link.mqtt import Link, Properties
from tomato_trainer.announcements import Announcements
from tomato_trainer.bases import Bases
from tomato_trainer.config import Settings
from tomato_trainer.errors import TrainerError
from tomato_trainer.executor import WORKER, Executor
from tomato_trainer.intake import Intake
from tomato_trainer.jobs import Job, after_restart, needs_new_job, next_job
from tomato_trainer.learn.recipes import recipe_for
from tomato_trainer.publish import Publisher
from tomato_trainer.store import Store
from tomato_trainer.training import Training

_log = logging.getLogger(__name__)

LEDGER_FILE: Final = "ledger.sqlite"
JOBS_FOLDER: Final = "jobs"
CACHE_FOLDER: Final = "cache"
CLIENT_ID_FILE: Final = "client-id"

_TICK_S: Final = 0.25
_REFRESH_S: Final = 900.0
_STOP_S: Final = 8.0


def _now() -> datetime:
    return datetime.now(timezone.utc)


class Service:
    """The trainer daemon. Opens nothing until `run`.

    Args:
        settings: with absolute paths.
        worker: command that runs a job, with the job's folder as its last argument.
        clock: the time now, with time zone.
        on_ready: called once everything is open and the link has been started.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        worker: Sequence[str] = WORKER,
        clock: Callable[[], datetime] = _now,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._worker = tuple(worker)
        self._clock = clock
        self._on_ready = on_ready
        self._wake = threading.Event()
        self._reconnected = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; an unfinished job then waits for the next start.

        Raises:
            FolderInUseError: another trainer works in the folder.
            ModelFileError: a base model of the settings is missing or no model.
            TrainerError: the recipe has mistakes, or the ledger or the trust repository
                cannot be opened.
            TransportError: a password or certificate file cannot be read.
        """
        folder = self._settings.folder
        # What every job would fail by is told now, to the one who starts the trainer.
        recipe_for(self._settings.trainer.method, self._settings.recipe)
        bases = Bases(self._settings.base_models)
        bases.check()
        with sole_use(folder, program="tomato-trainer"):
            publisher = Publisher.open(folder)
            store = Store(folder / LEDGER_FILE)
            store.open()
            link = Link(
                self._settings.broker, client_id=self._client_id(), on_state=self._link_changed
            )
            announcements = Announcements(link, clock=self._clock, monotonic=time.monotonic)
            training = self._training(store, publisher, announcements, bases)
            try:
                self._recover(store, publisher, announcements, training)
                self._listen(link, store, publisher, announcements)
                link.start()
                self._on_ready()
                self._loop(stop, store, publisher, announcements, training)
            finally:
                link.stop()
                store.close()
        _log.info("stopped")

    def _training(
        self, store: Store, publisher: Publisher, announcements: Announcements, bases: Bases
    ) -> Training:
        settings = self._settings
        executor = Executor(
            settings.folder / JOBS_FOLDER,
            time_limit_s=settings.trainer.job_time_limit_s,
            keep_files=settings.trainer.keep_job_files,
            command=self._worker,
        )
        return Training(
            settings,
            store=store,
            publisher=publisher,
            executor=executor,
            bases=bases,
            announcements=announcements,
            cache_folder=settings.folder / CACHE_FOLDER,
            clock=self._clock,
        )

    def _client_id(self) -> str:
        """This trainer's name on the broker, the same at every start."""
        path = self._settings.folder / CLIENT_ID_FILE
        if not path.exists():
            path.write_text(f"tomato-{uuid.uuid4().hex[:16]}")
        return path.read_text().strip()

    def _recover(
        self,
        store: Store,
        publisher: Publisher,
        announcements: Announcements,
        training: Training,
    ) -> None:
        training.clean_interrupted()
        for job in after_restart(store.jobs(unfinished=True), now=self._clock()):
            store.save_job(job)
            _log.info("a job was found unfinished", extra={"job": job.job_id, "now": job.state})
        for device in store.devices_to_train():
            self._queue(store, announcements, device)
        for job in store.jobs(unfinished=True):
            announcements.job(job)
        publisher.refresh()
        for known in store.devices():
            if publisher.current(known.device) is not None:
                announcements.offer(known.device, publisher.timestamp_version())

    def _listen(
        self, link: Link, store: Store, publisher: Publisher, announcements: Announcements
    ) -> None:
        intake = Intake(store, clock=self._clock)

        def batch_came(topic: str, payload: bytes, _properties: Properties) -> None:
            ack = intake.take_batch(topic, payload)
            if ack is None:
                return
            try:
                link.publish(topics.build(ack.device, "ack"), encode(ack))
            finally:
                if ack.stored:
                    self._queue(store, announcements, ack.device)
                    self._wake.set()

        def state_came(topic: str, payload: bytes, _properties: Properties) -> None:
            intake.take_state(topic, payload)

        def report_came(topic: str, payload: bytes, _properties: Properties) -> None:
            intake.take_report(topic, payload)

        link.subscribe(topics.from_every_device("memories"), batch_came)
        link.subscribe(topics.from_every_device("state"), state_came)
        link.subscribe(topics.from_every_device("report"), report_came)
        serve_requests(link, publisher.read_chunk)

    def _queue(self, store: Store, announcements: Announcements, device: str) -> None:
        unfinished = [job for job in store.jobs(unfinished=True) if job.device == device]
        if not needs_new_job(unfinished):
            return
        job = Job(job_id=str(uuid.uuid4()), device=device, state="queued", created_at=self._clock())
        store.save_job(job)
        _log.info("a job was queued", extra={"job": job.job_id, "device": device})
        if not unfinished:  # the one that runs is the one to watch
            announcements.job(job)

    def _loop(
        self,
        stop: threading.Event,
        store: Store,
        publisher: Publisher,
        announcements: Announcements,
        training: Training,
    ) -> None:
        runner: threading.Thread | None = None
        refresh_at = time.monotonic() + _REFRESH_S
        self._wake.set()
        while not stop.is_set():
            if self._reconnected.is_set():
                self._reconnected.clear()
                announcements.repeat()
            if time.monotonic() > refresh_at:
                refresh_at = time.monotonic() + _REFRESH_S
                _refresh(publisher)
            if runner is not None:
                runner.join(_TICK_S)
                if runner.is_alive():
                    continue
                runner = None
            elif not self._wake.wait(_TICK_S):
                continue
            self._wake.clear()
            job = next_job(store.jobs(unfinished=True))
            runner = None if job is None else _run_job(training, job, stop)
        if runner is not None:
            runner.join(_STOP_S)

    def _link_changed(self, connected: bool, why: str) -> None:
        if connected:
            _log.info("%s", why)
            self._reconnected.set()
        else:
            _log.warning("%s", why)


def _run_job(training: Training, job: Job, stop: threading.Event) -> threading.Thread:
    def run() -> None:
        try:
            training.run(job, stop)
        except Exception as error:  # noqa: BLE001 - the edge of this thread
            # By type only, as elsewhere: the text of an exception may hold a user's words.
            _log.critical(
                "a job's end could not be recorded: %s", type(error).__name__,
                extra={"job": job.job_id},
            )  # fmt: skip

    thread = threading.Thread(target=run, name=f"job-{job.job_id[:8]}")
    thread.start()
    return thread


def _refresh(publisher: Publisher) -> None:
    try:
        publisher.refresh()
    except (TrainerError, TransportError) as error:
        _log.error("the trust repository cannot be kept fresh: %s", error)
