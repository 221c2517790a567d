"""The demo's processes: an embedded broker, the trainer and the agent, in one folder."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

from sprout_agent import control
from sprout_agent.errors import AgentError, ControlError
from sprout_link.broker import EmbeddedBroker
from sprout_link.gguf_header import read_header

DEVICE: Final = "sprout"
START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 15.0
_TAIL_BYTES: Final = 2_000


class StageError(AgentError):
    """One of the demo's processes did not start, or died."""


@dataclass(frozen=True)
class Program:
    """A running process of the demo."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


@dataclass
class Stage:
    """Starts the three parts, and stops them in any case. Use with `with`.

    Args:
        folder: where everything is kept; it must be empty or not there yet.
        model: the base, a GGUF file.
    """

    folder: Path
    model: Path
    programs: list[Program] = field(default_factory=list)
    broker_port: int = 0
    _exit: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for program in reversed(self.programs):
            program.process.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for program in reversed(self.programs):
            try:
                program.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                program.process.kill()
                program.process.wait()
        self._exit.close()

    @property
    def agent_folder(self) -> Path:
        """The agent's data folder."""
        return self.folder / "sprout"

    def start_broker(self) -> None:
        """Start the embedded broker on a free port of this machine."""
        self.broker_port = self._exit.enter_context(EmbeddedBroker(0)).port

    def start_trainer(self) -> None:
        """Make the trainer's folder and keys, give the agent the root of trust, and serve."""
        config = self.folder / "tomato.toml"
        _write_toml(
            config,
            trainer={"folder": str(self.folder / "tomato"), "base_models": [str(self.model)]},
            broker={"port": self.broker_port},
        )
        made = subprocess.run(
            [*_trainer_command(), "init", "--config", str(config)],
            capture_output=True,
            text=True,
            check=False,
            timeout=START_TIMEOUT_S,
        )
        if made.returncode != 0:
            raise StageError(f"tomato-trainer init failed: {made.stderr.strip()[-_TAIL_BYTES:]}")
        self._start("tomato-trainer", [*_trainer_command(), "serve", "--config", str(config)])

    def start_agent(self) -> control.Client:
        """Start the agent; returns once its model is loaded and it answers."""
        roots = sorted((self.folder / "tomato").rglob("1.root.json"))
        if not roots:
            raise StageError("tomato-trainer init made no 1.root.json")
        root = self.folder / "root.json"
        root.write_bytes(roots[0].read_bytes())
        config = self.folder / "sprout.toml"
        _write_toml(
            config,
            agent={"device": DEVICE, "folder": str(self.agent_folder), "trust_root": str(root)},
            broker={"port": self.broker_port},
            model={"path": str(self.model), "max_answer_tokens": 64},
            outbox={"quiet_s": 3600.0},
        )
        command = [sys.executable, "-m", "sprout_agent.cli", "run", "--config", str(config)]
        self._start("sprout-agent", command)
        return self._client()

    def check_alive(self) -> None:
        """Raise when a process has ended on its own.

        Raises:
            StageError: with the last lines of its log.
        """
        for program in self.programs:
            status = program.process.poll()
            if status is not None:
                raise StageError(
                    f"{program.name} ended with status {status}; its last lines were:\n"
                    f"{tail(program.log)}"
                )

    def wait_for(self, ready: Callable[[], bool], *, what: str, timeout_s: float) -> None:
        """Poll `ready` until it is true.

        Raises:
            StageError: a process ended, or `timeout_s` seconds have passed.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.check_alive()
            if time.monotonic() > deadline:
                raise StageError(f"{what} took longer than {timeout_s:.0f} s")
            time.sleep(0.2)

    def _start(self, name: str, command: list[str]) -> None:
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the demo, which then stops its parts in order.
                start_new_session=True,
            )
        self.programs.append(Program(name, process, log))

    def _client(self) -> control.Client:
        found: list[control.Client] = []

        def answers() -> bool:
            endpoint = control.find(self.agent_folder)
            if endpoint is None:
                return False
            client = control.Client(endpoint)
            try:
                client.get("/sprout/status")
            except ControlError:
                return False
            found.append(client)
            return True

        self.wait_for(answers, what="starting the agent", timeout_s=START_TIMEOUT_S)
        return found[0]


def check_parts(model: Path) -> None:
    """Everything that the demo starts is installed, and the model can be read.

    Raises:
        StageError: names what is missing and how to get it.
        ModelFileError: the model file is missing, truncated or no GGUF.
    """
    missing = [
        name
        for name in ("llama_cpp", "iotcore", "tomato_trainer", "torch", "transformers", "peft")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise StageError(
            f"the demo needs {', '.join(missing)}; install with: pip install 'sprout-tomato[demo]'"
        )
    read_header(model)


def new_folder(path: Path) -> Path:
    """`path`, made and empty.

    Raises:
        StageError: there is something in it already, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(path.iterdir()):
            raise StageError(f"{path}: is not empty; name a new folder, or remove it first")
    except OSError as error:
        raise StageError(f"{path}: {error.strerror}") from error
    return path.resolve()


def tail(log: Path) -> str:
    """The last lines of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return "(no log)"


def _trainer_command() -> list[str]:
    return [sys.executable, "-m", "tomato_trainer.cli"]


def _write_toml(path: Path, **tables: dict[str, object]) -> None:
    lines = []
    for name, values in tables.items():
        lines.append(f"[{name}]")
        # JSON's texts, numbers and lists of texts are TOML's too.
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")
