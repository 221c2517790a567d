from __future__ import annotations

import hashlib
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sprout_link.errors import ModelFileError
from sprout_link.gguf_header import read_header, sha256_of
from sprout_link.router import ARRAY_KEYS, KEY_MEAN, KEY_OUTPUT_BIAS, to_metadata
from tests.tiny_model import make_tiny_adapter, make_tiny_gguf, make_tiny_router


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")


def test_a_whole_file_tells_its_architecture_and_tensors(model: Path) -> None:
    header = read_header(model)
    assert header.architecture == "llama"
    assert any(tensor.name == "token_embd.weight" for tensor in header.tensors)
    assert sha256_of(model) == hashlib.sha256(model.read_bytes()).hexdigest()


@pytest.mark.parametrize("kept", [0, 3, 10, 200, -1])
def test_a_file_cut_anywhere_is_refused(model: Path, tmp_path: Path, kept: int) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(model.read_bytes()[:kept])
    with pytest.raises(ModelFileError):
        read_header(cut)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such model file"):
        read_header(tmp_path / "nowhere.gguf")
    with pytest.raises(ModelFileError, match="folder"):
        read_header(tmp_path)


def test_absurd_counts_do_not_cost_memory(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.gguf"
    bomb.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60))
    with pytest.raises(ModelFileError, match="absurd"):
        read_header(bomb)


def test_the_arrays_that_are_asked_for_are_read_and_others_are_not(
    model: Path, tmp_path: Path
) -> None:
    router = make_tiny_router(bias=2.5)
    path = make_tiny_adapter(tmp_path / "a.gguf", model, router=router)
    assert read_header(path).arrays == {}
    assert set(read_header(path, arrays=[KEY_MEAN, "no.such"]).arrays) == {KEY_MEAN}
    arrays = read_header(path, arrays=ARRAY_KEYS).arrays
    assert {key: values.tolist() for key, values in arrays.items()} == to_metadata(router)
    arrays[KEY_MEAN][0] = 1  # its own, not a view of what was read


def test_an_array_of_something_else_or_absurdly_long_is_refused(
    model: Path, tmp_path: Path
) -> None:
    path = make_tiny_adapter(tmp_path / "a.gguf", model, router=make_tiny_router(bias=2.5))
    whole = path.read_bytes()
    # A key is followed by its kind, then for an array by that of its elements and their count.
    at = whole.index(KEY_OUTPUT_BIAS.encode()) + len(KEY_OUTPUT_BIAS) + 4
    for change, expected in [
        (struct.pack("<IQ", 12, 1), "expected 32-bit floats"),
        (struct.pack("<IQ", 6, 2**60), "absurdly long"),
    ]:
        path.write_bytes(whole[:at] + change + whole[at + len(change) :])
        with pytest.raises(ModelFileError, match=expected):
            read_header(path, arrays=ARRAY_KEYS)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(position=st.integers(0, 4000), byte=st.integers(0, 255))
def test_a_flipped_byte_gives_a_header_or_the_one_error(
    model: Path, tmp_path: Path, position: int, byte: int
) -> None:
    data = bytearray(model.read_bytes())
    data[position % len(data)] = byte
    path = tmp_path / "flipped.gguf"
    path.write_bytes(bytes(data))
    with suppress(ModelFileError):
        read_header(path)
