"""Log lines as `time level logger message key=value …` on standard error."""

from __future__ import annotations

import logging
import sys
from typing import Final

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class KeyValueFormatter(logging.Formatter):
    """Appends what a line was given as `extra`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S%z")

    def format(self, record: logging.LogRecord) -> str:
        """The line of `record`."""
        pairs = [f"{key}={value}" for key, value in vars(record).items() if key not in _STANDARD]
        return " ".join([super().format(record), *pairs])


def log_to_stderr(level: str) -> None:
    """Send this program's log lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for package in ("tomato_trainer", "sprout_link"):
        logging.getLogger(package).setLevel(level.upper())
