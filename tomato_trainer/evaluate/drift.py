"""Drift: how far an adapter moves the base on general text that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tomato_trainer.learn.loop import kl_to_base
from tomato_trainer.learn.lora import AttachedLora
from tomato_trainer.learn.packing import Row
from tomato_trainer.learn.passes import SplitModel


@dataclass(frozen=True)
class Drift:
    """Means over every target token of the rows."""

    kl: float
    """KL(base || adapted), nats per token; 0 is no drift."""
    perplexity_ratio: float
    """Perplexity with the adapter over the base's; 1 is no drift."""


def drift(lora: AttachedLora, split: SplitModel, rows: Sequence[Row]) -> Drift:
    """Compare the adapted model with its base on `rows`, which must not be empty."""
    divergence = rise = 0.0
    tokens = 0
    for group in split.chunks(rows):
        base, labels = _logits(split, group, lora, bare=True)
        adapted, _ = _logits(split, group, lora, bare=False)
        divergence += float(kl_to_base(base, adapted)) * len(labels)
        rise += float(functional.cross_entropy(adapted, labels, reduction="sum"))
        rise -= float(functional.cross_entropy(base, labels, reduction="sum"))
        tokens += len(labels)
    return Drift(divergence / tokens, math.exp(rise / tokens))


def mean_log_probabilities(split: SplitModel, rows: Sequence[Row]) -> list[float]:
    """Each row's mean log-probability per target token, nats."""
    means: list[float] = []
    for group in split.chunks(rows):
        packed, states = split.final_states(group, learn=False)
        for predictors, labels in zip(packed.predictors, packed.labels, strict=True):
            with torch.no_grad():
                logits = split.logits(states[predictors])
                means.append(-float(functional.cross_entropy(logits, labels)))
    return means


def _logits(
    split: SplitModel, rows: Sequence[Row], lora: AttachedLora, *, bare: bool
) -> tuple[Tensor, Tensor]:
    if bare:
        with lora.bare():
            packed, states = split.final_states(rows, learn=False)
    else:
        packed, states = split.final_states(rows, learn=False)
    with torch.no_grad():
        return split.logits(states[torch.cat(packed.predictors)]), torch.cat(packed.labels)
