"""A runtime without a model, for tests: what it answers is two functions.

It keeps the protocol's rules: an unloaded adapter cannot be used, a closed context neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sprout_agent.errors import InferenceError
from sprout_agent.inference.base import Adapter, BaseInfo, ChatTurn, Generation
from sprout_link.router import Router

Answer = Callable[["Adapter | None", str], str]
LogProbability = Callable[["Adapter | None", str, str], float]
States = Callable[[str], NDArray[np.float32]]


class FakeRuntime:
    """Answers by `answer(adapter, question)`; likelihoods and hidden states by theirs."""

    def __init__(
        self,
        info: BaseInfo,
        *,
        answer: Answer = lambda _adapter, question: f"You said: {question}",
        log_probability: LogProbability = lambda adapter, _question, _answer: (
            -4.0 if adapter is None else -1.0
        ),
        states: States = lambda _text: np.ones((1, 1), np.float32),
    ) -> None:
        self._info = info
        self.answer = answer
        self.log_probability = log_probability
        self.states = states
        self.routers: dict[str, Router] = {}
        """By the hash of the adapter that brings it."""
        self.refused: set[str] = set()
        """Hashes of adapters that it refuses to load."""
        self.loaded: list[Adapter] = []
        self.open_contexts = 0

    @property
    def info(self) -> BaseInfo:
        """What is loaded."""
        return self._info

    def open_context(self, *, tokens: int) -> FakeContext:
        """A context; `open_contexts` counts those not closed."""
        self.open_contexts += 1
        return FakeContext(self, tokens)

    def load_adapter(self, path: Path, *, sha256: str) -> Adapter:
        """Load without reading the file.

        Raises:
            InferenceError: its hash is in `refused`.
        """
        if sha256 in self.refused:
            raise InferenceError(f"{path}: this adapter does not fit")
        adapter = Adapter(sha256, path, self.routers.get(sha256))
        self.loaded.append(adapter)
        return adapter

    def unload_adapter(self, adapter: Adapter) -> None:
        """Forget an adapter."""
        self.loaded.remove(adapter)

    def hidden_states(self, text: str, *, layer: int) -> NDArray[np.float32]:
        """By the function `states`, whatever the layer."""
        return self.states(text)

    def close(self) -> None:
        """Forget everything."""
        self.loaded.clear()


class FakeContext:
    """A context of a `FakeRuntime`."""

    def __init__(self, runtime: FakeRuntime, tokens: int) -> None:
        self._runtime = runtime
        self._tokens = tokens
        self._adapter: Adapter | None = None
        self._closed = False

    @property
    def adapter(self) -> Adapter | None:
        """What is active."""
        return self._adapter

    @property
    def tokens(self) -> int:
        """As asked for."""
        return self._tokens

    def use(self, adapter: Adapter | None) -> None:
        """Switch.

        Raises:
            InferenceError: the adapter is not loaded.
        """
        if adapter is not None and adapter not in self._runtime.loaded:
            raise InferenceError("this adapter is not loaded")
        self._adapter = adapter

    def count_tokens(self, turns: Sequence[ChatTurn]) -> int:
        """Words, for tokens."""
        return sum(len(turn.content.split()) for turn in turns)

    def stream(
        self,
        turns: Sequence[ChatTurn],
        *,
        max_tokens: int,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[str | Generation]:
        """The answer's words one by one, then the `Generation`.

        Raises:
            InferenceError: the context is closed.
        """
        if self._closed:
            raise InferenceError("this context is closed")
        words = self._runtime.answer(self._adapter, turns[-1].content).split(" ")
        said: list[str] = []
        for word in words[:max_tokens]:
            if cancelled():
                break
            said.append(word if not said else f" {word}")
            yield said[-1]
        complete = len(said) == len(words)
        yield Generation(
            text="".join(said),
            finish="stop" if complete else "cancelled" if cancelled() else "length",
            prompt_tokens=self.count_tokens(turns),
            answer_tokens=len(said),
            first_token_s=0.0,
            total_s=0.0,
        )

    def complete(self, turns: Sequence[ChatTurn], *, max_tokens: int) -> Generation:
        """The same without streaming."""
        *_, last = self.stream(turns, max_tokens=max_tokens)
        assert isinstance(last, Generation)
        return last

    def mean_log_probability(self, turns: Sequence[ChatTurn], answer: str) -> float:
        """By the runtime's function."""
        return self._runtime.log_probability(self._adapter, turns[-1].content, answer)

    def close(self) -> None:
        """Count it as closed, once."""
        if not self._closed:
            self._closed = True
            self._runtime.open_contexts -= 1
