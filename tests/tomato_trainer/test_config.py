from __future__ import annotations

from pathlib import Path

import pytest

from sprout_link.errors import SettingsError
from tomato_trainer.config import load_settings

EXAMPLE = Path(__file__).parents[2] / "deploy" / "tomato-trainer.toml"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_without_a_file_the_defaults_work_alone(home: Path) -> None:
    settings = load_settings()
    assert settings.folder == home / ".local/share/tomato-trainer"
    assert settings.broker.port == 1883
    assert all(path.is_file() for path in settings.base_models)


def test_the_example_loads_and_says_the_defaults() -> None:
    assert load_settings(EXAMPLE) == load_settings()


def test_the_example_loads_with_every_commented_setting_too(tmp_path: Path) -> None:
    lines = []
    for line in EXAMPLE.read_text().splitlines():
        is_setting = line.startswith("# ") and " = " in line and line[2:3].islower()
        lines.append(line[2:] if is_setting else line)
    file = tmp_path / "all.toml"
    file.write_text("\n".join(lines))
    settings = load_settings(file)
    assert settings.broker.password_file == str(tmp_path / "broker-password")
    assert settings.broker.ca_file == str(tmp_path / "broker-ca.pem")
    assert settings.base_models == [tmp_path / "models/SmolLM2-135M-Instruct.Q4_1.gguf"]
    assert settings.recipe["steps_per_fact"] == 3.5


def test_relative_paths_are_taken_from_the_files_folder(tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text('[trainer]\nfolder = "data"\nbase_models = ["a.gguf", "/b.gguf"]\n')
    settings = load_settings(file)
    assert settings.folder == tmp_path / "data"
    assert settings.base_models == [tmp_path / "a.gguf", Path("/b.gguf")]
    assert load_settings(file, folder=Path("/elsewhere")).folder == Path("/elsewhere")


def test_every_mistake_is_in_one_message(tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text('[broker]\nport = "1883"\nprot = 1\n[trainer]\nthreads = -1\n')
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    for key in ("broker.port", "broker.prot", "trainer.threads"):
        assert key in str(caught.value)


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such settings file"):
        load_settings(tmp_path / "none.toml")
