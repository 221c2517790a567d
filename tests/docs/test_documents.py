"""The documents tell the truth: their links, commands, options and map exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from sprout_agent.cli import cli as agent_cli
from tomato_trainer.cli import main as trainer_cli

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))
PROGRAMS = {"sprout-agent": agent_cli, "tomato-trainer": trainer_cli}


def code_lines(text: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.S)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_in_backticks_exist(document: Path) -> None:
    inside = r"`((?:sprout_\w+|tomato_\w+|deploy|docs|benchmarks|tests|systemd)/[\w./-]*)`"
    for path in re.findall(inside, document.read_text()):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_their_options_exist(document: Path) -> None:
    for line in code_lines(document.read_text()):
        words = shlex.split(line, comments=True)
        program = PROGRAMS.get(Path(words[0]).name) if words else None
        if program is None:
            continue
        command = program.commands.get(words[1])
        assert command is not None, line
        known = {option for parameter in command.params for option in parameter.opts}
        for word in words[2:]:
            assert not word.startswith("--") or word in known, line


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    for document in DOCUMENTS:
        for target in re.findall(r"`make ([a-z-]+)", document.read_text()):
            assert target in targets, f"{document.name}: make {target}"


def test_the_map_shows_every_package_and_folder() -> None:
    readme = (ROOT / "README.md").read_text()
    for package in ("sprout_link", "sprout_agent", "tomato_trainer"):
        assert f"`{package}/`" in readme
        for folder in (ROOT / package).iterdir():
            if (folder / "__init__.py").exists() and package != "sprout_link":
                assert f"`{package}/{folder.name}/`" in readme or f"`{folder.name}/`" in readme


@pytest.mark.parametrize(
    ("program", "name"),
    [(program, name) for program in PROGRAMS for name in sorted(PROGRAMS[program].commands)],
)
def test_every_command_has_help_with_an_example(program: str, name: str) -> None:
    command = PROGRAMS[program].commands[name]
    text = command.get_help(click.Context(command, info_name=name))
    assert f"{program} {name}" in text
    assert "Example" in text
