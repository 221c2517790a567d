"""Reads what the demo plays: a user's lines, and the questions that come after the night."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from sprout_link.errors import SettingsError
from sprout_link.messages import MAX_TEXT_CHARS

MAX_FILE_BYTES: Final = 4 * 1024 * 1024

Text = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARS)]


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of a fact file. `ask` and `expect` never leave the agent's side."""

    say: Text
    """What the user says to the agent."""
    ask: list[Text] = []
    """Questions for later; none means small talk."""
    expect: list[Text] = []
    """Keywords that a right answer holds, all of them, whatever the case."""


class General(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question of general knowledge, which must not get worse."""

    ask: Text
    expect: list[Text]
    """Keywords that a right answer holds, all of them."""


def read_facts(path: Path) -> list[Line]:
    """Lines of the JSON Lines file at `path`; blank lines are passed over.

    Raises:
        SettingsError: it cannot be read, or has mistakes (all are listed, by line).
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SettingsError(f"{path}: over {MAX_FILE_BYTES} bytes; that is no conversation")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: there is no such fact file") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    return parse_facts(text, source=str(path))


def parse_facts(text: str, *, source: str) -> list[Line]:
    """Lines of a fact file's text.

    Raises:
        SettingsError: with one line a mistake, each with its line number.
    """
    lines: list[Line] = []
    mistakes: list[str] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        if not raw.strip():
            continue
        try:
            line = msgspec.json.decode(raw.encode("utf-8"), type=Line)
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            mistakes.append(f"line {number}: {error}")
            continue
        if bool(line.ask) != bool(line.expect):
            there, lacking = ("ask", "expect") if line.ask else ("expect", "ask")
            mistakes.append(f"line {number}: has `{there}` and no `{lacking}`")
        lines.append(line)
    if not mistakes and not any(line.ask for line in lines):
        mistakes.append("no line has `ask` and `expect`, so there is nothing to be learned")
    if mistakes:
        shown = "\n".join(f"  {mistake}" for mistake in mistakes)
        raise SettingsError(f"{source}: not a fact file\n{shown}")
    return lines


def packaged_facts() -> list[Line]:
    """The demo's own conversation."""
    text = (resources.files(__package__) / "facts.jsonl").read_text(encoding="utf-8")
    return parse_facts(text, source="facts.jsonl")


def general_questions() -> list[General]:
    """A handful of questions that any assistant should go on answering."""
    data = (resources.files(__package__) / "general.json").read_bytes()
    return msgspec.json.decode(data, type=list[General])
