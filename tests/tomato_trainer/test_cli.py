from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.tiny_model import make_tiny_gguf
from tomato_trainer.cli import main


@pytest.fixture
def config(tmp_path: Path) -> Path:
    make_tiny_gguf(tmp_path / "base.gguf")
    path = tmp_path / "tomato.toml"
    path.write_text('[trainer]\nfolder = "tomato"\nbase_models = ["base.gguf"]\n')
    return path


def run(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, words)
    return done.exit_code, done.stdout, done.stderr


def test_init_tells_the_root_file_and_twice_is_harmless(config: Path) -> None:
    status, first, _ = run("init", "--config", str(config))
    assert status == 0
    root = next((config.parent / "tomato").rglob("1.root.json"))
    assert str(root) in first
    before = root.read_bytes()
    status, again, _ = run("init", "--config", str(config))
    assert status == 0
    assert "ready already" in again
    assert root.read_bytes() == before


@pytest.mark.parametrize("listing", ["devices", "jobs", "artifacts"])
def test_an_empty_ledger_is_listed_as_such(config: Path, listing: str) -> None:
    run("init", "--config", str(config))
    status, said, _ = run(listing, "--config", str(config), "--json")
    assert status == 0
    assert json.loads(said) == []
    status, said, _ = run(listing, "--config", str(config))
    assert status == 0
    assert said.strip()


def test_serve_without_init_says_what_to_do(config: Path) -> None:
    status, _, said = run("serve", "--config", str(config))
    assert status == 1
    assert "tomato-trainer init" in said


def test_every_mistake_of_the_settings_is_told_with_status_2(config: Path) -> None:
    config.write_text('[trainer]\nfolders = "x"\nthreads = "two"\n[brokre]\n')
    status, _, said = run("devices", "--config", str(config))
    assert status == 2
    for key in ("trainer.folders", "trainer.threads", "brokre"):
        assert key in said


def test_a_base_that_is_no_model_is_told_before_serving(config: Path) -> None:
    run("init", "--config", str(config))
    (config.parent / "base.gguf").write_bytes(b"no model")
    status, _, said = run("serve", "--config", str(config))
    assert status == 1
    assert "not a GGUF file" in said


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed(shell: str) -> None:
    status, said, _ = run("completion", shell)
    assert status == 0
    assert "tomato-trainer" in said


@pytest.mark.parametrize("program", ["sprout_agent.cli", "tomato_trainer.cli"])
def test_help_loads_nothing_heavy(program: str) -> None:
    script = (
        f"import sys, {program}; heavy = {{'torch', 'llama_cpp', 'sqlalchemy', 'numpy', 'tuf', "
        "'paho', 'starlette'} & set(sys.modules); print(sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
