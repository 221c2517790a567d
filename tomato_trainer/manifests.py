"""From what a worker made to the manifest that is signed with it. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from sprout_link.artifact import Manifest
from tomato_trainer.errors import JobError
from tomato_trainer.job_files import JobResult, JobSpec

VOCABULARY_VERSION: Final = 0
"""The notation's vocabulary is no part of what is trained yet."""


def manifest_of(spec: JobSpec, result: JobResult, *, now: datetime) -> Manifest:
    """The manifest of what the worker of `spec` made.

    Raises:
        JobError: the worker's result does not make a valid manifest.
    """
    if unknown := set(result.memory_ids) - {memory.memory_id for memory in spec.memories}:
        raise JobError(f"the worker names {len(unknown)} memories that it was not given")
    manifest = Manifest(
        kind=spec.profile.wants,
        device=spec.device,
        artifact=result.adapter_sha256,
        size_bytes=result.size_bytes,
        base_sha256=spec.profile.base_sha256,
        architecture=result.architecture,
        runtime=spec.profile.runtime,
        method=result.method,
        recipe=result.recipe,
        lineage=result.lineage,
        memory_ids=result.memory_ids,
        figures=result.figures,
        proofs=result.proofs,
        vocabulary_version=VOCABULARY_VERSION,
        job_id=spec.job_id,
        created_at=now,
    )
    try:
        return msgspec.convert(msgspec.to_builtins(manifest), Manifest)
    except msgspec.ValidationError as error:
        raise JobError(f"the worker's result makes no manifest: {error}") from error
