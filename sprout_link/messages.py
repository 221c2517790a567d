"""The messages on the wire: frozen structs, versioned, decoded within bounds.

Everything is JSON, for people with `mosquitto_sub`, except a chunk's reply, which is
MessagePack because it carries bytes. A receiver refuses unknown fields: a newer sender
raises `version` instead of slipping something past an older receiver.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from sprout_link.errors import MessageError

VERSION: Final = 1

CHUNK_BYTES: Final = 256 * 1024
"""Bytes of a file in one chunk; the fastest size through paho and mosquitto."""

MAX_TEXT_CHARS: Final = 8_000
"""Longest text of one memory, in characters."""

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Longest payload that is decoded at all; a full batch of long memories fits."""

MAX_BATCH_MEMORIES: Final = 256
"""Most memories in one batch; with `MAX_TEXT_CHARS` of any script it stays below 4 MiB
only in sum, so the outbox also bounds a batch by bytes."""

DeviceName = Annotated[str, Meta(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Identifier = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Count = Annotated[int, Meta(ge=0)]
ShortText = Annotated[str, Meta(max_length=2_000)]

Source = Literal["said", "confirmed", "corrected"]
ArtifactKind = Literal["gguf-adapter"]
JobState = Literal["queued", "running", "published", "failed", "cancelled"]
Stage = Literal["prepare", "train", "evaluate", "export", "publish"]


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every message has: the version of this file's contract."""

    version: Literal[1] = VERSION


class Memory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing the user said that is worth keeping. Never recalled or generated text."""

    memory_id: Identifier
    """UUIDv7."""
    sequence: Annotated[int, Meta(ge=1)]
    """The device's own running number, without gaps."""
    speaker: Literal["user"] = "user"
    text: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARS)]
    said_at: datetime
    """With time zone."""
    session: Identifier
    salience: Fraction
    salience_parts: dict[str, Fraction]
    source: Source = "said"
    supersedes: Identifier | None = None


class DeviceProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the trainer must know of a device to make something that fits it."""

    base_sha256: Sha256
    """Of the whole GGUF file that the device runs."""
    architecture: Annotated[str, Meta(max_length=64)]
    """`general.architecture` of that file."""
    runtime: Annotated[str, Meta(max_length=64)]
    """For instance `llama-cpp`."""
    runtime_version: Annotated[str, Meta(max_length=64)]
    platform: Annotated[str, Meta(max_length=128)]
    """Machine and operating system, for instance `aarch64-linux`."""
    wants: ArtifactKind = "gguf-adapter"
    system_prompt: ShortText
    """The system prompt of every conversation: what is learned must hold under it."""


class MemoryBatch(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Memories on their way up. The same batch id is sent again until it is acknowledged."""

    device: DeviceName
    batch_id: Identifier
    sent_at: datetime
    profile: DeviceProfile
    memories: Annotated[list[Memory], Meta(min_length=1, max_length=MAX_BATCH_MEMORIES)]


class BatchAck(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The trainer has this batch in its ledger, or says why it will never take it."""

    device: DeviceName
    batch_id: Identifier
    stored: Count
    """Memories that were new."""
    known: Count
    """Memories that the ledger held already."""
    refused: ShortText | None = None


class Offer(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Retained nudge: the trust repository has something newer. Nothing in it is trusted."""

    device: DeviceName
    timestamp_version: Annotated[int, Meta(ge=1)]
    published_at: datetime


class JobProgress(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Retained: where the device's newest training job stands."""

    device: DeviceName
    job_id: Identifier
    state: JobState
    stage: Stage | None = None
    step: Count = 0
    steps: Count = 0
    loss: float | None = None
    """Mean cross-entropy of the last step, nats per token."""
    remaining_s: float | None = None
    message: ShortText = ""


class Report(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the device did with an artifact, and why."""

    device: DeviceName
    artifact: Sha256
    outcome: Literal["installed", "refused", "rolled-back"]
    reasons: list[ShortText]
    figures: dict[str, float]
    reported_at: datetime


class DeviceState(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Retained, and the last will: is the device there, and what does it run."""

    device: DeviceName
    online: bool
    base_sha256: Sha256 | None = None
    active_artifact: Sha256 | None = None
    waiting: Count = 0
    """Memories that are promoted and not yet acknowledged."""


class ChunkRequest(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Asks any trainer for a part of a file in the trust repository."""

    path: Annotated[str, Meta(min_length=1, max_length=512)]
    """Relative, with `/`: `metadata/timestamp.json`, `targets/…`."""
    offset: Count
    size: Annotated[int, Meta(ge=1, le=CHUNK_BYTES)]


class ChunkReply(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a file, or why there is none."""

    path: Annotated[str, Meta(max_length=512)]
    offset: Count
    total_bytes: Count
    data: Annotated[bytes, Meta(max_length=CHUNK_BYTES)] = b""
    error: Literal["not-found", "bad-request"] | None = None


T = TypeVar("T", bound=Message)

_json_encoder = msgspec.json.Encoder()
_binary_encoder = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """Bytes of `message` for its topic."""
    if isinstance(message, ChunkReply):
        return _binary_encoder.encode(message)
    return _json_encoder.encode(message)


def decode(payload: bytes, expected: type[T], *, max_bytes: int = MAX_MESSAGE_BYTES) -> T:
    """Read a payload as `expected`.

    Raises:
        MessageError: it is longer than `max_bytes`, malformed, or of another version. The
            message names the field, and never repeats its content.
    """
    if len(payload) > max_bytes:
        raise MessageError(
            f"a {expected.__name__} of {len(payload)} bytes is over the limit of {max_bytes}"
        )
    try:
        if expected is ChunkReply:
            return msgspec.msgpack.decode(payload, type=expected)
        return msgspec.json.decode(payload, type=expected)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        detail = str(error) if isinstance(error, msgspec.ValidationError) else "malformed"
        raise MessageError(f"not a {expected.__name__} of version {VERSION}: {detail}") from error
