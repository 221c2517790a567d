"""A rig in the test's own folder, whose processes never outlive the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.rig import Rig, free_port


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path, free_port())
    try:
        yield made
    finally:
        made.close()
