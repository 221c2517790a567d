"""One training job in a process of its own: `python -m tomato_trainer.worker FOLDER`.

Reads the folder's `job.json`, writes one JSON event a line to standard output, and leaves
`result.json` with the adapter, by the contract in `tomato_trainer.job_files`. Everything
that libraries print goes to standard error.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import msgspec

from sprout_link.files import write_durably
from sprout_link.messages import Stage
from tomato_trainer.errors import JobError
from tomato_trainer.job_files import (
    EXIT_JOB_ERROR,
    EXIT_OK,
    RESULT_FILE,
    JobResult,
    JobSpec,
    WorkerEvent,
    read_spec,
)

_PARENT_CHECK_S: Final = 1.0
_GRACE_S: Final = 10.0
"""Time to remove half-made files once the parent is gone."""

Emit = Callable[[WorkerEvent], None]


class StageTimes:
    """Emits the beginning of each stage and keeps how long it took, in seconds."""

    def __init__(self, emit: Emit) -> None:
        self.seconds: dict[str, float] = {}
        self.current: Stage = "prepare"
        self._emit = emit

    @contextmanager
    def stage(self, name: Stage, message: str) -> Iterator[None]:
        """Time a stage."""
        self.current = name
        self._emit(WorkerEvent(stage=name, message=message))
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 3)


def work(folder: Path, emit: Emit) -> int:
    """Do the job in `folder`; gives the process's exit status."""
    times = StageTimes(emit)
    try:
        result = _do(_spec_of(folder), folder, times, emit)
        write_durably(folder / RESULT_FILE, msgspec.json.encode(result))
    except JobError as error:
        emit(WorkerEvent(stage=times.current, error=str(error)))
        return EXIT_JOB_ERROR
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        emit(WorkerEvent(stage=times.current, error=f"{where}{error.strerror or error}"))
        return EXIT_JOB_ERROR
    except MemoryError:
        emit(WorkerEvent(stage=times.current, error="there is not enough memory for this job"))
        return EXIT_JOB_ERROR
    emit(WorkerEvent(stage=times.current, message="done"))
    return EXIT_OK


def _spec_of(folder: Path) -> JobSpec:
    try:
        return read_spec(folder)
    except FileNotFoundError as error:
        raise JobError(f"{folder}: there is no job.json in it") from error
    except msgspec.DecodeError as error:
        raise JobError(f"{folder}: its job.json cannot be read: {error}") from error


def _do(spec: JobSpec, folder: Path, times: StageTimes, emit: Emit) -> JobResult:
    with times.stage("prepare", "loading the base and restating the memories"):
        # Cheap checks first, so that a bad job fails before torch is loaded.
        from tomato_trainer.data.training_set import build_training_set
        from tomato_trainer.learn.recipes import recipe_for

        recipe = recipe_for(spec.method, spec.recipe)
        training_set = build_training_set(
            spec.memories, system_prompt=spec.profile.system_prompt, seed=recipe.seed
        )
        from tomato_trainer.learn.session import TrainingSession

        session = TrainingSession.open(spec, training_set, recipe)

    def progress(step: int, steps: int, loss: float, remaining_s: float) -> None:
        emit(WorkerEvent(stage="train", step=step, steps=steps, loss=loss, remaining_s=remaining_s))

    facts = "1 sentence" if training_set.facts == 1 else f"{training_set.facts} sentences"
    with times.stage("train", f"{facts}, {len(training_set.questions)} questions"):
        learned = session.train(progress)
        emit(WorkerEvent(stage="train", message="fitting the router"))
        fitted = session.fit_router()
    with times.stage("evaluate", "asking what was held out"):
        evaluation = session.evaluate()
    with times.stage("export", "writing the adapter"):
        adapter = session.export(folder, fitted.router)
    return JobResult(
        adapter_file=adapter.name,
        adapter_sha256=adapter.sha256,
        size_bytes=adapter.size_bytes,
        architecture=session.architecture,
        method=spec.method,
        recipe=recipe.as_text(),
        lineage=training_set.lineage,
        memory_ids=training_set.memory_ids,
        figures={
            **evaluation.figures,
            **fitted.figures(),
            "exact_share": learned.exact_share,
            "final_loss": learned.final_loss,
            "steps": float(learned.steps),
            "facts": float(training_set.facts),
            "questions": float(len(training_set.questions)),
            "memories_skipped": float(len(training_set.restated.skipped)),
        },
        proofs=evaluation.proofs,
        stage_seconds=times.seconds,
    )


def _own_stdout() -> Emit:
    """Events to the real standard output; whatever else is printed goes to standard error."""
    stream = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def emit(event: WorkerEvent) -> None:
        stream.write(msgspec.json.encode(event) + b"\n")

    return emit


def _end_with_parent() -> None:
    """Leave when the service is gone: nobody would read what is made here.

    A pipe on standard input tells it at once, by its end; otherwise the parent's id does.
    """
    parent = os.getppid()
    piped = stat.S_ISFIFO(os.fstat(0).st_mode)

    def watch() -> None:
        never = threading.Event()
        if piped:
            while os.read(0, 4096):
                pass
        else:
            while os.getppid() == parent:
                never.wait(_PARENT_CHECK_S)
        os.kill(os.getpid(), signal.SIGTERM)
        never.wait(_GRACE_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    # An exception, not the default action, so that half-made files are removed.
    raise SystemExit(128 + number)


def main() -> int:
    """Entry point of the worker process."""
    signal.signal(signal.SIGTERM, _on_signal)
    # Ctrl-C reaches the whole terminal group; the service ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    emit = _own_stdout()
    _end_with_parent()
    os.environ["HF_HUB_OFFLINE"] = "1"  # everything is local; no hub is ever asked
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # Waiting threads sleep: on a shared machine spinning slows everybody, this job too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if len(sys.argv) != 2:
        emit(WorkerEvent(stage="prepare", error="expected one argument: the job's folder"))
        return EXIT_JOB_ERROR
    try:
        return work(Path(sys.argv[1]), emit)
    except BrokenPipeError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
