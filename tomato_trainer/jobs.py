"""The training jobs' state machine: pure decisions about values, without clock or store.

queued ──start──▶ running ──▶ published
   ▲                 ├──────▶ failed       the worker refused, ran too long, or crashed twice
   └─ interrupted ───┤
   └─ first crash ───┘        cancelled    joined with another job of the same device

A device has at most one running job and one that waits. What arrives while one waits
belongs to it, because a job takes everything that the ledger holds when it starts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sprout_link.messages import JobState

MAX_CRASHES: Final = 2
"""A job whose worker crashes this often has failed."""

MAX_REASON_CHARS: Final = 500


@dataclass(frozen=True)
class Job:
    """One training job as the ledger holds it."""

    job_id: str
    device: str
    state: JobState
    created_at: datetime
    crashes: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    reason: str = ""
    """Why it failed or was cancelled; of a queued one, why it waits again."""
    base_sha256: str | None = None
    """Hash of the base that it trains over, once it has started."""
    artifact: str | None = None
    """Hash of what it published."""


@dataclass(frozen=True)
class Done:
    """The worker ended well and its artifact is published."""

    artifact: str


@dataclass(frozen=True)
class Refused:
    """The job cannot be done; trying again would end alike."""

    reason: str


@dataclass(frozen=True)
class Crashed:
    """The worker died without saying why it could not do the job."""

    reason: str


@dataclass(frozen=True)
class Interrupted:
    """The trainer was stopped while the job ran."""


Outcome = Done | Refused | Crashed | Interrupted


def needs_new_job(unfinished: Iterable[Job]) -> bool:
    """Whether new memories of a device need a job besides its `unfinished` ones."""
    return all(job.state != "queued" for job in unfinished)


def next_job(unfinished: Iterable[Job]) -> Job | None:
    """The job to start now: the oldest that waits, when none runs."""
    jobs = list(unfinished)
    if any(job.state == "running" for job in jobs):
        return None
    waiting = [job for job in jobs if job.state == "queued"]
    return min(waiting, key=lambda job: (job.created_at, job.job_id), default=None)


def start(job: Job, *, base_sha256: str, now: datetime) -> Job:
    """`job` once its worker starts."""
    return replace(job, state="running", started_at=now, reason="", base_sha256=base_sha256)


def finish(job: Job, outcome: Outcome, *, now: datetime) -> Job:
    """`job` after its worker ended with `outcome`."""
    if isinstance(outcome, Done):
        return replace(job, state="published", ended_at=now, artifact=outcome.artifact, reason="")
    if isinstance(outcome, Interrupted):
        return replace(job, state="queued", reason="the trainer was stopped; it starts afresh")
    reason = outcome.reason[:MAX_REASON_CHARS]
    if isinstance(outcome, Crashed):
        crashes = job.crashes + 1
        if crashes < MAX_CRASHES:
            return replace(job, state="queued", crashes=crashes, reason=f"tried again: {reason}")
        return replace(job, state="failed", crashes=crashes, ended_at=now, reason=reason)
    return replace(job, state="failed", ended_at=now, reason=reason)


def after_restart(unfinished: Iterable[Job], *, now: datetime) -> list[Job]:
    """What changes when the trainer starts: no worker runs, and a device needs one job."""
    kept: set[str] = set()
    changed = []
    for job in sorted(unfinished, key=lambda job: (job.created_at, job.job_id)):
        if job.device in kept:
            changed.append(
                replace(job, state="cancelled", ended_at=now, reason="joined with an older job")
            )
            continue
        kept.add(job.device)
        if job.state == "running":
            changed.append(finish(job, Interrupted(), now=now))
    return changed
