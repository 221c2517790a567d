"""LoRA factors as a GGUF adapter file that llama.cpp loads beside its base.

Format: https://github.com/ggml-org/llama.cpp/blob/master/convert_lora_to_gguf.py
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
from numpy.typing import NDArray

from sprout_link.files import sync_folder
from sprout_link.router import KEY_LAYER, Router, to_metadata
from tomato_trainer.errors import JobError
from tomato_trainer.learn.gguf_base import Base
from tomato_trainer.learn.lora import LoraPair

Precision = Literal["f16", "f32"]


def write_adapter(
    path: Path,
    pairs: Sequence[LoraPair],
    *,
    base: Base,
    alpha: float,
    precision: Precision = "f16",
    router: Router | None = None,
) -> None:
    """Write an adapter; `path` appears whole or not at all.

    Args:
        path: in a folder that exists.
        pairs: factors by module name, as transformers names them.
        base: what they belong to; its head counts decide how q and k are permuted.
        alpha: LoRA's alpha; llama.cpp scales by alpha over rank.
        precision: of the stored factors.
        router: travels in the file's metadata, which llama.cpp leaves alone.

    Raises:
        JobError: a module has no name in GGUF, or the file cannot be written.
    """
    architecture = next(
        (a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == base.architecture), None
    )
    if architecture is None:
        raise JobError(f"GGUF knows no architecture {base.architecture!r}")
    names = gguf.get_tensor_name_map(architecture, base.layers)
    aside = path.with_name(f".{path.name}.part")
    try:
        writer = gguf.GGUFWriter(str(aside), base.architecture)
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", float(alpha))
        if router is not None:
            writer.add_uint32(KEY_LAYER, router.layer)
            for key, values in to_metadata(router).items():
                writer.add_array(key, values)
        for pair in pairs:
            name = names.get_name(pair.module)
            if name is None:
                raise JobError(f"the module {pair.module} has no name in a GGUF file")
            a, b = pair.a.numpy(), pair.b.numpy()
            if pair.module.endswith("q_proj"):
                b = permuted(b, base.heads)
            elif pair.module.endswith("k_proj"):
                b = permuted(b, base.kv_heads)
            kind = np.float16 if precision == "f16" else np.float32
            writer.add_tensor(f"{name}.weight.lora_a", np.ascontiguousarray(a.astype(kind)))
            writer.add_tensor(f"{name}.weight.lora_b", np.ascontiguousarray(b.astype(kind)))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        _sync_file(aside)
        aside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise JobError(f"{path}: the adapter cannot be written: {error.strerror}") from error
    finally:
        with suppress(FileNotFoundError):
            aside.unlink()


def permuted(b: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of (outputs, rank) in llama.cpp's order: each head's halves interleaved.

    It is what llama.cpp's converter does to q and k, because its rotary embedding pairs
    neighbouring rows where transformers pairs the halves.
    """
    outputs, rank = b.shape
    split = b.reshape(heads, 2, outputs // heads // 2, rank)
    return np.ascontiguousarray(split.swapaxes(1, 2)).reshape(outputs, rank)


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
