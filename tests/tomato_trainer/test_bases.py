from __future__ import annotations

from pathlib import Path

import pytest

from sprout_link.gguf_header import sha256_of
from tests.tiny_model import make_tiny_gguf
from tomato_trainer.bases import Bases
from tomato_trainer.errors import JobError


def test_a_base_is_found_by_its_hash_and_unusable_files_are_passed_over(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    base = tmp_path / "base.gguf"
    make_tiny_gguf(base)
    bases = Bases([broken, tmp_path / "missing.gguf", base])
    assert bases.find(sha256_of(base)) == base


def test_an_unknown_base_names_what_the_device_runs_and_what_there_is(tmp_path: Path) -> None:
    base = tmp_path / "base.gguf"
    make_tiny_gguf(base)
    with pytest.raises(JobError) as caught:
        Bases([base]).find("f" * 64)
    assert "f" * 64 in str(caught.value)
    assert sha256_of(base) in str(caught.value)


def test_no_base_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="none is configured"):
        Bases([]).find("f" * 64)
