"""The manifest that travels with an artifact, as a TUF target's `custom` field."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from sprout_link.errors import MessageError
from sprout_link.messages import ArtifactKind, Count, DeviceName, Identifier, Sha256, ShortText

MAX_ARTIFACT_BYTES: Final = 2 * 1024**3
"""Largest artifact that a device starts to download."""


class Proof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prompt whose answer must become likelier once the artifact is really applied."""

    prompt: ShortText
    """The user's turn, under the profile's system prompt."""
    answer: ShortText
    shift: float
    """Rise of the answer's mean log-probability per token over the base, in nats, as the
    trainer saw it. A device that sees less than half of it has not applied the artifact."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an artifact is, what it needs and where it comes from. Signed with the target."""

    version: Literal[1] = 1
    kind: ArtifactKind
    device: DeviceName
    artifact: Sha256
    """Of the artifact file, its identity everywhere."""
    size_bytes: Annotated[int, Meta(ge=1, le=MAX_ARTIFACT_BYTES)]
    base_sha256: Sha256
    architecture: Annotated[str, Meta(max_length=64)]
    runtime: Annotated[str, Meta(max_length=64)]
    method: Annotated[str, Meta(max_length=64)]
    recipe: dict[str, str]
    """The recipe's settings as text, enough to train it again."""
    parent: Sha256 | None = None
    """The artifact that it was trained from; none for a rebuild from the base."""
    lineage: Sha256
    """Hash of the training set's manifest."""
    memory_ids: list[Identifier]
    figures: dict[str, float]
    proofs: Annotated[list[Proof], Meta(min_length=1, max_length=16)]
    vocabulary_version: Count
    job_id: Identifier
    created_at: datetime


def target_path(device: str) -> str:
    """Path of the one target that a device's delegated role signs: its current artifact."""
    return f"{device}/current"


def role_name(device: str) -> str:
    """Name of the TUF role that is delegated to a device."""
    return f"device-{device}"


def to_custom(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain JSON values, for TUF metadata."""
    values: dict[str, Any] = msgspec.to_builtins(manifest)
    # TUF's canonical JSON has no floating point numbers, so they travel as text.
    values["figures"] = {name: repr(value) for name, value in manifest.figures.items()}
    for proof in values["proofs"]:
        proof["shift"] = repr(proof["shift"])
    return values


def from_custom(values: Mapping[str, Any]) -> Manifest:
    """Read a manifest from TUF metadata whose signature was already verified.

    Raises:
        MessageError: a field is missing, unknown or out of range.
    """
    try:
        return msgspec.convert(values, Manifest, strict=False)
    except (msgspec.ValidationError, RecursionError) as error:
        raise MessageError(f"not a manifest of version 1: {error}") from error
