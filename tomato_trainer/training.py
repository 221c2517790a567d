"""One job from the queue to its end: base, worker, manifest, publication, offer, ledger."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sprout_link.messages import DeviceProfile, Memory
from tomato_trainer.announcements import Announcements
from tomato_trainer.bases import Bases
from tomato_trainer.config import Settings
from tomato_trainer.errors import JobError, PublishError, StoreError
from tomato_trainer.executor import Executor
from tomato_trainer.job_files import JobResult, JobSpec, WorkerEvent
from tomato_trainer.jobs import Crashed, Done, Interrupted, Job, Refused, finish, start
from tomato_trainer.manifests import manifest_of
from tomato_trainer.publish import Publisher
from tomato_trainer.store import Store

_log = logging.getLogger(__name__)


class Training:
    """Does jobs, one at a time, on the thread that calls it.

    Args:
        settings: method, recipe and threads of the jobs.
        store: the ledger.
        publisher: signs what comes out.
        executor: runs the worker.
        bases: finds the base that a device runs.
        announcements: tells the device how it goes.
        cache_folder: where workers keep bases that were converted once.
        clock: the time now, with time zone.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        publisher: Publisher,
        executor: Executor,
        bases: Bases,
        announcements: Announcements,
        cache_folder: Path,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._store = store
        self._publisher = publisher
        self._executor = executor
        self._bases = bases
        self._announcements = announcements
        self._cache_folder = cache_folder
        self._clock = clock

    def clean_interrupted(self) -> None:
        """Remove what jobs left behind when the trainer was killed."""
        self._executor.clean_interrupted()

    def run(self, job: Job, stop: threading.Event) -> Job:
        """Do a queued job and record how it ended; when `stop` is set, it waits again.

        Raises:
            StoreError: its end cannot be recorded; the next start finds it unfinished.
        """
        profile = self._store.profile_of(job.device)
        memories = self._store.memories_of(job.device)
        if profile is None or not memories:
            return self._end(job, Refused("the ledger holds no memories of this device"))
        job = start(job, base_sha256=profile.base_sha256, now=self._clock())
        self._store.save_job(job, memory_ids=[memory.memory_id for memory in memories])
        self._announcements.job(job)
        try:
            spec = self._spec(job, profile, memories)
            self._cache_folder.mkdir(parents=True, exist_ok=True)
            ended = self._executor.run(
                spec,
                on_event=lambda event: self._announcements.progress(job, event),
                stop=stop,
            )
            if not isinstance(ended, JobResult):
                return self._end(job, ended)
            return self._publish(job, spec, ended)
        except (JobError, PublishError) as error:
            return self._end(job, Refused(str(error)))
        except OSError as error:
            return self._end(job, Crashed(f"{error.filename}: {error.strerror}"))
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - the edge of the job's thread
            # By type only: the text of an exception may hold a user's words.
            _log.error("a job failed unexpectedly: %s", type(error).__name__)
            return self._end(job, Crashed(f"unexpected {type(error).__name__}"))

    def _spec(self, job: Job, profile: DeviceProfile, memories: list[Memory]) -> JobSpec:
        return JobSpec(
            job_id=job.job_id,
            device=job.device,
            profile=profile,
            base_path=str(self._bases.find(profile.base_sha256)),
            cache_folder=str(self._cache_folder),
            memories=memories,
            method=self._settings.trainer.method,
            recipe=self._settings.recipe,
            threads=self._settings.trainer.threads,
        )

    def _publish(self, job: Job, spec: JobSpec, result: JobResult) -> Job:
        self._announcements.progress(job, WorkerEvent(stage="publish"))
        manifest = manifest_of(spec, result, now=self._clock())
        file = self._executor.folder_of(job.job_id) / result.adapter_file
        version = self._publisher.publish(job.device, file, manifest)
        job = finish(job, Done(manifest.artifact), now=self._clock())
        self._store.save_published(job, manifest, timestamp_version=version)
        self._executor.clean(job.job_id, failed=False)
        _log.info(
            "an artifact was published",
            extra={"job": job.job_id, "device": job.device, "artifact": manifest.artifact},
        )
        self._announcements.job(job)
        self._announcements.offer(job.device, version)
        return job

    def _end(self, job: Job, outcome: Refused | Crashed | Interrupted) -> Job:
        job = finish(job, outcome, now=self._clock())
        self._store.save_job(job)
        self._executor.clean(job.job_id, failed=job.state == "failed")
        _log.log(
            logging.ERROR if job.state == "failed" else logging.INFO,
            "a job ended: %s", job.reason, extra={"job": job.job_id, "state": job.state},
        )  # fmt: skip
        self._announcements.job(job)
        return job
