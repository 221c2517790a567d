"""Decisions of decoding that need no runtime: what of a cache still holds, whole characters."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def shared_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both sequences start with."""
    length = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        length += 1
    return length


def log_probabilities(logits: NDArray[Any], targets: Sequence[int]) -> NDArray[np.float64]:
    """Log-softmax of each row at its target.

    Args:
        logits: Shape (rows, vocabulary), any float dtype.
        targets: One token id a row.

    Returns:
        Shape (rows,), float64, in nats.
    """
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    chosen = values[np.arange(len(targets)), np.asarray(targets)]
    result: NDArray[np.float64] = chosen - np.log(np.exp(values).sum(axis=1))
    return result


class WholeCharacters:
    """Bytes of token pieces to text, never half a character.

    What is no UTF-8 comes out as U+FFFD.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, piece: bytes) -> str:
        """The characters that `piece` completes."""
        return self._decoder.decode(piece)

    def finish(self) -> str:
        """What is left, when no more bytes come."""
        return self._decoder.decode(b"", True)
