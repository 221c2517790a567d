"""Settings of the updates: the table `[update]` of the agent's settings file."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from sprout_link.messages import Fraction


class UpdateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an artifact must show on this device before it is used."""

    min_recall: Fraction = 0.6
    """Least part of the device's own questions that must be answered right, 0 to 1."""
    max_general_drop: Annotated[int, Meta(ge=0, le=100)] = 1
    """Most general questions that the base answers and the artifact may lose, 0 to 100."""
    min_proof_part: Fraction = 0.5
    """Least part of the promised rise in log-probability that must be seen here, 0 to 1."""
    max_repeating: Fraction = 0.1
    """Most answers, as a part of all, that may circle in one phrase, 0 to 1."""
    max_probes: Annotated[int, Meta(ge=1, le=500)] = 24
    """Most questions that are made of the memories for one trial, 1 to 500."""
    answer_tokens: Annotated[int, Meta(ge=8, le=512)] = 48
    """Longest answer in a trial, in tokens, 8 to 512."""
    context_tokens: Annotated[int, Meta(ge=256, le=131_072)] = 1024
    """Context of the trial, in tokens, 256 to 131072."""
    max_tries: Annotated[int, Meta(ge=1, le=10)] = 3
    """Trials that may fail without a verdict (a crash, no memory) before giving up, 1 to 10."""
    spare_mib: Annotated[int, Meta(ge=0, le=1_048_576)] = 64
    """Free disk space to leave beside a download, in MiB, 0 to 1048576."""
