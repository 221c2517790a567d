from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tomato_trainer.device_messages import make_memory, make_profile
from tomato_trainer.executor import LOG_FILE, Executor
from tomato_trainer.job_files import JOB_FILE, JobResult, JobSpec, WorkerEvent
from tomato_trainer.jobs import Crashed, Interrupted, Refused

SPEC = JobSpec(
    job_id="job-1",
    device="kit",
    profile=make_profile(),
    base_path="/nowhere/base.gguf",
    cache_folder="/nowhere",
    memories=[make_memory(1, "My PIN is 4711.")],
    method="lora",
)
Worker = Callable[[str], list[str]]


def make_executor(tmp_path: Path, command: list[str], **more) -> Executor:
    values = {"time_limit_s": 60.0, "grace_s": 2.0}
    return Executor(tmp_path / "jobs", command=command, **(values | more))


def run(executor: Executor, *, stop: threading.Event | None = None):
    events: list[WorkerEvent] = []
    ended = executor.run(SPEC, on_event=events.append, stop=stop or threading.Event())
    return ended, events


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_worker_gives_a_result_and_all_its_events(tmp_path: Path, worker: Worker) -> None:
    executor = make_executor(tmp_path, worker("good"))
    ended, events = run(executor)
    assert isinstance(ended, JobResult)
    assert ended.memory_ids == [make_memory(1).memory_id]
    assert [(event.stage, event.step) for event in events] == [
        ("prepare", 0), ("train", 1), ("train", 2), ("train", 3),
    ]  # fmt: skip
    assert (executor.folder_of("job-1") / ended.adapter_file).is_file()


def test_what_the_user_said_is_readable_by_the_owner_alone_and_removed(
    tmp_path: Path, worker: Worker
) -> None:
    executor = make_executor(tmp_path, worker("good"))
    run(executor)
    folder = executor.folder_of("job-1")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / JOB_FILE).stat().st_mode) == 0o600
    executor.clean("job-1", failed=False)
    assert not folder.exists()


def test_job_files_are_kept_on_request(tmp_path: Path, worker: Worker) -> None:
    executor = make_executor(tmp_path, worker("good"), keep_files=True)
    run(executor)
    executor.clean("job-1", failed=False)
    assert (executor.folder_of("job-1") / JOB_FILE).exists()


def test_a_worker_that_says_why_not_is_refused(tmp_path: Path, worker: Worker) -> None:
    ended, _ = run(make_executor(tmp_path, worker("refuse")))
    assert ended == Refused("there is nothing in these memories that can be learned")


def test_a_crash_keeps_the_end_of_its_log_beside_and_not_in_the_reason(
    tmp_path: Path, worker: Worker
) -> None:
    executor = make_executor(tmp_path, worker("crash"))
    ended, _ = run(executor)
    assert isinstance(ended, Crashed)
    assert "status 139" in ended.reason
    assert "4711" not in ended.reason
    executor.clean("job-1", failed=True)
    folder = executor.folder_of("job-1")
    assert [file.name for file in folder.iterdir()] == [LOG_FILE]
    assert b"the log of a crash" in (folder / LOG_FILE).read_bytes()


def test_no_result_and_a_result_elsewhere_are_crashes(tmp_path: Path, worker: Worker) -> None:
    for mode, why in (("silent", "no readable"), ("escape", "outside its folder")):
        ended, _ = run(make_executor(tmp_path, worker(mode)))
        assert isinstance(ended, Crashed)
        assert why in ended.reason


@pytest.mark.parametrize("mode", ["hang", "hang-stubborn"])
def test_a_stop_ends_the_worker_and_its_children(tmp_path: Path, worker: Worker, mode: str) -> None:
    stop = threading.Event()
    executor = make_executor(tmp_path, worker(mode), grace_s=0.3)

    def stop_when_training(event: WorkerEvent) -> None:
        if event.stage == "train":
            stop.set()

    ended = executor.run(SPEC, on_event=stop_when_training, stop=stop)
    assert ended == Interrupted()
    assert not is_alive(int((tmp_path / "jobs" / "child").read_text()))


def test_a_worker_over_the_time_limit_is_ended_and_refused(tmp_path: Path, worker: Worker) -> None:
    ended, _ = run(make_executor(tmp_path, worker("hang"), time_limit_s=0.5, grace_s=0.3))
    assert isinstance(ended, Refused)
    assert "job_time_limit_s = 0.5" in ended.reason


def test_a_failing_listener_leaves_no_worker_behind(tmp_path: Path, worker: Worker) -> None:
    def fail(event: WorkerEvent) -> None:
        if event.stage == "train":
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - it is the listener's own
        make_executor(tmp_path, worker("hang")).run(SPEC, on_event=fail, stop=threading.Event())
    assert not is_alive(int((tmp_path / "jobs" / "child").read_text()))


def test_a_job_starts_in_an_empty_folder(tmp_path: Path, worker: Worker) -> None:
    executor = make_executor(tmp_path, worker("silent"))
    folder = executor.folder_of("job-1")
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{}")
    ended, _ = run(executor)
    assert isinstance(ended, Crashed)
    assert not (folder / "result.json").exists()


def test_what_a_killed_trainer_left_behind_is_removed_but_not_the_logs(
    tmp_path: Path, worker: Worker
) -> None:
    executor = make_executor(tmp_path, worker("good"))
    run(executor)
    log_only = executor.folder_of("failed-one")
    log_only.mkdir()
    (log_only / LOG_FILE).touch()
    executor.clean_interrupted()
    assert not executor.folder_of("job-1").exists()
    assert log_only.exists()


def test_a_worker_that_cannot_be_started_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-such-program"):
        run(make_executor(tmp_path, [os.fspath(tmp_path / "no-such-program")]))
