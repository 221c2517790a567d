"""Who answers a text: the installed adapter, or the base because the router says no.

The conversation and the trial of an adapter both ask here, so that what is tried is what
will answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sprout_agent.inference.base import Adapter, Runtime


@dataclass(frozen=True)
class Routed:
    """Who answers, and why."""

    adapter: Adapter | None
    """None: the bare base."""
    logit: float | None
    """The router's, over 0 for yes; none when no router was asked or it gave no number."""
    why: str


def answering(runtime: Runtime, adapter: Adapter | None, text: str) -> Routed:
    """Who answers a user's turn.

    Args:
        runtime: the loaded base.
        adapter: what is installed, loaded by `runtime`; none for the bare base.
        text: the turn as the user said it, without template, history or recalled memories.

    Raises:
        InferenceError: the runtime cannot show the states that the router reads.
    """
    if adapter is None:
        return Routed(None, None, "no adapter is installed")
    if adapter.router is None:
        return Routed(adapter, None, "the adapter has no router")
    states = runtime.hidden_states(text, layer=adapter.router.layer)
    with np.errstate(all="ignore"):  # huge weights overflow; that is looked at below
        logit = adapter.router.logit(states)
    if not math.isfinite(logit):
        return Routed(None, None, "the router gave no number, so the base answers")
    return Routed(adapter if logit > 0 else None, logit, f"the router says {logit:.2f}")
