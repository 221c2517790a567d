from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sprout_agent.memory.database import Database, open_database


@pytest.fixture
def database_file(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


@pytest.fixture
def database(database_file: Path) -> Iterator[Database]:
    with open_database(database_file) as database:
        yield database
