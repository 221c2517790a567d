"""Tables for people: what `memories` and `status` print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_memories(memories: Sequence[dict[str, Any]]) -> None:
    """One line a memory, oldest first."""
    console = Console()
    if not memories:
        console.print("Nothing is kept yet.")
        return
    table = Table()
    for name in ("#", "Said", "Salience", "Why", "When"):
        table.add_column(name, justify="right" if name == "#" else "left")
    for memory in memories:
        struck = "[strike]" if memory["superseded"] else ""
        table.add_row(
            str(memory["sequence"]),
            struck + escape(memory["text"]),
            f"{memory['salience']:.2f}",
            escape(memory["reason"]),
            memory["said_at"][:16].replace("T", " "),
        )
    console.print(table)


def print_status(status: dict[str, Any]) -> None:
    """The agent's state, one line a thing."""
    table = Table(show_header=False, box=None)
    table.add_column(style="dim")
    table.add_column()
    for name, value in _status_lines(status):
        table.add_row(name, escape(value))
    Console().print(table)


def _status_lines(status: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [
        ("device", status["device"]),
        ("agent", "running" if status["running"] else "not running"),
        ("folder", status["folder"]),
    ]
    if status["base"]:
        lines.append(("base", f"{status['base']['path']} ({status['base']['sha256'][:12]}…)"))
    lines.append(("active artifact", status["active_artifact"] or "none: the bare base answers"))
    if status["running"]:
        lines.append(("broker", status["connection"]))
    lines.append(("turns", f"{status['turns']} in {status['sessions']} sessions"))
    lines.append(("memories", f"{status['memories']}, of which {status['waiting']} wait"))
    if status["last_refusal"]:
        lines.append(("refused by the trainer", status["last_refusal"]))
    if job := status["job"]:
        where = f"{job['state']} {job['stage'] or ''} {job['step']}/{job['steps']}".strip()
        lines.append(("training", f"{where} {job['message']}".strip()))
    if transfer := status["transfer"]:
        lines.append(("download", f"{transfer['done_bytes']} of {transfer['total_bytes']} bytes"))
    if trial := status["trial"]:
        lines.append(("trial", f"{trial['part']} {trial['done']}/{trial['total']}"))
    if report := status["last_report"]:
        reasons = "; ".join(report["reasons"])
        lines.append(("last artifact", f"{report['outcome']} {report['artifact'][:12]}… {reasons}"))
    if status["update_problem"]:
        lines.append(("update", status["update_problem"]))
    return lines
