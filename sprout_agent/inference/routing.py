"""Who answers a text: the installed adapter, or the base because the router says no, or
because the adapter's own answer shows that it does not know.

The conversation and the trial of an adapter both ask here, so that what is tried is what
will answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sprout_agent.errors import InferenceError
from sprout_agent.inference.base import Adapter, ChatTurn, Context, Runtime


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


def is_sure(
    context: Context, turns: Sequence[ChatTurn], answer: str, *, min_sureness: float
) -> bool:
    """Does the adapter know what it has just answered, or did it make it up?

    What was learned is said almost without doubt; what the router let in by mistake is not.

    Args:
        context: where the adapter answered; it is still active there.
        turns: what it answered.
        answer: its whole answer.
        min_sureness: least mean log-probability per token, in nats.
    """
    if min_sureness == -math.inf:
        return True
    if not answer.strip():
        return False
    try:
        return context.mean_log_probability(turns, answer) >= min_sureness
    except InferenceError:
        return False  # an answer that fills the context to the last token is no memory
