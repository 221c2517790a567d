"""Runs one job's worker as a process of its own, and ends it whatever happens.

The worker gets a process group, so that its children end with it, and a standard input
that closes with us, so that it notices when we are killed. The job's folder holds what the
user said: it is made readable by its owner alone and emptied when the job ends.
"""

from __future__ import annotations

import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

import msgspec

from sprout_link.files import write_durably
from tomato_trainer.job_files import (
    EXIT_JOB_ERROR,
    EXIT_OK,
    JOB_FILE,
    RESULT_FILE,
    JobResult,
    JobSpec,
    WorkerEvent,
    read_result,
)
from tomato_trainer.jobs import Crashed, Interrupted, Refused

_log = logging.getLogger(__name__)

WORKER: Final = (sys.executable, "-m", "tomato_trainer.worker")
LOG_FILE: Final = "worker.log"
"""What the worker wrote to its standard error, beside the job; it may hold memory text."""

MAX_LINE_BYTES: Final = 64 * 1024
MAX_RESULT_BYTES: Final = 16 * 1024 * 1024
_KEPT_LOG_BYTES: Final = 16 * 1024
_POLL_S: Final = 0.05

OnEvent = Callable[[WorkerEvent], None]


class Executor:
    """Starts workers, one at a time.

    Args:
        jobs_folder: where each job gets a folder of its own.
        time_limit_s: a worker that takes longer is ended and its job refused.
        keep_files: leave a job's folder as it is when it ends, to look into it.
        command: what is run, with the folder as its last argument.
        grace_s: seconds between asking a worker to end and killing it.
    """

    def __init__(
        self,
        jobs_folder: Path,
        *,
        time_limit_s: float,
        keep_files: bool = False,
        command: Sequence[str] = WORKER,
        grace_s: float = 2.0,
    ) -> None:
        self._jobs_folder = jobs_folder
        self._time_limit_s = time_limit_s
        self._keep_files = keep_files
        self._command = tuple(command)
        self._grace_s = grace_s

    def run(
        self, spec: JobSpec, *, on_event: OnEvent, stop: threading.Event
    ) -> JobResult | Refused | Crashed | Interrupted:
        """Run the worker of `spec` to its end; call `clean` once its result was used.

        Raises:
            OSError: the job's folder cannot be written, or the worker cannot be started.
        """
        folder = self._fresh_folder(spec)
        with (folder / LOG_FILE).open("wb") as log:
            process = subprocess.Popen(
                [*self._command, str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        _log.info("a worker started", extra={"job": spec.job_id, "pid": process.pid})
        with process:
            try:
                return self._follow(process, folder, on_event, stop)
            except BaseException:
                _signal_group(process.pid, signal.SIGKILL)
                raise

    def folder_of(self, job_id: str) -> Path:
        """Where a job's files are."""
        return self._jobs_folder / job_id

    def clean(self, job_id: str, *, failed: bool) -> None:
        """Remove what the job's folder holds; of a failed job the end of the log stays."""
        if self._keep_files:
            return
        folder = self.folder_of(job_id)
        log = _tail(folder / LOG_FILE) if failed else b""
        shutil.rmtree(folder, ignore_errors=True)
        if log:
            folder.mkdir(mode=0o700, parents=True)
            write_durably(folder / LOG_FILE, log)

    def clean_interrupted(self) -> None:
        """Remove what jobs left behind when the trainer was killed."""
        if self._keep_files or not self._jobs_folder.is_dir():
            return
        for folder in self._jobs_folder.iterdir():
            if (folder / JOB_FILE).exists():
                shutil.rmtree(folder, ignore_errors=True)

    def _fresh_folder(self, spec: JobSpec) -> Path:
        folder = self.folder_of(spec.job_id)
        if folder.exists():
            shutil.rmtree(folder)  # nothing of an interrupted try is ever used
        folder.mkdir(mode=0o700, parents=True)
        write_durably(folder / JOB_FILE, msgspec.json.encode(spec))
        return folder

    def _follow(
        self,
        process: subprocess.Popen[bytes],
        folder: Path,
        on_event: OnEvent,
        stop: threading.Event,
    ) -> JobResult | Refused | Crashed | Interrupted:
        lines: queue.Queue[WorkerEvent] = queue.Queue()
        reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
        reader.start()
        deadline = time.monotonic() + self._time_limit_s
        error: str | None = None
        ended: Interrupted | Refused | None = None
        while not _has_exited(process.pid):
            error = _drain(lines, on_event, error)
            if stop.is_set():
                ended = Interrupted()
            elif time.monotonic() > deadline:
                ended = Refused(
                    f"it ran longer than job_time_limit_s = {self._time_limit_s:g} allows"
                )
            if ended is not None:
                self._terminate(process)
                break
        # The worker is not reaped yet, so its group's number is still its own.
        _signal_group(process.pid, signal.SIGKILL)
        status = process.wait()
        reader.join(self._grace_s)
        error = _drain(lines, on_event, error, wait=False)
        return ended or _judge(status, error, folder)

    def _terminate(self, process: subprocess.Popen[bytes]) -> None:
        _signal_group(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + self._grace_s
        while not _has_exited(process.pid) and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def _judge(status: int, error: str | None, folder: Path) -> JobResult | Refused | Crashed:
    if status == EXIT_JOB_ERROR and error is not None:
        return Refused(error)
    if status != EXIT_OK:
        what = f"signal {-status}" if status < 0 else f"status {status}"
        return Crashed(f"the worker ended with {what}; the end of its log is {folder / LOG_FILE}")
    try:
        if (folder / RESULT_FILE).stat().st_size > MAX_RESULT_BYTES:
            return Crashed(f"the worker's result is over {MAX_RESULT_BYTES} bytes")
        result = read_result(folder)
    except (OSError, msgspec.DecodeError) as problem:
        return Crashed(f"the worker left no readable {RESULT_FILE}: {type(problem).__name__}")
    if not (folder / result.adapter_file).resolve().is_relative_to(folder.resolve()):
        return Crashed("the worker names a file outside its folder")
    return result


def _read(stream: IO[bytes] | None, lines: queue.Queue[WorkerEvent]) -> None:
    while stream is not None and (line := stream.readline(MAX_LINE_BYTES)):
        # Libraries print to standard output as well; only events count.
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            lines.put(msgspec.json.decode(line, type=WorkerEvent))


def _drain(
    lines: queue.Queue[WorkerEvent], on_event: OnEvent, error: str | None, *, wait: bool = True
) -> str | None:
    """Pass on what has come; the last error among it, or the one before."""
    with suppress(queue.Empty):
        worker_event = lines.get(timeout=_POLL_S) if wait else lines.get_nowait()
        while True:
            error = worker_event.error or error
            on_event(worker_event)
            worker_event = lines.get_nowait()
    return error


def _has_exited(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _KEPT_LOG_BYTES))
            return file.read(_KEPT_LOG_BYTES)
    except OSError:
        return b""
