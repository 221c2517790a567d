"""A real trust repository, real GGUF files and a device, all in one process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import gguf
import numpy as np
import pytest

from sprout_link.artifact import Manifest, Proof
from sprout_link.messages import DeviceProfile
from sprout_link.router import KEY_LAYER, Router, to_metadata
from tomato_trainer.publish import Publisher

DEVICE = "sprout-1"
NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher.create(tmp_path / "trainer")


@pytest.fixture(scope="session")
def base_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_embedding_length(16)
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.zeros((32, 16), np.float32))
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((24, 16), np.float32))
    writer.add_tensor("blk.0.attn_norm.weight", np.zeros(16, np.float32))
    _write(writer)
    return path


@pytest.fixture
def make_adapter(tmp_path: Path) -> Callable[..., Path]:
    def make(
        name: str = "adapter",
        *,
        kind: str = "adapter",
        method: str = "lora",
        architecture: str = "llama",
        alpha: float = 8.0,
        tensors: dict[str, np.ndarray] | None = None,
        seed: int = 0,
        router: Router | None = None,
    ) -> Path:
        path = tmp_path / f"{name}.gguf"
        writer = gguf.GGUFWriter(str(path), architecture)
        writer.add_type(kind)
        writer.add_string("adapter.type", method)
        writer.add_float32("adapter.lora.alpha", alpha)
        if router is not None:
            writer.add_uint32(KEY_LAYER, router.layer)
            for key, numbers in to_metadata(router).items():
                writer.add_array(key, numbers)
        noise = np.random.default_rng(seed)
        if tensors is None:
            # NumPy's order is the reverse of GGUF's: a is (rank, in), b is (out, rank).
            tensors = {
                "blk.0.attn_q.weight.lora_a": noise.normal(size=(4, 16)).astype(np.float16),
                "blk.0.attn_q.weight.lora_b": noise.normal(size=(24, 4)).astype(np.float32),
            }
        for tensor_name, values in tensors.items():
            writer.add_tensor(tensor_name, values)
        _write(writer)
        return path

    return make


@pytest.fixture
def make_manifest(base_path: Path) -> Callable[..., Manifest]:
    def make(file: Path, **changes: object) -> Manifest:
        data = file.read_bytes()
        values: dict[str, object] = {
            "kind": "gguf-adapter",
            "device": DEVICE,
            "artifact": hashlib.sha256(data).hexdigest(),
            "size_bytes": len(data),
            "base_sha256": hashlib.sha256(base_path.read_bytes()).hexdigest(),
            "architecture": "llama",
            "runtime": "llama-cpp",
            "method": "lora",
            "recipe": {"rank": "4"},
            "lineage": "1" * 64,
            "memory_ids": ["01890000-0000-7000-8000-000000000001"],
            "figures": {"recall_held_out": 0.9},
            "proofs": [Proof(prompt="Where is the key?", answer="Under the pot.", shift=3.0)],
            "vocabulary_version": 1,
            "job_id": "01890000-0000-7000-8000-000000000002",
            "created_at": NOW,
        }
        return Manifest(**{**values, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def profile(base_path: Path) -> DeviceProfile:
    return DeviceProfile(
        base_sha256=hashlib.sha256(base_path.read_bytes()).hexdigest(),
        architecture="llama",
        runtime="llama-cpp",
        runtime_version="1",
        platform="x86_64-linux",
        system_prompt="You are Sprout.",
    )


def _write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
