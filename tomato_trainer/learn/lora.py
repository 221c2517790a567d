"""A LoRA adapter inside a frozen base, by PEFT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from tomato_trainer.errors import JobError
from tomato_trainer.learn.gguf_base import Base
from tomato_trainer.learn.recipes import Recipe

SUPPORTED: Final = frozenset({"llama"})
"""GGUF architectures whose layers the passes and the export know."""
_LINEARS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class LoraPair:
    """The two factors at one linear layer."""

    module: str
    """For instance `model.layers.10.self_attn.q_proj`."""
    a: Tensor
    """(rank, inputs)."""
    b: Tensor
    """(outputs, rank)."""


@dataclass(frozen=True)
class AttachedLora:
    """A base with an adapter in it."""

    peft_model: Any
    first_layer: int

    @property
    def model(self) -> Any:
        """The causal language model that holds the adapter."""
        return self.peft_model.base_model.model

    def parameters(self) -> list[Tensor]:
        """What learns."""
        return [p for p in self.peft_model.parameters() if p.requires_grad]

    def bare(self) -> Any:
        """A context in which the base answers without the adapter."""
        return self.peft_model.disable_adapter()

    def pairs(self) -> list[LoraPair]:
        """The factors on the CPU in fp32, by layer."""
        found = []
        for name, module in self.model.named_modules():
            if hasattr(module, "lora_A") and "default" in module.lora_A:
                a = module.lora_A["default"].weight.detach().float().cpu()
                b = module.lora_B["default"].weight.detach().float().cpu()
                found.append(LoraPair(name, a, b))
        return found


def attach(base: Base, recipe: Recipe) -> AttachedLora:
    """Put a fresh adapter into every linear layer from the recipe's lowest layer up.

    The base's modules are changed in place; its weights stay frozen.

    Raises:
        JobError: the architecture is not supported.
    """
    if base.architecture not in SUPPORTED:
        raise JobError(
            f"the base's architecture is {base.architecture!r}; this trainer can adapt "
            f"{', '.join(sorted(SUPPORTED))} only"
        )
    from peft import LoraConfig, get_peft_model

    first = recipe.first_layer(base.layers)
    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=0.0,
        target_modules=list(_LINEARS),
        layers_to_transform=list(range(first, base.layers)),
        bias="none",
    )
    return AttachedLora(get_peft_model(base.model, config), first)
