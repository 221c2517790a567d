"""What every inference back end offers: one loaded base, contexts over it, hot adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from sprout_link.router import Router


@dataclass(frozen=True)
class ChatTurn:
    """One turn of a conversation as the chat template takes it."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class BaseInfo:
    """The base model that a runtime has loaded."""

    path: Path
    sha256: str
    """Of the whole file, hex."""
    architecture: str
    runtime: str
    """For instance `llama-cpp`."""
    runtime_version: str


@dataclass(frozen=True)
class Adapter:
    """A loaded adapter. Its weights stay in memory until the runtime unloads it."""

    sha256: str
    path: Path
    router: Router | None = field(default=None, compare=False)
    """Tells which turns it answers; without one it answers them all."""


@dataclass(frozen=True)
class Generation:
    """A finished answer."""

    text: str
    finish: Literal["stop", "length", "cancelled"]
    prompt_tokens: int
    answer_tokens: int
    first_token_s: float
    """Time to first token, seconds."""
    total_s: float


class Context(Protocol):
    """One sequence over the base with its own cache. Used by one thread at a time."""

    @property
    def adapter(self) -> Adapter | None:
        """What is active, or none: then the base answers."""

    @property
    def tokens(self) -> int:
        """Length of the context, in tokens."""

    def use(self, adapter: Adapter | None) -> None:
        """Make `adapter` (or the bare base) answer from now on; drops the cache.

        Raises:
            InferenceError: the runtime refuses it; what was active still is.
        """

    def count_tokens(self, turns: Sequence[ChatTurn]) -> int:
        """Tokens of the rendered prompt, the opening of the assistant's turn included."""

    def stream(
        self,
        turns: Sequence[ChatTurn],
        *,
        max_tokens: int,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[str | Generation]:
        """Greedy answer: pieces of text as they come, then one `Generation`.

        Raises:
            ContextFullError: the prompt leaves no room for an answer.
            InferenceError: the runtime failed.
        """

    def complete(self, turns: Sequence[ChatTurn], *, max_tokens: int) -> Generation:
        """The same without streaming."""

    def mean_log_probability(self, turns: Sequence[ChatTurn], answer: str) -> float:
        """Mean log-probability per token, in nats, of `answer` as the assistant's next turn."""

    def close(self) -> None:
        """Free the cache."""


class Runtime(Protocol):
    """A loaded base model."""

    @property
    def info(self) -> BaseInfo:
        """What is loaded."""

    def open_context(self, *, tokens: int) -> Context:
        """A context of `tokens` over the same weights; needs only its own cache."""

    def load_adapter(self, path: Path, *, sha256: str) -> Adapter:
        """Load adapter weights beside the base, without activating them.

        Raises:
            InferenceError: the file does not fit the base, or it or its router is damaged.
        """

    def unload_adapter(self, adapter: Adapter) -> None:
        """Free an adapter's weights; no context may use it any more."""

    def hidden_states(self, text: str, *, layer: int) -> NDArray[np.float32]:
        """What the bare base makes of a bare text; of its last `MAX_TOKENS` tokens, if longer.

        Neither template nor special tokens are added, and no adapter takes part. Contexts
        are left alone. May be called by several threads.

        Args:
            layer: so many of the base's layers are run, 1 to the number of its layers.

        Returns:
            Shape (tokens, hidden size).

        Raises:
            InferenceError: the text has no tokens, the base has no such layer, or the
                runtime failed.
        """

    def close(self) -> None:
        """Free everything."""
