from __future__ import annotations

from pathlib import Path

import pytest

from sprout_agent import config
from sprout_link.errors import SettingsError

EXAMPLE = Path(__file__).parents[2] / "deploy" / "sprout-agent.toml"


def test_the_example_shows_the_defaults() -> None:
    example, defaults = config.load(EXAMPLE), config.AgentSettings()
    assert example.agent.device == "sprout"
    for table in ("model", "memory", "outbox", "update"):
        assert getattr(example, table) == getattr(defaults, table)
    assert example.broker.port == defaults.broker.port


def test_the_example_names_every_setting() -> None:
    text = EXAMPLE.read_text()
    for table in config.AgentSettings.__struct_fields__:
        for key in getattr(config.AgentSettings(), table).__struct_fields__:
            assert f"{key} = " in text, f"{table}.{key}"


def test_paths_are_taken_from_the_files_folder(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[agent]\nfolder = "data"\ntrust_root = "root.json"\n')
    loaded = config.load(tmp_path / "a.toml")
    assert loaded.folder == tmp_path / "data"
    assert loaded.agent.trust_root == str(tmp_path / "root.json")


def test_a_named_file_must_be_there_and_the_default_one_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(config.CONFIG_VARIABLE, raising=False)
    assert config.load(None).agent.trust_root is None
    monkeypatch.setenv(config.CONFIG_VARIABLE, str(tmp_path / "nowhere.toml"))
    with pytest.raises(SettingsError, match="no such settings file"):
        config.load(None)


@pytest.mark.parametrize("name", ["Sprout", "a/b", "+", "", "-a"])
def test_a_device_name_that_is_no_topic_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.toml").write_text(f'[agent]\ndevice = "{name}"\n')
    with pytest.raises(SettingsError, match=r"agent\.device"):
        config.load(tmp_path / "a.toml")
