"""The device program on Python 3.10 with the base install alone: no runtime, no torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]

IMPORT_EVERYTHING = """
import importlib, json, pkgutil, sys
import sprout_agent, sprout_link
for package in (sprout_link, sprout_agent):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.startswith("sprout_agent.inference.llama_"):  # need the extra 'llama'
            importlib.import_module(module.name)
heavy = ["torch", "transformers", "llama_cpp", "iotcore", "sqlalchemy"]
loaded = [name for name in heavy if name in sys.modules]
print(json.dumps({"version": sys.version_info[:2], "heavy": loaded}))
"""


def python_3_10() -> str | None:
    homes = sorted(Path("~/.pyenv/versions").expanduser().glob("3.10.*/bin/python3.10"))
    for candidate in (sys.executable, "python3.10", *map(str, homes)):
        try:
            found = subprocess.run(
                [candidate, "-c", "import sys; print(sys.version_info[:2] == (3, 10))"],
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError:
            continue
        if found.stdout.strip() == "True":
            return candidate
    return None


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    python = python_3_10()
    if python is None:
        pytest.skip("there is no Python 3.10 on this machine")
    folder = tmp_path_factory.mktemp("bare")
    # A copy, because setuptools builds inside the tree that it is given.
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("sprout_link", "sprout_agent", "tomato_trainer"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--constraint"]
    subprocess.run([*install, ROOT / "constraints.txt", source], check=True)
    return folder / "bin"


@pytest.mark.timeout(600)
def test_every_module_of_the_device_loads_without_runtime_and_torch(bare: Path) -> None:
    done = subprocess.run(
        [bare / "python", "-c", IMPORT_EVERYTHING],
        capture_output=True,
        text=True,
        check=True,
        cwd=bare,
    )
    found = json.loads(done.stdout)
    assert found == {"version": [3, 10], "heavy": []}


@pytest.mark.timeout(600)
def test_the_commands_that_need_no_model_work(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[agent]\nfolder = "data"\n')
    listed = subprocess.run(
        [bare / "sprout-agent", "memories", "--json", "--config", tmp_path / "a.toml"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(listed.stdout) == []


@pytest.mark.timeout(600)
def test_without_a_runtime_the_missing_extra_is_named(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[agent]\nfolder = "data"\n[model]\npath = "no.gguf"\n')
    refused = subprocess.run(
        [bare / "sprout-agent", "ask", "hello", "--config", tmp_path / "a.toml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "sprout-tomato[llama]" in refused.stderr
