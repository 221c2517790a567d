"""Plays the demo: asks, tells, waits for the night, asks again, and shows it all."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from sprout_agent.control import Client
from sprout_agent.demo.facts import General, Line
from sprout_agent.demo.score import Asked, Score, score, shortcomings
from sprout_agent.demo.stage import Stage, StageError
from sprout_agent.progress import Transfer, Trial
from sprout_link.messages import CHUNK_BYTES, JobProgress, Report

NIGHT_TIMEOUT_S: Final = 3600.0
_SHOWN_CHARS: Final = 78


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The demo's last line with `--json`. Recall and general ability are fractions, 0 to 1."""

    recall_before: float
    recall_after: float
    general_before: float
    general_after: float
    promoted: int
    passed_over: int
    artifact: str | None
    """SHA-256 of the artifact in the active slot."""
    artifact_bytes: int
    seconds: dict[str, float]
    """By stage."""
    shortcomings: list[str]
    """Why this is no success; empty when it is one."""


class _Night(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of the agent's status that the demo follows."""

    active_artifact: str | None = None
    job: JobProgress | None = None
    transfer: Transfer | None = None
    trial: Trial | None = None
    last_report: Report | None = None
    last_refusal: str | None = None
    update_problem: str | None = None


@dataclass
class Play:
    """One performance over a stage that is already built."""

    stage: Stage
    client: Client
    console: Console
    lines: Sequence[Line]
    general: Sequence[General]
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self) -> Outcome:
        """Play it through.

        Raises:
            StageError: a process died, training failed, or the device refused the artifact.
            ControlError: the agent stopped answering.
        """
        with self._timed("ask_before"):
            recall_before = self._ask(self._questions(), "Before: what it cannot know yet")
            general_before = self._ask(self._general_questions(), "Before: general questions")
        with self._timed("conversation"):
            promoted, passed_over = self._tell()
        if not promoted:
            raise StageError(
                "nothing of this conversation crossed the gateway's threshold, "
                "so there is nothing to learn; tell it something about yourself"
            )
        night = self._sleep_over_it()
        with self._timed("ask_after"):
            recall_after = self._ask(self._questions(), "After: from the weights alone")
            general_after = self._ask(self._general_questions(), "After: general questions")
        recall = _paired(self._questions(), recall_before, recall_after)
        general = _paired(self._general_questions(), general_before, general_after)
        figures = score(recall, general)
        published = night.last_report.artifact if night.last_report else None
        status = self.client.get("/sprout/status")
        active = status["active_artifact"]
        self._show(recall, general, figures)
        return Outcome(
            recall_before=figures.recall_before,
            recall_after=figures.recall_after,
            general_before=figures.general_before,
            general_after=figures.general_after,
            promoted=promoted,
            passed_over=passed_over,
            artifact=active,
            artifact_bytes=int(status["active_artifact_bytes"] or 0),
            seconds={name: round(value, 2) for name, value in self.seconds.items()},
            shortcomings=shortcomings(figures, active=active, published=published),
        )

    def _questions(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(ask, tuple(line.expect)) for line in self.lines for ask in line.ask]

    def _general_questions(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(one.ask, tuple(one.expect)) for one in self.general]

    def _ask(self, questions: Sequence[tuple[str, tuple[str, ...]]], title: str) -> list[str]:
        answers = []
        with self._progress() as progress:
            task = progress.add_task(title, total=len(questions), note="")
            for question, _ in questions:
                self.stage.check_alive()
                # Recall of stored text is off: only the weights can answer. Nothing is kept.
                answer = _answer(self.client, question, recall=False, keep=False)
                answers.append(str(answer["text"]))
                progress.advance(task)
        table = Table(title=title, title_justify="left", show_lines=False)
        table.add_column("Asked")
        table.add_column("Answered", style="dim")
        for (question, _), text in zip(questions, answers, strict=True):
            table.add_row(escape(question), escape(_shortened(text)))
        self.console.print(table)
        return answers

    def _tell(self) -> tuple[int, int]:
        table = Table(title="The conversation", title_justify="left")
        table.add_column("Said")
        table.add_column("Kept")
        table.add_column("Why", style="dim")
        promoted = 0
        with self._progress() as progress:
            task = progress.add_task("A day's conversation", total=len(self.lines), note="")
            for line in self.lines:
                self.stage.check_alive()
                answer = _answer(self.client, line.say, recall=True, keep=True)
                kept = bool(answer["memory_id"])
                promoted += kept
                mark = f"[green]yes {answer['salience']:.2f}[/]" if kept else "[dim]no[/]"
                table.add_row(escape(_shortened(line.say)), mark, escape(str(answer["reason"])))
                progress.advance(task)
        self.console.print(table)
        return promoted, len(self.lines) - promoted

    def _sleep_over_it(self) -> _Night:
        before = self._night()
        self.client.post("/sprout/ship")
        started = time.monotonic()
        stage = "prepare"
        deadline = started + NIGHT_TIMEOUT_S
        with self._progress() as progress:
            bars = _Bars(progress)
            while True:
                self.stage.check_alive()
                night = self._night()
                bars.show(night)
                now_in = _stage_of(night)
                if now_in != stage:
                    self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - started
                    stage, started = now_in, time.monotonic()
                if night.last_report is not None and night.last_report != before.last_report:
                    break
                if night.job is not None and night.job.state == "failed":
                    raise StageError(f"training failed: {night.job.message}")
                if night.last_refusal:
                    raise StageError(f"the trainer refused the memories: {night.last_refusal}")
                if time.monotonic() > deadline:
                    raise StageError(f"no artifact came within {NIGHT_TIMEOUT_S:.0f} s")
                time.sleep(0.25)
            bars.finish()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - started
        report = night.last_report
        self._show_report(report)
        if report.outcome != "installed":
            raise StageError(f"the device refused the artifact: {'; '.join(report.reasons)}")
        return night

    def _night(self) -> _Night:
        return msgspec.convert(self.client.get("/sprout/status"), _Night)

    def _show_report(self, report: Report) -> None:
        figures = ", ".join(f"{name} {value:.3g}" for name, value in report.figures.items())
        self.console.print(
            f"[bold]{report.outcome.capitalize()}[/] {report.artifact[:12]}…  [dim]{figures}[/]"
        )

    def _show(self, recall: Sequence[Asked], general: Sequence[Asked], figures: Score) -> None:
        for title, asked in (
            ("From weights alone: recall of stored text is off", recall),
            ("General questions: these must not get worse", general),
        ):
            table = Table(title=title, title_justify="left")
            table.add_column("Asked")
            table.add_column("Before")
            table.add_column("After")
            for one in asked:
                table.add_row(
                    escape(one.question),
                    _marked(one.right_before, one.before),
                    _marked(one.right_after, one.after),
                )
            self.console.print(table)
        self.console.print(
            f"Recall [bold]{figures.recall_before:.2f} → {figures.recall_after:.2f}[/], "
            f"general [bold]{figures.general_before:.2f} → {figures.general_after:.2f}[/]"
        )

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = time.monotonic() - started

    def _progress(self) -> Progress:
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            transient=True,
        )


class _Bars:
    """One line of progress for each stage of the night."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, night: _Night) -> None:
        """Bring the lines up to date."""
        job = night.job
        if job is not None and job.state == "running" and job.stage is not None:
            note = "" if job.loss is None else f"loss {job.loss:.3f}"
            if job.remaining_s is not None:
                note += f", about {job.remaining_s:.0f} s left"
            self._update(f"Tomato: {job.stage}", job.step, max(job.steps, 1), note)
        if night.transfer is not None:
            done, total = night.transfer.done_bytes, night.transfer.total_bytes
            chunks = -(-total // CHUNK_BYTES)
            note = f"{decimal(done)} of {decimal(total)}"
            self._update("Sprout: pull the artifact", done // CHUNK_BYTES, max(chunks, 1), note)
        if night.trial is not None:
            trial = night.trial
            self._update(f"Sprout: try it ({trial.part})", trial.done, max(trial.total, 1), "")

    def finish(self) -> None:
        """Everything is done."""
        for task in self._tasks.values():
            self._progress.update(task, completed=self._progress.tasks[task].total)

    def _update(self, name: str, done: int, total: int, note: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, note=note)
        self._progress.update(self._tasks[name], completed=done, total=total, note=note)


def _stage_of(night: _Night) -> str:
    if night.trial is not None:
        return "trial"
    if night.transfer is not None:
        return "transfer"
    if night.job is not None and night.job.state == "running" and night.job.stage is not None:
        return night.job.stage
    return "prepare" if night.job is None or night.job.state == "queued" else "publish"


def _answer(client: Client, text: str, *, recall: bool, keep: bool) -> dict[str, Any]:
    body = {"text": text, "recall": recall, "keep": keep}
    for line in client.lines("/sprout/ask", body):
        if "answer" in line:
            answer: dict[str, Any] = line["answer"]
            return answer
    raise StageError("the agent ended its answer too early")


def _paired(
    questions: Sequence[tuple[str, tuple[str, ...]]], before: Sequence[str], after: Sequence[str]
) -> list[Asked]:
    return [
        Asked(question, expect, one, other)
        for (question, expect), one, other in zip(questions, before, after, strict=True)
    ]


def _marked(right: bool, text: str) -> str:
    colour = "green" if right else "red"
    return f"[{colour}]{'✓' if right else '✗'}[/] {escape(_shortened(text))}"


def _shortened(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN_CHARS else flat[: _SHOWN_CHARS - 1] + "…"
