"""The settings of a training run: frozen, bounded, and changed by name from a job."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

from tomato_trainer.errors import JobError


@dataclass(frozen=True)
class Recipe:
    """LoRA over the base's own weights, held to the base by KL on general rows."""

    rank: int = 16
    alpha: int = 32
    lowest_layer_share: float = 1 / 3
    """Share of the layers, from below, that stays untouched."""
    learning_rate: float = 1e-3
    final_rate_share: float = 0.1
    """The cosine ends at this share of the learning rate."""
    warmup_steps: int = 6
    clip_norm: float = 1.0
    questions_per_step: int = 8
    chats_per_step: int = 3
    """General chats that a step is held to the base on, besides one general text."""
    kl_weight: float = 1.0
    steps_per_fact: float = 3.5
    base_steps: int = 16
    """Steps of a run besides those for each fact."""
    min_steps: int = 24
    max_steps: int = 600
    max_text_tokens: int = 48
    """Tokens of a general text in one row."""
    router_units: int = 256
    """Hidden units of the router, which tells what concerns the memories."""
    router_rate: float = 1e-3
    router_decay: float = 0.1
    router_dropout: float = 0.5
    """Share of its inputs that each of its steps leaves out."""
    router_epochs: int = 60
    router_rows_per_fact: int = 32
    """Most questions about one sentence that the router is fitted on."""
    router_max_rows: int = 6_000
    router_false_general: float = 0.03
    """Share of general calibration rows that may be routed; sets the threshold."""
    seed: int = 1

    def steps(self, facts: int) -> int:
        """Most optimiser steps of a run over `facts` sentences."""
        planned = self.base_steps + round(self.steps_per_fact * facts)
        return max(self.min_steps, min(self.max_steps, planned))

    def first_layer(self, layers: int) -> int:
        """Index of the lowest adapted layer of a base with `layers`."""
        return min(layers - 1, int(layers * self.lowest_layer_share))

    def as_text(self) -> dict[str, str]:
        """Every setting as text, for the manifest."""
        return {name: repr(value) for name, value in asdict(self).items()}


_RANGES: dict[str, tuple[float, float]] = {
    "rank": (1, 256),
    "alpha": (1, 1024),
    "lowest_layer_share": (0.0, 0.99),
    "learning_rate": (1e-6, 1.0),
    "final_rate_share": (0.0, 1.0),
    "warmup_steps": (0, 10_000),
    "clip_norm": (1e-3, 1e3),
    "questions_per_step": (1, 256),
    "chats_per_step": (1, 64),
    "kl_weight": (0.0, 100.0),
    "steps_per_fact": (0.0, 1_000.0),
    "base_steps": (0, 100_000),
    "min_steps": (1, 100_000),
    "max_steps": (1, 100_000),
    "max_text_tokens": (8, 4_096),
    "router_units": (1, 1024),
    "router_rate": (1e-6, 1.0),
    "router_decay": (0.0, 100.0),
    "router_dropout": (0.0, 0.9),
    "router_epochs": (1, 10_000),
    "router_rows_per_fact": (4, 1_000),
    "router_max_rows": (100, 1_000_000),
    "router_false_general": (0.0, 1.0),
    "seed": (0, 2**31),
}


def recipe_for(method: str, changes: dict[str, float]) -> Recipe:
    """The recipe of `method` with a job's changes.

    Raises:
        JobError: the method or a setting is unknown, or a value is out of range; every
            mistake is named.
    """
    if method != "lora":
        raise JobError(f"the method {method!r} is unknown; known is 'lora'")
    defaults = Recipe()
    kinds = {field.name: type(getattr(defaults, field.name)) for field in fields(Recipe)}
    mistakes = [
        f"{name} is unknown"
        if name not in kinds
        else f"{name} = {value:g} is outside {_RANGES[name][0]:g} to {_RANGES[name][1]:g}"
        for name, value in changes.items()
        if name not in kinds or not _RANGES[name][0] <= value <= _RANGES[name][1]
    ]
    if mistakes:
        raise JobError(f"the recipe cannot be used: {'; '.join(mistakes)}")
    return replace(defaults, **{name: kinds[name](value) for name, value in changes.items()})
