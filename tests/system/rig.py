"""Both programs as processes over one folder, with a model small enough to train in seconds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sprout_link.broker import EmbeddedBroker
from tests.tiny_model import make_tiny_gguf

# A model with random weights answers nothing sensible, before or after; what is tested here
# is the loop. The gate's own tests, and the run with SmolLM2, are about its judgement.
LENIENT = """
[update]
min_recall = 0.0
max_general_drop = 100
min_proof_part = 0.0
max_repeating = 1.0
answer_tokens = 8
max_probes = 4
spare_mib = 1
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], Any], what: str, timeout_s: float = 150.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := ready():
            return value
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen within {timeout_s:.0f} s")


@contextmanager
def mosquitto(folder: Path, port: int) -> Iterator[int]:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        missing = "mosquitto is not installed; on Debian: apt install mosquitto"
        assert "CI" not in os.environ, missing  # there it was to be installed
        pytest.skip(missing)
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen(
        [program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: _accepts(port), "mosquitto")
        yield port
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def embedded(_folder: Path, port: int) -> Iterator[int]:
    with EmbeddedBroker(port) as broker:
        yield broker.port


@dataclass
class Rig:
    folder: Path
    port: int
    device: str = "sprout"
    model: Path = field(init=False)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = make_tiny_gguf(self.folder / "base.gguf")
        (self.folder / "tomato.toml").write_text(
            f'[broker]\nport = {self.port}\n[trainer]\nfolder = "tomato"\n'
            f"base_models = [{json.dumps(str(self.model))}]\nthreads = 2\n"
            "[recipe]\nmin_steps = 8\nmax_steps = 8\n"
        )
        (self.folder / "sprout.toml").write_text(
            f'[agent]\ndevice = "{self.device}"\nfolder = "sprout"\ntrust_root = "root.json"\n'
            f'[broker]\nport = {self.port}\n[model]\npath = "base.gguf"\n'
            "max_answer_tokens = 8\ncontext_tokens = 1024\n"
            f"[outbox]\nquiet_s = 3600.0\nretry_first_s = 1.0\n{LENIENT}"
        )
        self.trainer("init")
        root = next((self.folder / "tomato").rglob("1.root.json"))
        shutil.copy(root, self.folder / "root.json")

    def trainer(self, *words: str) -> str:
        return _run("tomato_trainer.cli", words, self.folder / "tomato.toml").stdout

    def agent(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return _run("sprout_agent.cli", words, self.folder / "sprout.toml", check=check)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.agent("status", "--json").stdout)
        job = found["job"] or {}
        assert job.get("state") != "failed", job
        return found

    def start_trainer(self) -> None:
        self._start("tomato", "tomato_trainer.cli", "serve", self.folder / "tomato.toml")

    def start_agent(self) -> None:
        self._start("sprout", "sprout_agent.cli", "run", self.folder / "sprout.toml")
        wait_until(lambda: self.status()["running"], "the agent's start")

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> int:
        process = self.processes.pop(name)
        process.send_signal(how)
        return process.wait(20)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        for name in list(self.processes):
            self.processes[name].kill()
            self.processes.pop(name).wait()

    def _start(self, name: str, module: str, command: str, config: Path) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", module, command, "--config", str(config)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )


def _run(
    module: str, words: tuple[str, ...], config: Path, *, check: bool = True
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", module, words[0], "--config", str(config), *words[1:]],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not check or done.returncode == 0, f"{words}: {done.stderr}"
    return done


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True
