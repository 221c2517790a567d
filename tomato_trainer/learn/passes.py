"""Forward passes over packed rows, with what lies below the adapter computed only once.

The layers below the lowest adapted one never change, so their output for a row is kept and
each step starts from there: no forward pass, and no backward pass, through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Final

import torch
from torch import Tensor

from tomato_trainer.learn.packing import Packed, Prefix, Row, pack

_CHUNK_TOKENS: Final = 768
"""Tokens in one sequence when many rows are only read: attention is quadratic in it."""
_KEPT_TOKENS: Final = 100_000
"""Most tokens whose lower states are kept: 230 MB at a width of 576."""


class SplitModel:
    """A llama-like causal model, cut below its lowest adapted layer.

    Args:
        model: transformers `LlamaForCausalLM` or one of the same shape; PEFT may have put
            adapters into its layers, none below `first_layer`.
        first_layer: index of the lowest adapted layer.
        prefix: what stands before every chat row.
    """

    def __init__(self, model: Any, *, first_layer: int, prefix: Prefix) -> None:
        self._decoder = model.model
        self._head = model.lm_head
        self._first = first_layer
        self._prefix = prefix
        self._kept: dict[Row, Tensor] = {}
        self._kept_tokens = 0
        self._prefix_state: Tensor | None = None
        self.device: torch.device = next(model.parameters()).device

    @property
    def prefix(self) -> Prefix:
        """What stands before every chat row."""
        return self._prefix

    def logits(self, hidden: Tensor) -> Tensor:
        """(N, width) final states to (N, vocabulary) logits in fp32."""
        logits: Tensor = self._head(hidden)
        return logits.float()

    def final_states(self, rows: Sequence[Row], *, learn: bool) -> tuple[Packed, Tensor]:
        """The rows packed, and their normalised last states, (S, width).

        With `learn` the pass is recorded for a backward pass through the adapted layers.
        """
        packed = pack(rows, self._prefix, device=self.device)
        with torch.no_grad():
            below = self._lower_states(rows, packed)
        with nullcontext() if learn else torch.no_grad():
            hidden = self._run(below, packed, self._first, len(self._decoder.layers))
            hidden = self._decoder.norm(hidden)
        return packed, hidden[0]

    def chunks(self, rows: Sequence[Row]) -> list[list[Row]]:
        """Rows in groups that are cheap to pack together, in order."""
        groups: list[list[Row]] = []
        size = 0
        for row in rows:
            if not groups or size + len(row.tokens) > _CHUNK_TOKENS:
                groups.append([])
                size = len(self._prefix.tokens)
            groups[-1].append(row)
            size += len(row.tokens)
        return groups

    def keep(self, rows: Sequence[Row]) -> None:
        """Compute and keep the lower states of `rows` ahead."""
        missing = [row for row in rows if row not in self._kept]
        for group in self.chunks(missing):
            with torch.no_grad():
                self._lower_states(group, pack(group, self._prefix, device=self.device))

    def _lower_states(self, rows: Sequence[Row], packed: Packed) -> Tensor:
        shared = len(self._prefix.tokens)
        if self._prefix_state is not None and all(row in self._kept for row in rows):
            pieces = [self._prefix_state, *(self._kept[row] for row in rows)]
            return torch.cat(pieces)[None]
        hidden = self._run(self._decoder.embed_tokens(packed.tokens), packed, 0, self._first)
        self._prefix_state = hidden[0, :shared].clone()
        for row, start in zip(rows, packed.starts, strict=True):
            if row not in self._kept and self._kept_tokens + len(row.tokens) <= _KEPT_TOKENS:
                self._kept[row] = hidden[0, start : start + len(row.tokens)].clone()
                self._kept_tokens += len(row.tokens)
        return hidden

    def _run(self, hidden: Tensor, packed: Packed, first: int, end: int) -> Tensor:
        angles = self._decoder.rotary_emb(hidden, position_ids=packed.positions)
        for layer in self._decoder.layers[first:end]:
            out = layer(
                hidden,
                attention_mask=packed.mask,
                position_ids=packed.positions,
                position_embeddings=angles,
                use_cache=False,
            )
            hidden = out[0] if isinstance(out, tuple) else out
        return hidden
