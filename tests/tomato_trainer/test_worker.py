from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import pytest

from sprout_link.gguf_header import read_header, sha256_of
from sprout_link.messages import DeviceProfile, Memory
from tests.tiny_model import make_tiny_gguf
from tomato_trainer.job_files import (
    EXIT_JOB_ERROR,
    EXIT_OK,
    JOB_FILE,
    RESULT_FILE,
    JobSpec,
    WorkerEvent,
    read_result,
)
from tomato_trainer.worker import work

MakeJob = Callable[..., Path]
QUICK = {"rank": 4.0, "alpha": 8.0, "max_steps": 3.0, "min_steps": 1.0}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture
def make_job(tiny: Path, tmp_path: Path) -> MakeJob:
    """Write a job's folder."""

    def make(
        *texts: str,
        base: Path = tiny,
        base_sha256: str = "",
        method: str = "lora",
        recipe: dict[str, float] | None = None,
        cache: Path | None = None,
    ) -> Path:
        folder = tmp_path / "job"
        folder.mkdir()
        spec = JobSpec(
            job_id="00000000-0000-7000-8000-000000000001",
            device="d1",
            profile=DeviceProfile(
                base_sha256=base_sha256 or sha256_of(base),
                architecture="llama",
                runtime="llama-cpp",
                runtime_version="0",
                platform="x86_64-linux",
                system_prompt="You are Sprout, a helpful assistant.",
            ),
            base_path=str(base),
            cache_folder=str(cache or tmp_path / "bases"),
            memories=[
                Memory(
                    memory_id=f"00000000-0000-7000-8000-{i:012d}",
                    sequence=i,
                    text=text,
                    said_at=datetime(2026, 1, 2, tzinfo=timezone.utc),
                    session="00000000-0000-7000-8000-00000000ffff",
                    salience=0.8,
                    salience_parts={},
                )
                for i, text in enumerate(texts or ("My robot is called Quibble.",), start=1)
            ],
            method=method,
            recipe=QUICK if recipe is None else recipe,
            threads=2,
        )
        (folder / JOB_FILE).write_bytes(msgspec.json.encode(spec))
        return folder

    return make


def _events(output: bytes) -> list[WorkerEvent]:
    return [msgspec.json.decode(line, type=WorkerEvent) for line in output.splitlines()]


def _run(folder: Path, timeout_s: float) -> subprocess.CompletedProcess[bytes]:
    """Run a worker to its end; its standard input is no pipe, whose end would end it."""
    return subprocess.run(
        [sys.executable, "-m", "tomato_trainer.worker", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )


def _start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tomato_trainer.worker", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_job_becomes_an_adapter_and_a_result(make_job: MakeJob) -> None:
    folder = make_job("My robot is called Quibble.", "🎉", "I live in Ghent.")
    done = _run(folder, 240)
    assert done.returncode == EXIT_OK, done.stderr.decode()
    events = _events(done.stdout)
    assert [e.stage for e in events if e.message] == [
        "prepare", "train", "train", "evaluate", "export", "export",
    ]  # fmt: skip
    steps = [e for e in events if e.stage == "train" and e.step]
    assert [e.step for e in steps] == [1, 2, 3]
    assert all(e.loss is not None and e.remaining_s is not None and e.steps == 3 for e in steps)
    result = read_result(folder)
    adapter = folder / result.adapter_file
    assert sha256_of(adapter) == result.adapter_sha256
    assert adapter.stat().st_size == result.size_bytes
    assert read_header(adapter).strings["adapter.type"] == "lora"
    assert [i[-1] for i in result.memory_ids] == ["1", "3"]
    assert result.figures["memories_skipped"] == 1
    assert {"router_recall", "router_false_general", "router_false_near"} <= set(result.figures)
    assert {"recall_held_out", "recall_held_out_base", "kl_general", "perplexity_ratio"} <= set(
        result.figures
    )
    assert result.recipe["rank"] == "4"
    assert result.proofs
    assert set(result.stage_seconds) == {"prepare", "train", "evaluate", "export"}
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        ({"method": "dora"}, "'dora' is unknown"),
        ({"recipe": {"colour": 1.0}}, "colour is unknown"),
        ({"base_sha256": "0" * 64}, "the device runs 000000000000…"),
        ({"base": Path("/no/such.gguf"), "base_sha256": "0" * 64}, "there is no such model file"),
    ],
)
def test_a_job_that_cannot_be_done_says_why(
    make_job: MakeJob, mistake: dict[str, object], says: str
) -> None:
    folder = make_job(**mistake)
    events: list[WorkerEvent] = []
    assert work(folder, events.append) == EXIT_JOB_ERROR
    assert says in (events[-1].error or "")
    assert not (folder / RESULT_FILE).exists()


def test_memories_with_nothing_to_learn_are_refused(make_job: MakeJob) -> None:
    events: list[WorkerEvent] = []
    assert work(make_job("🎉", "Really?"), events.append) == EXIT_JOB_ERROR
    assert "none of the 2 memories holds a sentence" in (events[-1].error or "")


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff\xfe"])
def test_a_missing_or_broken_job_file_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / JOB_FILE).write_bytes(content)
    events: list[WorkerEvent] = []
    assert work(tmp_path, events.append) == EXIT_JOB_ERROR
    assert "job.json" in (events[-1].error or "")


@pytest.mark.parametrize("ending", ["a signal", "the service's death"])
def test_a_worker_ends_early_without_leaving_half_a_result(make_job: MakeJob, ending: str) -> None:
    folder = make_job(recipe={"max_steps": 5_000.0, "min_steps": 5_000.0})
    with _start(folder) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            if msgspec.json.decode(line, type=WorkerEvent).step:
                break
        if ending == "a signal":
            process.send_signal(signal.SIGTERM)
        else:
            process.stdin.close()
            process.stdin = None
        process.stdout.read()
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert not (folder / RESULT_FILE).exists()


def test_a_worker_without_a_pipe_ends_with_its_parent(make_job: MakeJob) -> None:
    folder = make_job(recipe={"max_steps": 5_000.0, "min_steps": 5_000.0})
    parent = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', "
        "'tomato_trainer.worker', sys.argv[1]], stdin=subprocess.DEVNULL, "
        "stdout=subprocess.PIPE); p.stdout.readline(); print(p.pid, flush=True); "
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        worker = os.pidfd_open(int(process.stdout.readline()))
        process.communicate(timeout=30)
    ended, _, _ = select.select([worker], [], [], 60)
    os.close(worker)
    assert ended
