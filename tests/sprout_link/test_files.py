from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sprout_link.errors import FolderInUseError
from sprout_link.files import sole_use, write_durably


def test_a_write_replaces_the_whole_file_and_keeps_it_private(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_durably(path, b"old, and longer")
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["secret"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    write_durably(path, b"old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["state"]


def test_a_folder_has_one_user_who_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with (
        sole_use(folder, program="sprout-agent"),
        pytest.raises(FolderInUseError, match=str(os.getpid())),
        sole_use(folder, program="sprout-agent"),
    ):
        pass
    with sole_use(folder, program="sprout-agent"):
        pass


def test_a_killed_user_lets_go(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from sprout_link.files import sole_use\n"
        "with sole_use(Path(sys.argv[1]), program='x'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    with sole_use(tmp_path, program="sprout-agent"):
        pass
