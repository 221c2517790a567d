"""Tells whether a file is a whole GGUF, and its architecture, without any runtime.

Only the header is read, within bounds, so that a hostile or truncated file is refused
before a native library sees it. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from sprout_link.errors import ModelFileError

_MAX_COUNT: Final = 1_000_000
_MAX_STRING: Final = 16 * 1024 * 1024
_MAX_METADATA_BYTES: Final = 256 * 1024 * 1024
_SCALAR_BYTES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING: Final = 8
_ARRAY: Final = 9
_FLOAT32: Final = 6
# ggml type: (elements a block, bytes a block)
_BLOCKS: Final = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 36), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2),
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as the header declares it."""

    name: str
    shape: tuple[int, ...]
    """In GGUF order: the first is contiguous."""
    ggml_type: int
    offset_bytes: int
    """From the start of the data section."""
    size_bytes: int


@dataclass(frozen=True)
class Header:
    """What the header of a GGUF file says."""

    architecture: str
    strings: dict[str, str]
    """Metadata with text values."""
    numbers: dict[str, float]
    """Metadata with numeric values."""
    tensors: tuple[TensorInfo, ...]
    data_start: int
    """Where the data section starts, in bytes."""
    arrays: dict[str, NDArray[np.float32]] = field(default_factory=dict, compare=False)
    """Those that were asked for and are there, flat."""


def read_header(path: Path, *, arrays: Collection[str] = ()) -> Header:
    """Header of the GGUF file at `path`, checked against the file's length.

    Args:
        arrays: metadata keys whose arrays of 32-bit floats, at most 16 MiB each, are read too;
            all other arrays are skipped.

    Raises:
        ModelFileError: there is no such file, it is no GGUF, it is cut short, or one of
            `arrays` holds something else than 32-bit floats.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _parse(file, size, path, arrays)
    except FileNotFoundError as error:
        raise ModelFileError(f"{path}: there is no such model file") from error
    except IsADirectoryError as error:
        raise ModelFileError(f"{path}: this is a folder, expected a GGUF file") from error
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from error


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a whole file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _parse(file: BinaryIO, size: int, path: Path, wanted: Collection[str]) -> Header:
    if file.read(4) != b"GGUF":
        raise ModelFileError(f"{path}: not a GGUF file (it does not start with 'GGUF')")
    reader = _Reader(file, path)
    version = reader.number("<I")
    if version not in (2, 3):
        raise ModelFileError(f"{path}: GGUF version {version}, expected 2 or 3")
    tensor_count, pair_count = reader.number("<Q"), reader.number("<Q")
    if tensor_count > _MAX_COUNT or pair_count > _MAX_COUNT:
        raise ModelFileError(f"{path}: its header counts are absurd; it is damaged")
    strings: dict[str, str] = {}
    numbers: dict[str, float] = {}
    arrays: dict[str, NDArray[np.float32]] = {}
    for _ in range(pair_count):
        key, kind = reader.text(), reader.number("<I")
        if kind == _STRING:
            strings[key] = reader.text()
        elif kind == _ARRAY and key in wanted:
            arrays[key] = reader.floats(key)
        elif kind == _ARRAY:
            reader.skip_array()
        elif kind in _SCALAR_BYTES:
            numbers[key] = reader.scalar(kind)
        else:
            raise ModelFileError(f"{path}: unknown metadata type {kind}; it is damaged")
    declared = [reader.tensor() for _ in range(tensor_count)]
    alignment = int(numbers.get("general.alignment", 32)) or 32
    start = -(-file.tell() // alignment) * alignment
    end = max((start + t.offset_bytes + t.size_bytes for t in declared), default=start)
    if end > size:
        raise ModelFileError(
            f"{path}: cut short: it has {size} bytes and its header asks for {end}"
        )
    if "general.architecture" not in strings:
        raise ModelFileError(f"{path}: it names no architecture; it is no model")
    return Header(strings["general.architecture"], strings, numbers, tuple(declared), start, arrays)


class _Reader:
    """Bounded reads that turn a short file into one clear error."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path

    def bytes(self, count: int) -> bytes:
        if count > _MAX_STRING or self._file.tell() + count > _MAX_METADATA_BYTES:
            raise ModelFileError(f"{self._path}: a metadata value is absurdly long; it is damaged")
        data = self._file.read(count)
        if len(data) != count:
            raise ModelFileError(f"{self._path}: cut short: it ends inside its header")
        return data

    def number(self, layout: str) -> int:
        value: int = struct.unpack(layout, self.bytes(struct.calcsize(layout)))[0]
        return value

    def text(self) -> str:
        try:
            return self.bytes(self.number("<Q")).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ModelFileError(f"{self._path}: a name is not UTF-8; it is damaged") from error

    def scalar(self, kind: int) -> float:
        layout = {
            0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?",
            10: "<Q", 11: "<q", 12: "<d",
        }[kind]  # fmt: skip
        return float(struct.unpack(layout, self.bytes(_SCALAR_BYTES[kind]))[0])

    def floats(self, key: str) -> NDArray[np.float32]:
        kind, count = self.number("<I"), self.number("<Q")
        if kind != _FLOAT32:
            raise ModelFileError(
                f"{self._path}: {key} is an array of the type {kind}, "
                f"expected 32-bit floats (type {_FLOAT32})"
            )
        values = np.frombuffer(self.bytes(count * _SCALAR_BYTES[kind]), dtype="<f4")
        return values.astype(np.float32)

    def skip_array(self) -> None:
        kind, count = self.number("<I"), self.number("<Q")
        if kind == _STRING:
            if count > 4 * _MAX_COUNT:
                raise ModelFileError(f"{self._path}: an array is absurdly long; it is damaged")
            for _ in range(count):
                self.bytes(self.number("<Q"))
        elif kind in _SCALAR_BYTES:
            self.bytes(count * _SCALAR_BYTES[kind])
        else:
            raise ModelFileError(f"{self._path}: unknown array type {kind}; it is damaged")

    def tensor(self) -> TensorInfo:
        name, dimensions = self.text(), self.number("<I")
        if not 1 <= dimensions <= 4:
            raise ModelFileError(f"{self._path}: tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self.number("<Q") for _ in range(dimensions))
        kind, offset = self.number("<I"), self.number("<Q")
        if kind not in _BLOCKS:
            raise ModelFileError(f"{self._path}: tensor {name!r} has the unknown type {kind}")
        elements, block_bytes = _BLOCKS[kind]
        total = 1
        for length in shape:
            total *= length
        return TensorInfo(name, shape, kind, offset, -(-total // elements) * block_bytes)
