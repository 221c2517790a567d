"""One clear sentence and an exit status for what goes wrong, and nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.rig import Rig

pytestmark = pytest.mark.system


def test_a_second_agent_on_the_same_folder_is_refused_and_the_first_goes_on(rig: Rig) -> None:
    rig.start_agent()
    second = rig.agent("run", check=False)
    assert second.returncode == 1
    assert "works in this folder" in second.stderr
    assert rig.status()["running"]


@pytest.mark.parametrize("text", ["", "   \n\t", "\u200b\u0000"])
def test_an_empty_turn_is_refused(rig: Rig, text: str) -> None:
    refused = rig.agent("ask", text.replace("\0", ""), check=False)
    assert refused.returncode == 1
    assert "empty" in refused.stderr
    assert rig.status()["turns"] == 0


def test_a_turn_of_100_000_characters_is_refused_whole(rig: Rig, tmp_path: Path) -> None:
    rig.start_agent()
    refused = rig.agent("ask", "x" * 100_000, check=False)
    assert refused.returncode == 1
    assert "100000 characters" in refused.stderr
    assert rig.status()["turns"] == 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "there is no such model file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "cut short"),
        (lambda path: path.write_bytes(b"PK" + path.read_bytes()[2:]), "not a GGUF file"),
    ],
)
def test_a_model_file_that_is_no_model(rig: Rig, damage, said: str) -> None:  # type: ignore[no-untyped-def]
    damage(rig.model)
    refused = rig.agent("ask", "hello", check=False)
    assert refused.returncode == 1
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_every_mistake_of_a_settings_file_is_told_at_once(rig: Rig) -> None:
    config = rig.folder / "sprout.toml"
    config.write_text(
        config.read_text().replace("quiet_s = 3600.0", 'quiet_s = "soon"\nbatches = 3')
        + "\n[pigeons]\ncount = 2\n"
    )
    refused = rig.agent("status", check=False)
    assert refused.returncode == 2
    assert "3 mistakes" in refused.stderr
    for key in ("outbox.quiet_s", "outbox.batches", "pigeons"):
        assert key in refused.stderr


def test_a_missing_trust_root_is_told_before_anything_starts(rig: Rig) -> None:
    (rig.folder / "root.json").unlink()
    refused = rig.agent("run", check=False)
    assert refused.returncode == 2
    assert "trust_root" in refused.stderr
