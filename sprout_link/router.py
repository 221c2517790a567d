"""The router: does a question concern what an adapter holds? Weights, features, decision.

A small network over the base's hidden state, read below every adapted layer, so the adapter
cannot change what its own router sees. When it says no, the base answers, bit for bit. Both
sides use this file: the trainer fits it, the device decides by it.

Its weights travel as metadata of the adapter's GGUF file, which llama.cpp leaves alone:
one unsigned number, and arrays of 32-bit floats, under the keys below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sprout_link.errors import ModelFileError

Floats = NDArray[np.float32]

KEY_LAYER: Final = "sprout.router.layer"
KEY_MEAN: Final = "sprout.router.mean"
KEY_SCALE: Final = "sprout.router.scale"
KEY_HIDDEN_WEIGHT: Final = "sprout.router.hidden_weight"
KEY_HIDDEN_BIAS: Final = "sprout.router.hidden_bias"
KEY_OUTPUT_WEIGHT: Final = "sprout.router.output_weight"
KEY_OUTPUT_BIAS: Final = "sprout.router.output_bias"
ARRAY_KEYS: Final = (
    KEY_MEAN, KEY_SCALE, KEY_HIDDEN_WEIGHT, KEY_HIDDEN_BIAS, KEY_OUTPUT_WEIGHT, KEY_OUTPUT_BIAS,
)  # fmt: skip

MAX_UNITS: Final = 1024
MAX_TOKENS: Final = 128
"""A longer turn is judged by its last tokens."""


@dataclass(frozen=True)
class Router:
    """A fitted router. `d` is twice the base's hidden size, `u` its own hidden units."""

    layer: int
    """So many of the base's layers are run; 1 to the number of its layers."""
    mean: Floats
    """(d,) of the features it was fitted on."""
    scale: Floats
    """(d,) by which centred features are divided; positive."""
    hidden_weight: Floats
    """(u, d)"""
    hidden_bias: Floats
    """(u,)"""
    output_weight: Floats
    """(u,)"""
    output_bias: float
    """The threshold is folded into it: a logit above 0 means yes."""

    def logit(self, states: Floats) -> float:
        """How sure it is, over 0 for yes, that the text concerns the adapter's memories.

        Args:
            states: (tokens, d / 2) hidden states of the bare text, without template and
                special tokens, after `layer` layers of the base.
        """
        centred = (features(states) - self.mean) / self.scale
        hidden = np.maximum(self.hidden_weight @ centred + self.hidden_bias, 0.0)
        return float(self.output_weight @ hidden) + self.output_bias


def features(states: Floats) -> Floats:
    """(d,) features of (tokens, d / 2) states: the last token's and the mean, each of length 1.

    Raises:
        ValueError: there is no token.
    """
    if len(states) == 0:
        raise ValueError("a text without tokens has no features")
    last, mean = states[-1], states.mean(axis=0)
    return np.concatenate([_unit(last), _unit(mean)]).astype(np.float32)


def to_metadata(router: Router) -> dict[str, list[float]]:
    """The arrays as they are written to the adapter's file; `layer` is written beside them."""
    return {
        KEY_MEAN: router.mean.tolist(),
        KEY_SCALE: router.scale.tolist(),
        KEY_HIDDEN_WEIGHT: router.hidden_weight.ravel().tolist(),
        KEY_HIDDEN_BIAS: router.hidden_bias.tolist(),
        KEY_OUTPUT_WEIGHT: router.output_weight.tolist(),
        KEY_OUTPUT_BIAS: [router.output_bias],
    }


def from_metadata(
    layer: int, arrays: Mapping[str, Floats], *, hidden_size: int, layers: int
) -> Router:
    """Put a router together from a file that nobody trusts yet.

    Args:
        layer: value of `KEY_LAYER`.
        arrays: those of `ARRAY_KEYS` that the file holds, flat.
        hidden_size: of the base.
        layers: of the base.

    Raises:
        ModelFileError: something is missing, of another size, not finite or out of range.
    """
    missing = [key for key in ARRAY_KEYS if key not in arrays]
    if missing:
        raise ModelFileError(f"its router is not whole; missing: {', '.join(missing)}")
    units, d = len(arrays[KEY_HIDDEN_BIAS]), 2 * hidden_size
    expected = {
        KEY_MEAN: d, KEY_SCALE: d, KEY_HIDDEN_WEIGHT: units * d, KEY_HIDDEN_BIAS: units,
        KEY_OUTPUT_WEIGHT: units, KEY_OUTPUT_BIAS: 1,
    }  # fmt: skip
    wrong = [
        f"{key} has {len(arrays[key])} values, expected {size}"
        for key, size in expected.items()
        if len(arrays[key]) != size
    ]
    if not 1 <= units <= MAX_UNITS:
        wrong.append(f"it has {units} units, expected 1 to {MAX_UNITS}")
    if not 1 <= layer <= layers:
        wrong.append(f"it reads layer {layer}, the base has {layers}")
    wrong += [f"{key} is not finite" for key in ARRAY_KEYS if not np.isfinite(arrays[key]).all()]
    if not wrong and not (arrays[KEY_SCALE] > 0).all():
        wrong.append(f"{KEY_SCALE} is not positive")
    if wrong:
        raise ModelFileError(f"its router does not fit: {'; '.join(wrong)}")
    return Router(
        layer=layer,
        mean=arrays[KEY_MEAN],
        scale=arrays[KEY_SCALE],
        hidden_weight=arrays[KEY_HIDDEN_WEIGHT].reshape(units, d),
        hidden_bias=arrays[KEY_HIDDEN_BIAS],
        output_weight=arrays[KEY_OUTPUT_WEIGHT],
        output_bias=float(arrays[KEY_OUTPUT_BIAS][0]),
    )


def _unit(vector: Floats) -> Floats:
    length = float(np.linalg.norm(vector))
    return vector / max(length, 1e-12)
