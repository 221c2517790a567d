from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from sprout_link.errors import SettingsError
from sprout_link.settings import load


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    name: str = "sprout"


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    must: str
    table: Table = Table()


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text)
    return path


def test_defaults_fill_what_is_left_out(tmp_path: Path) -> None:
    assert load(write(tmp_path, 'must = "be"'), File) == File(must="be")


def test_every_mistake_is_listed_with_its_key(tmp_path: Path) -> None:
    text = 'colour = 1\n[table]\nport = "1883"\nname = 5\nextra = true'
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, text), File)
    said = str(caught.value)
    assert "5 mistakes" in said
    for key in ("colour: unknown", "must: missing", "table.port:", "table.name:", "table.extra:"):
        assert key in said


def test_a_value_out_of_range_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"table\.port.*found 70000"):
        load(write(tmp_path, 'must = "be"\n[table]\nport = 70000'), File)


@pytest.mark.parametrize("text", ["= 3", 'a = "\udcff"'])
def test_what_is_no_toml_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError, match="not TOML"):
        load(path, File)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such settings file"):
        load(tmp_path / "nowhere.toml", File)


def test_a_table_that_is_a_value_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="table"):
        load(write(tmp_path, 'must = "be"\ntable = 3'), File)
