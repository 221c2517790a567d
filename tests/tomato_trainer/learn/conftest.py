"""A tiny base and a job over it, shared by the tests of learning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sprout_link.gguf_header import sha256_of
from tests.tiny_model import make_tiny_gguf
from tomato_trainer.learn.gguf_base import Base, load_base


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bases")


@pytest.fixture
def fresh_base(tiny_path: Path, tiny_cache: Path) -> Callable[[], Base]:
    """Load the tiny base anew; an adapter changes a base in place."""
    sha256 = sha256_of(tiny_path)
    return lambda: load_base(tiny_path, sha256=sha256, cache_folder=tiny_cache)
