"""Messages as devices send them."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone

from sprout_link.messages import DeviceProfile, Memory, MemoryBatch

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)
SESSION = "01890a5d-ac96-774b-bcce-b302099a8057"


def make_memory(sequence: int, text: str = "My cat is called Miso.", **more) -> Memory:
    """A memory whose id follows from its number."""
    values = {
        "memory_id": f"01890a5d-ac96-774b-bcce-{sequence:012x}",
        "sequence": sequence,
        "text": text,
        "said_at": NOW,
        "session": SESSION,
        "salience": 0.8,
        "salience_parts": {"fact": 0.8},
    }
    return Memory(**(values | more))


def make_profile(base_sha256: str = "a" * 64) -> DeviceProfile:
    return DeviceProfile(
        base_sha256=base_sha256,
        architecture="llama",
        runtime="llama-cpp",
        runtime_version="0.3.36",
        platform="x86_64-linux",
        system_prompt="You are Sprout.",
    )


def make_batch(*memories: Memory, device: str = "kit", **more) -> MemoryBatch:
    values = {
        "device": device,
        "batch_id": str(uuid.uuid4()),
        "sent_at": NOW,
        "profile": make_profile(),
        "memories": list(memories) or [make_memory(1)],
    }
    return MemoryBatch(**(values | more))
