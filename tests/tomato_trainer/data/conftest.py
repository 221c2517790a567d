"""Memories for the tests of this package."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

import pytest

from sprout_link.messages import Memory


@pytest.fixture
def remember() -> Callable[..., Memory]:
    """Make a memory of a text, with a sequence number."""

    def make(text: str, sequence: int = 1, supersedes: str | None = None) -> Memory:
        return Memory(
            memory_id=f"00000000-0000-7000-8000-{sequence:012d}",
            sequence=sequence,
            text=text,
            said_at=datetime(2026, 1, 2, tzinfo=timezone.utc),
            session="00000000-0000-7000-8000-00000000ffff",
            salience=0.8,
            salience_parts={},
            supersedes=supersedes,
        )

    return make
