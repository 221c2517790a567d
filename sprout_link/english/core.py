"""One thing to ask about a statement."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Core:
    """One thing to ask: direct ("where is my key") and indirect ("where my key is")."""

    direct: str
    indirect: str
    answer: str = ""
    """The part of the statement that is asked for; empty when it is not just one part."""
