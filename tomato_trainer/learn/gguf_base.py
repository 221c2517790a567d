"""A device's own GGUF base as a trainable model: dequantised once, then kept by hash.

Training runs over the very weights that the device runs, because an adapter trained over
other roundings of the same model answers differently once it is there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from sprout_link.errors import ModelFileError
from sprout_link.files import sync_folder, write_durably
from sprout_link.gguf_header import read_header, sha256_of
from tomato_trainer.errors import JobError

_RECORD: Final = "complete.json"
_FORMAT: Final = 1
_LEFTOVER_AGE_S: Final = 1_800.0
"""No conversion leaves its folder unchanged for so long."""


class _CacheRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Written last into a cache entry: what belongs to it, by size in bytes."""

    format: int
    sizes: dict[str, int]


@dataclass(frozen=True)
class Base:
    """A base model ready to learn, and its tokenizer."""

    model: Any
    """transformers causal language model; every parameter frozen."""
    tokenizer: Any
    architecture: str
    """`general.architecture` of the GGUF file."""
    layers: int
    heads: int
    kv_heads: int


def load_base(path: Path, *, sha256: str, cache_folder: Path) -> Base:
    """The model of a GGUF file as fp32 tensors on the CPU.

    The first load of a file takes tens of seconds; later ones read the cache in
    `cache_folder/sha256`. An entry that is not whole is made again.

    Args:
        path: the GGUF file.
        sha256: what its hash must be, 64 hex digits.
        cache_folder: made if it is missing; an entry takes 4 bytes a parameter.

    Raises:
        JobError: the file is missing, damaged or another one, cannot be converted, or the
            cache cannot be written.
    """
    try:
        header = read_header(path)
        found = sha256_of(path)
    except (ModelFileError, OSError) as error:
        raise JobError(f"the base cannot be used: {error}") from error
    if found != sha256:
        raise JobError(
            f"{path}: its SHA-256 is {found[:12]}…, the device runs {sha256[:12]}…; "
            "give the trainer the very file that the device has"
        )
    entry = cache_folder / sha256
    try:
        _remove_leftovers(entry)
        if not _is_whole(entry):
            _convert(path, entry)
        model, tokenizer = _load_cached(entry)
    except OSError as error:
        raise JobError(f"{entry}: the base's cache cannot be used: {error}") from error
    if not tokenizer.chat_template:
        raise JobError(f"{path}: it carries no chat template; expected an instruction-tuned model")
    model.requires_grad_(False)
    model.eval()
    config = model.config
    return Base(
        model=model,
        tokenizer=tokenizer,
        architecture=header.architecture,
        layers=int(config.num_hidden_layers),
        heads=int(config.num_attention_heads),
        kv_heads=int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads),
    )


def _is_whole(entry: Path) -> bool:
    try:
        record = msgspec.json.decode((entry / _RECORD).read_bytes(), type=_CacheRecord)
        sizes = {name: (entry / name).stat().st_size for name in record.sizes}
    except (OSError, msgspec.DecodeError):
        return False
    return record.format == _FORMAT and sizes == record.sizes


def _convert(path: Path, entry: Path) -> None:
    """Make the cache entry in a folder aside, and rename it once it is durable."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=entry.parent, prefix=f".{entry.name[:12]}."))
    try:
        _write_entry(path, aside)
        sizes = {file.name: file.stat().st_size for file in sorted(aside.iterdir())}
        for name in sizes:
            _sync_file(aside / name)
        record = _CacheRecord(format=_FORMAT, sizes=sizes)
        write_durably(aside / _RECORD, msgspec.json.encode(record))
        if entry.exists():
            shutil.rmtree(entry)
        with suppress(FileExistsError):  # another worker was first, with the same content
            aside.rename(entry)
        sync_folder(entry.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _remove_leftovers(entry: Path) -> None:
    """Remove half-made folders that a killed worker left; a young one may be another's."""
    for folder in entry.parent.glob(f".{entry.name[:12]}.*"):
        with suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > _LEFTOVER_AGE_S:
                shutil.rmtree(folder, ignore_errors=True)


def _write_entry(path: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
        model = AutoModelForCausalLM.from_pretrained(
            str(path.parent), gguf_file=path.name, dtype=torch.float32
        )
    except (ValueError, KeyError, RuntimeError, ImportError, NotImplementedError) as error:
        raise JobError(f"{path}: transformers cannot read this model: {error}") from error
    # What was dequantised is an ordinary model now; the marks would refuse saving.
    model.config.__dict__.pop("quantization_config", None)
    model.config.__dict__.pop("_pre_quantization_dtype", None)
    for mark in ("hf_quantizer", "is_quantized", "quantization_method"):
        if mark in model.__dict__:
            delattr(model, mark)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def _load_cached(entry: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(entry), dtype=torch.float32, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(str(entry), local_files_only=True)
    except (ValueError, KeyError, RuntimeError) as error:
        raise JobError(f"{entry}: the cached base cannot be loaded: {error}") from error
    return model, tokenizer


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
