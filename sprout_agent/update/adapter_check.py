"""Reads an adapter file before a native library does: every reason against it, at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from sprout_agent.inference.router_file import router_of
from sprout_link.errors import ModelFileError
from sprout_link.gguf_header import Header, TensorInfo, read_header
from sprout_link.router import ARRAY_KEYS

MAX_RANK: Final = 256

_DTYPES: Final[dict[int, np.dtype[Any]]] = {0: np.dtype("<f4"), 1: np.dtype("<f2")}
_PIECE: Final = 1 << 20
_SUFFIXES: Final = (".lora_a", ".lora_b")
_EMBEDDING: Final = "token_embd.weight"
_PADDING: Final = 4096
"""Bytes that may follow the last tensor: alignment at most."""
_MAX_REASONS: Final = 20


def reasons_against(path: Path, base: Header) -> list[str]:
    """Why the adapter at `path`, its router included, does not fit `base`; empty if it does.

    Args:
        path: a GGUF file of any origin; read within bounds and in pieces.
        base: header of the model that this device runs.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        header = read_header(path, arrays=ARRAY_KEYS)
    except ModelFileError as error:
        return [str(error)]
    reasons = [
        *_about_metadata(header, base),
        *_about_router(header, base),
        *_about_tensors(header, base),
        *_about_size(path, header),
    ]
    if not reasons:  # only shapes that fit are worth reading, and bounded
        reasons = list(_about_values(path, header))
    if len(reasons) > _MAX_REASONS:
        reasons = [*reasons[:_MAX_REASONS], f"and {len(reasons) - _MAX_REASONS} reasons more"]
    return reasons


def _about_metadata(header: Header, base: Header) -> Iterator[str]:
    kind = header.strings.get("general.type", "missing")
    if kind != "adapter":
        yield f"general.type is {kind}, expected adapter"
    method = header.strings.get("adapter.type", "missing")
    if method != "lora":
        yield f"adapter.type is {method}, expected lora"
    if header.architecture != base.architecture:
        yield f"its architecture is {header.architecture}, the base is {base.architecture}"
    alpha = header.numbers.get("adapter.lora.alpha")
    if alpha is None or not math.isfinite(alpha) or alpha <= 0:
        yield f"adapter.lora.alpha is {alpha}, expected a number above 0"


def _about_router(header: Header, base: Header) -> Iterator[str]:
    # A base that does not tell its sizes has none that a router could fit.
    hidden_size = base.numbers.get(f"{base.architecture}.embedding_length", 0)
    layers = base.numbers.get(f"{base.architecture}.block_count", 0)
    try:
        router_of(header, hidden_size=int(hidden_size), layers=int(layers))
    except ModelFileError as error:
        yield str(error)


def _about_tensors(header: Header, base: Header) -> Iterator[str]:
    if not header.tensors:
        yield "it has no tensors"
    shapes = {tensor.name: tensor.shape for tensor in base.tensors}
    halves: dict[str, dict[str, TensorInfo]] = {}
    for tensor in header.tensors:
        stem, suffix = tensor.name[:-7], tensor.name[-7:]
        if suffix not in _SUFFIXES:
            yield f"the tensor {tensor.name!r} is no half of a LoRA pair"
            continue
        if tensor.ggml_type not in _DTYPES:
            yield f"the tensor {tensor.name!r} has the type {tensor.ggml_type}, expected F32 or F16"
        if suffix in halves.setdefault(stem, {}):
            yield f"the tensor {tensor.name!r} is there twice"
        halves[stem][suffix] = tensor
    ranks: set[int] = set()
    for stem, pair in halves.items():
        if len(pair) != len(_SUFFIXES):
            yield f"{stem!r} has only {next(iter(pair))}"
            continue
        reason, rank = _about_pair(stem, pair[".lora_a"].shape, pair[".lora_b"].shape, shapes)
        if reason:
            yield reason
        ranks.add(rank)
    if len(ranks) > 1:
        yield f"its ranks differ: {', '.join(map(str, sorted(ranks)))}"
    if any(not 1 <= rank <= MAX_RANK for rank in ranks):
        yield f"its rank is {max(ranks)}, expected 1 to {MAX_RANK}"


def _about_pair(
    stem: str, a: tuple[int, ...], b: tuple[int, ...], shapes: dict[str, tuple[int, ...]]
) -> tuple[str, int]:
    """In GGUF order a weight is (in, out), lora_a (in, rank) and lora_b (rank, out)."""
    base = shapes.get(stem)
    rank = a[1] if len(a) == 2 else 0
    if base is None or len(base) != 2 or stem == _EMBEDDING:
        return f"the base has no matrix {stem!r} that an adapter may change", rank
    if len(a) != 2 or len(b) != 2 or (a[0], b[1], a[1]) != (base[0], base[1], b[0]):
        return f"{stem!r}: {a} and {b} do not multiply to the base's {base}", rank
    return "", rank


def _about_size(path: Path, header: Header) -> Iterator[str]:
    end = max(
        (header.data_start + t.offset_bytes + t.size_bytes for t in header.tensors), default=0
    )
    extra = path.stat().st_size - end
    if extra > _PADDING:
        yield f"{extra} bytes follow its last tensor and belong to nothing"
    spans = sorted((t.offset_bytes, t.size_bytes) for t in header.tensors)
    if any(one[0] + one[1] > other[0] for one, other in pairwise(spans)):
        yield "its tensors overlap"


def _about_values(path: Path, header: Header) -> Iterator[str]:
    with path.open("rb") as file:
        for tensor in header.tensors:
            dtype = _DTYPES[tensor.ggml_type]
            file.seek(header.data_start + tensor.offset_bytes)
            left = tensor.size_bytes // dtype.itemsize
            while left > 0:
                values = np.fromfile(file, dtype=dtype, count=min(left, _PIECE))
                if values.size == 0 or not np.isfinite(values).all():
                    yield f"the tensor {tensor.name!r} holds values that are no finite numbers"
                    break
                left -= values.size
