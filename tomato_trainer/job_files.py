"""The files between the service and its worker process: `job.json` in, `result.json` out.

A job has a folder of its own. The service writes `job.json`, starts
`python -m tomato_trainer.worker FOLDER`, and reads one JSON `WorkerEvent` a line from its
standard output. A worker that ends with 0 has written `result.json` and the file it names;
one that ends with 2 has said why in its last event's `error`; anything else is a crash.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from sprout_link.artifact import Proof
from sprout_link.messages import DeviceProfile, Memory, Stage

JOB_FILE: Final = "job.json"
RESULT_FILE: Final = "result.json"
ADAPTER_FILE: Final = "adapter.gguf"
EXIT_OK: Final = 0
EXIT_JOB_ERROR: Final = 2


class JobSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker is to do."""

    job_id: str
    device: str
    profile: DeviceProfile
    base_path: str
    """The GGUF file whose hash is the profile's `base_sha256`."""
    cache_folder: str
    """Where bases that were converted once are kept, by hash."""
    memories: list[Memory]
    """Everything that the device's ledger holds, by sequence."""
    method: str
    recipe: dict[str, float] = {}
    """Settings of the recipe that differ from its defaults."""
    threads: int = 0
    """Threads of torch; 0 leaves the choice to it."""


class WorkerEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of a worker's standard output."""

    stage: Stage
    step: int = 0
    steps: int = 0
    loss: float | None = None
    remaining_s: float | None = None
    message: str = ""
    error: str | None = None


class JobResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker made."""

    adapter_file: str
    adapter_sha256: str
    size_bytes: int
    architecture: str
    method: str
    recipe: dict[str, str]
    lineage: str
    """SHA-256 of the training set's manifest, hex."""
    memory_ids: list[str]
    figures: dict[str, float]
    """Among them `recall_held_out`, `recall_held_out_base`, `kl_general`, `perplexity_ratio`."""
    proofs: list[Proof]
    stage_seconds: dict[str, float]


def read_spec(folder: Path) -> JobSpec:
    """The job that `folder` describes."""
    return msgspec.json.decode((folder / JOB_FILE).read_bytes(), type=JobSpec)


def read_result(folder: Path) -> JobResult:
    """What the worker of `folder` made."""
    return msgspec.json.decode((folder / RESULT_FILE).read_bytes(), type=JobResult)
