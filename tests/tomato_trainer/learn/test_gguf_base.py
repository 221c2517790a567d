from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize

from sprout_link.gguf_header import sha256_of
from tomato_trainer.errors import JobError
from tomato_trainer.learn.gguf_base import Base, load_base


def test_the_weights_are_the_dequantised_ones_of_the_file(
    tiny_path: Path, fresh_base: Callable[[], Base]
) -> None:
    tensors = {t.name: t for t in GGUFReader(tiny_path).tensors}
    found = fresh_base().model.model.layers[1].mlp.down_proj.weight
    stored = tensors["blk.1.ffn_down.weight"]
    expected = torch.tensor(dequantize(stored.data, stored.tensor_type))
    assert found.dtype == torch.float32
    assert not found.requires_grad
    torch.testing.assert_close(found.data, expected)


def test_a_cached_base_is_not_converted_again(
    tiny_path: Path, tmp_path: Path, fresh_base: Callable[[], Base]
) -> None:
    sha256 = sha256_of(tiny_path)
    load_base(tiny_path, sha256=sha256, cache_folder=tmp_path)
    written = (tmp_path / sha256 / "model.safetensors").stat().st_mtime_ns
    again = load_base(tiny_path, sha256=sha256, cache_folder=tmp_path)
    assert (tmp_path / sha256 / "model.safetensors").stat().st_mtime_ns == written
    tokens = torch.tensor([[5, 9, 40, 3]])
    with torch.no_grad():
        expected = fresh_base().model(tokens).logits
        torch.testing.assert_close(again.model(tokens).logits, expected)


@pytest.mark.parametrize("damage", ["cut", "no record", "no tokenizer", "broken record"])
def test_a_half_written_cache_is_made_again(
    tiny_path: Path, tiny_cache: Path, fresh_base: Callable[[], Base], tmp_path: Path, damage: str
) -> None:
    fresh_base()
    sha256 = sha256_of(tiny_path)
    entry = tmp_path / sha256
    shutil.copytree(tiny_cache / sha256, entry)
    weights = entry / "model.safetensors"
    size = weights.stat().st_size
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "no record":
        (entry / "complete.json").unlink()
    elif damage == "no tokenizer":
        (entry / "tokenizer.json").unlink()
    else:
        (entry / "complete.json").write_text("{")
    load_base(tiny_path, sha256=sha256, cache_folder=tmp_path)
    assert weights.stat().st_size == size
    assert (entry / "tokenizer.json").exists()
    assert [p.name for p in tmp_path.iterdir()] == [sha256]


def test_what_a_killed_conversion_left_is_removed_once_it_is_old(
    tiny_path: Path, tmp_path: Path
) -> None:
    sha256 = sha256_of(tiny_path)
    old, young = tmp_path / f".{sha256[:12]}.old", tmp_path / f".{sha256[:12]}.young"
    old.mkdir()
    young.mkdir()
    os.utime(old, (1_000_000, 1_000_000))
    load_base(tiny_path, sha256=sha256, cache_folder=tmp_path)
    assert not old.exists()
    assert young.exists()


def test_another_file_than_the_device_runs_is_refused(tiny_path: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="its SHA-256 is"):
        load_base(tiny_path, sha256="0" * 64, cache_folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_or_damaged_file_is_refused(tiny_path: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_path.read_bytes()[:50_000])
    for path in (cut, tmp_path / "none.gguf"):
        with pytest.raises(JobError, match="the base cannot be used"):
            load_base(path, sha256="0" * 64, cache_folder=tmp_path / "bases")
