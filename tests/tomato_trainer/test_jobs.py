from __future__ import annotations

from datetime import timedelta

import pytest

from tests.tomato_trainer.device_messages import NOW
from tomato_trainer.jobs import (
    Crashed,
    Done,
    Interrupted,
    Job,
    Refused,
    after_restart,
    finish,
    needs_new_job,
    next_job,
    start,
)

LATER = NOW + timedelta(minutes=1)
QUEUED = Job("q", "kit", "queued", NOW)
RUNNING = start(Job("r", "kit", "queued", NOW), base_sha256="a" * 64, now=NOW)


@pytest.mark.parametrize(
    ("unfinished", "needed"),
    [([], True), ([QUEUED], False), ([RUNNING], True), ([RUNNING, QUEUED], False)],
)
def test_new_memories_join_the_job_that_waits(unfinished: list[Job], needed: bool) -> None:
    assert needs_new_job(unfinished) is needed


def test_the_oldest_waiting_job_is_next_and_only_when_none_runs() -> None:
    younger = Job("y", "other", "queued", LATER)
    assert next_job([younger, QUEUED]) == QUEUED
    assert next_job([younger, RUNNING]) is None
    assert next_job([]) is None


def test_a_job_that_is_done_names_its_artifact() -> None:
    ended = finish(RUNNING, Done("c" * 64), now=LATER)
    assert (ended.state, ended.artifact, ended.ended_at) == ("published", "c" * 64, LATER)


def test_a_refused_job_has_failed_with_its_reason() -> None:
    ended = finish(RUNNING, Refused("no base"), now=LATER)
    assert (ended.state, ended.reason, ended.ended_at) == ("failed", "no base", LATER)


def test_a_crash_is_tried_again_once() -> None:
    again = finish(RUNNING, Crashed("status 139"), now=LATER)
    assert (again.state, again.crashes, again.ended_at) == ("queued", 1, None)
    assert "status 139" in again.reason
    ended = finish(start(again, base_sha256="a" * 64, now=LATER), Crashed("again"), now=LATER)
    assert (ended.state, ended.crashes, ended.reason) == ("failed", 2, "again")


def test_an_interrupted_job_waits_again_and_no_crash_is_counted() -> None:
    again = finish(RUNNING, Interrupted(), now=LATER)
    assert (again.state, again.crashes) == ("queued", 0)


def test_a_restart_queues_what_ran_and_joins_what_waited_behind_it() -> None:
    waiting = Job("w", "kit", "queued", LATER)
    other = Job("o", "other", "queued", LATER)
    changed = {job.job_id: job for job in after_restart([waiting, RUNNING, other], now=LATER)}
    assert changed["r"].state == "queued"
    assert changed["w"].state == "cancelled"
    assert set(changed) == {"r", "w"}
