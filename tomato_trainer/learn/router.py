"""Fit a router: states of texts below every adapted layer, and a small network over them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sprout_link.router import MAX_TOKENS, Floats, Router, features
from tomato_trainer.data.router_rows import RouterKind, RouterRow, RouterRows
from tomato_trainer.learn.recipes import Recipe

_BATCH_TOKENS: Final = 1024
_MINIBATCH: Final = 128
_PATIENCE: Final = 12
_SHARES: Final[dict[RouterKind, float]] = {"memory": 0.5, "near": 0.2, "general": 0.3}
"""Weight of each kind in the loss, however many rows it has."""


@dataclass(frozen=True)
class RouterFit:
    """A fitted router, and how it does on the calibration rows."""

    router: Router
    recall: float
    """Share of questions about memories that it routes, 0 to 1."""
    false_general: float
    """Share of general texts that it routes."""
    false_near: float
    """Share of questions about other subjects that it routes."""

    def figures(self) -> dict[str, float]:
        """For the manifest."""
        return {
            "router_recall": self.recall,
            "router_false_general": self.false_general,
            "router_false_near": self.false_near,
        }


def fit_router(
    model: Any, tokenizer: Any, rows: RouterRows, recipe: Recipe, *, layer: int
) -> RouterFit:
    """Fit a router over the states after the first `layer` layers of `model`.

    Args:
        model: transformers `LlamaForCausalLM` or one of the same shape; an adapter in those
            layers must be switched off.
        tokenizer: of the model.
        rows: what to fit on and to calibrate by.
        recipe: the router's settings.
        layer: 1 to the number of layers.
    """
    fit = _text_features(model, tokenizer, [row.text for row in rows.fit], layer)
    calibration = _text_features(model, tokenizer, [row.text for row in rows.calibration], layer)
    return fit_on_features(fit, rows.fit, calibration, rows.calibration, recipe, layer=layer)


def fit_on_features(
    fit: Floats,
    fit_rows: Sequence[RouterRow],
    calibration: Floats,
    calibration_rows: Sequence[RouterRow],
    recipe: Recipe,
    *,
    layer: int,
) -> RouterFit:
    """Fit on (rows, d) features, as `sprout_link.router.features` gives them."""
    mean = fit.mean(axis=0)
    scale = np.maximum(fit.std(axis=0), 1e-4)
    inside = torch.from_numpy((fit - mean) / scale)
    outside = torch.from_numpy((calibration - mean) / scale)
    network = _train(inside, fit_rows, outside, calibration_rows, recipe)
    with torch.no_grad():
        logits = network(outside)[:, 0].numpy()
    threshold = choose_threshold(logits, calibration_rows, recipe)
    first, last = cast(nn.Linear, network[0]), cast(nn.Linear, network[-1])
    router = Router(
        layer=layer,
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        hidden_weight=first.weight.detach().numpy().copy(),
        hidden_bias=first.bias.detach().numpy().copy(),
        output_weight=last.weight.detach().numpy()[0].copy(),
        output_bias=float(np.float32(last.bias.item() - threshold)),
    )
    return RouterFit(
        router=router,
        recall=_share(logits, calibration_rows, "memory", threshold, default=1.0),
        false_general=_share(logits, calibration_rows, "general", threshold),
        false_near=_share(logits, calibration_rows, "near", threshold),
    )


def text_states(model: Any, tokenizer: Any, texts: Sequence[str], layer: int) -> list[Floats]:
    """(tokens, width) states of each bare text after the first `layer` layers, fp32.

    Of a text longer than `MAX_TOKENS`, the last ones; no text may be empty.
    """
    rows = [tokenizer(t, add_special_tokens=False)["input_ids"][-MAX_TOKENS:] for t in texts]
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    states: dict[int, Floats] = {}
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * len(rows[index]) > _BATCH_TOKENS:
            states.update(_batch_states(model, rows, batch, layer))
            batch = []
        batch.append(index)
    if batch:
        states.update(_batch_states(model, rows, batch, layer))
    return [states[index] for index in range(len(rows))]


def choose_threshold(
    logits: NDArray[np.float32], rows: Sequence[RouterRow], recipe: Recipe
) -> float:
    """The bound that lets the recipe's share of the general calibration rows through.

    Misses do not move it: there are few questions about memories to calibrate by, and with
    a bound set by them both kinds of mistake were more frequent on questions of other sets.
    Without general rows, 0.
    """
    general = _of_kind(logits, rows, "general")
    if not len(general):
        return 0.0
    return float(np.quantile(general, 1.0 - recipe.router_false_general))


def _text_features(model: Any, tokenizer: Any, texts: Sequence[str], layer: int) -> Floats:
    return np.stack([features(states) for states in text_states(model, tokenizer, texts, layer)])


def _batch_states(
    model: Any, rows: Sequence[list[int]], batch: Sequence[int], layer: int
) -> dict[int, Floats]:
    """States of some rows, padded on the right, where a causal model never looks from before."""
    decoder = model.model
    device = next(model.parameters()).device
    width = max(len(rows[index]) for index in batch)
    tokens = torch.zeros((len(batch), width), dtype=torch.long, device=device)
    for place, index in enumerate(batch):
        tokens[place, : len(rows[index])] = torch.tensor(rows[index], device=device)
    positions = torch.arange(width, device=device)[None]
    with torch.inference_mode():
        hidden = decoder.embed_tokens(tokens)
        mask = torch.full((1, 1, width, width), float("-inf"), dtype=hidden.dtype, device=device)
        mask = mask.triu(1)
        angles = decoder.rotary_emb(hidden, position_ids=positions)
        for module in decoder.layers[:layer]:
            out = module(
                hidden,
                attention_mask=mask,
                position_ids=positions,
                position_embeddings=angles,
                use_cache=False,
            )
            hidden = out[0] if isinstance(out, tuple) else out
        found = hidden.float().cpu().numpy()
    return {index: found[place, : len(rows[index])] for place, index in enumerate(batch)}


def _train(
    inside: Tensor,
    rows: Sequence[RouterRow],
    outside: Tensor,
    calibration: Sequence[RouterRow],
    recipe: Recipe,
) -> nn.Sequential:
    """The network of the epoch with the lowest calibration loss."""
    chance = torch.Generator().manual_seed(recipe.seed)
    network = _network(inside.shape[1], recipe, chance)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.router_rate, weight_decay=recipe.router_decay
    )
    labels, weights = _labels(rows), _weights(rows)
    outer_labels, outer_weights = _labels(calibration), _weights(calibration)
    best, best_loss, since = deepcopy(network), float("inf"), 0
    for _ in range(recipe.router_epochs):
        for picked in torch.split(torch.randperm(len(rows), generator=chance), _MINIBATCH):
            keep = torch.rand(inside[picked].shape, generator=chance) >= recipe.router_dropout
            given = inside[picked] * keep / (1 - recipe.router_dropout)
            loss = _loss(network(given), labels[picked], weights[picked])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        with torch.no_grad():
            outer = float(_loss(network(outside), outer_labels, outer_weights))
        since += 1
        if outer < best_loss:
            best, best_loss, since = deepcopy(network), outer, 0
        if since >= _PATIENCE:
            break
    return best


def _network(width: int, recipe: Recipe, chance: torch.Generator) -> nn.Sequential:
    hidden, output = nn.Linear(width, recipe.router_units), nn.Linear(recipe.router_units, 1)
    for layer in (hidden, output):
        nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=chance)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(hidden, nn.ReLU(), output)


def _loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    each = functional.binary_cross_entropy_with_logits(logits[:, 0], labels, reduction="none")
    return (each * weights).sum() / weights.sum()


def _labels(rows: Sequence[RouterRow]) -> Tensor:
    return torch.tensor([float(row.kind == "memory") for row in rows])


def _weights(rows: Sequence[RouterRow]) -> Tensor:
    kinds = [row.kind for row in rows]
    return torch.tensor([_SHARES[kind] / kinds.count(kind) for kind in kinds]) * len(rows)


def _of_kind(
    logits: NDArray[np.float32], rows: Sequence[RouterRow], kind: RouterKind
) -> NDArray[np.float32]:
    some: NDArray[np.float32] = logits[np.array([row.kind == kind for row in rows], dtype=bool)]
    return some


def _share(
    logits: NDArray[np.float32],
    rows: Sequence[RouterRow],
    kind: RouterKind,
    threshold: float,
    default: float = 0.0,
) -> float:
    some = _of_kind(logits, rows, kind)
    return float((some > threshold).mean()) if len(some) else default
