"""One sequence over a model that llama.cpp has loaded: its cache, its decoding, its scores.

Importing this module loads the native library.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, Protocol

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from sprout_agent.errors import ContextFullError, InferenceError
from sprout_agent.inference.base import Adapter, ChatTurn, Generation
from sprout_agent.inference.decoding import WholeCharacters, log_probabilities, shared_prefix
from sprout_agent.inference.llama_vocabulary import Vocabulary
from sprout_agent.inference.prompt import Prompt

BATCH_TOKENS: Final = 64
# Prompts are decoded in batches that start at multiples of this, and the cache is reused at
# those borders only. So every token is computed in the same batch whatever was asked before,
# and the same question has the same answer bit for bit: sums in another order would flip
# greedy choices that are nearly even.
SCORED_TOKENS: Final = 32
# llama.cpp reserves room for this many rows of logits; a whole batch of them would take
# 100 MB with SmolLM2's vocabulary.
_NO_CACHE_SLOT: Final = 1


class Owner(Protocol):
    """What a context needs of its runtime."""

    def handle_of(self, adapter: Adapter) -> Any:
        """The native adapter; raises InferenceError when it is not loaded."""

    def forget(self, context: LlamaCppContext) -> None:
        """The context was closed."""


class LlamaCppContext:
    """One sequence over the base with its own cache. Implements `Context`."""

    def __init__(self, runtime: Owner, handle: Any, vocabulary: Vocabulary, prompt: Prompt) -> None:
        self._runtime = runtime
        self._handle = handle
        self._vocabulary = vocabulary
        self._prompt = prompt
        self._adapter: Adapter | None = None
        self._cached: list[int] = []
        self._aligned = 0  # tokens of the cache that were decoded in whole batches
        self._batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._tokens = int(llama_cpp.llama_n_ctx(handle))

    @property
    def adapter(self) -> Adapter | None:
        """What is active, or none: then the base answers."""
        return self._adapter

    @property
    def tokens(self) -> int:
        """Length of the context, in tokens."""
        return self._tokens

    def use(self, adapter: Adapter | None) -> None:
        """Make `adapter` (or the bare base) answer from now on; drops the cache.

        Raises:
            InferenceError: it is not loaded, or the runtime refuses it; what was active
                still is.
        """
        self._require_open()
        if self._set(adapter) != 0:
            self._set(self._adapter)
            raise InferenceError("llama.cpp refused the adapter for this context")
        self._adapter = adapter
        self._drop_cache()

    def count_tokens(self, turns: Sequence[ChatTurn]) -> int:
        """Tokens of the rendered prompt, the opening of the assistant's turn included."""
        return len(self._prompt.tokens(turns))

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
        self._require_open()
        started = time.monotonic()
        prompt = self._prompt.tokens(turns)
        if len(prompt) >= self._tokens:
            raise ContextFullError(
                f"the conversation needs {len(prompt)} tokens, the context has {self._tokens}; "
                "shorten it, or raise context_tokens under [model]"
            )
        room = min(max_tokens, self._tokens - len(prompt))
        characters = WholeCharacters()
        parts: list[str] = []
        answer: list[int] = []
        first_token_s = 0.0
        finish: Literal["stop", "length", "cancelled"] = "length"
        pending = prompt[self._keep(prompt, at_most=len(prompt) - 1) :]
        while len(answer) < room:
            if not self._extend(pending, cancelled):
                finish = "cancelled"
                break
            token = self._likeliest()
            first_token_s = first_token_s or time.monotonic() - started
            if self._vocabulary.ends_answer(token):
                finish = "stop"
                break
            answer.append(token)
            pending = [token]
            if text := characters.add(self._vocabulary.piece(token)):
                parts.append(text)
                yield text
        if text := characters.finish():
            parts.append(text)
            yield text
        yield Generation(
            text="".join(parts),
            finish=finish,
            prompt_tokens=len(prompt),
            answer_tokens=len(answer),
            first_token_s=first_token_s,
            total_s=time.monotonic() - started,
        )

    def complete(self, turns: Sequence[ChatTurn], *, max_tokens: int) -> Generation:
        """The same without streaming."""
        for part in self.stream(turns, max_tokens=max_tokens):
            if isinstance(part, Generation):
                return part
        raise InferenceError("the answer never ended")

    def mean_log_probability(self, turns: Sequence[ChatTurn], answer: str) -> float:
        """Mean log-probability per token, in nats, of `answer` as the assistant's next turn.

        The token that ends the turn is not counted.

        Raises:
            ContextFullError: prompt and answer together do not fit.
            InferenceError: the answer has no tokens, or the runtime failed.
        """
        self._require_open()
        prompt = self._prompt.tokens(turns)
        targets = self._vocabulary.tokenise(answer, False)
        if not targets:
            raise InferenceError("an empty answer has no log-probability")
        if len(prompt) + len(targets) > self._tokens:
            raise ContextFullError(
                f"prompt and answer need {len(prompt) + len(targets)} tokens, "
                f"the context has {self._tokens}"
            )
        before = prompt[:-1]
        self._extend(before[self._keep(before, at_most=len(before)) :])
        inputs = [prompt[-1], *targets[:-1]]
        total = 0.0
        for start in range(0, len(inputs), SCORED_TOKENS):
            piece = inputs[start : start + SCORED_TOKENS]
            self._decode(piece, scored=len(piece))
            logits = self._logits(len(piece))
            wanted = targets[start : start + SCORED_TOKENS]
            total += float(log_probabilities(logits, wanted).sum())
        if not np.isfinite(total):
            raise InferenceError("the model's output is not a number; its weights are damaged")
        return total / len(targets)

    def close(self) -> None:
        """Free the cache."""
        if self._handle:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self._handle)
            self._handle = None
            self._runtime.forget(self)

    def _require_open(self) -> None:
        if not self._handle:
            raise InferenceError("this context is closed")

    def _set(self, adapter: Adapter | None) -> int:
        if adapter is None:
            return int(llama_cpp.llama_set_adapters_lora(self._handle, None, 0, None))
        handles = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(self._runtime.handle_of(adapter))
        scales = (ctypes.c_float * 1)(1.0)
        return int(llama_cpp.llama_set_adapters_lora(self._handle, handles, 1, scales))

    def _keep(self, wanted: Sequence[int], *, at_most: int) -> int:
        """Cut the cache down to what `wanted` starts with; the length that is left."""
        shared = min(shared_prefix(self._cached, wanted), self._aligned, at_most)
        keep = shared - shared % BATCH_TOKENS
        memory = llama_cpp.llama_get_memory(self._handle)
        if llama_cpp.llama_memory_seq_rm(memory, 0, keep, -1):
            del self._cached[keep:]
            self._aligned = keep
            return keep
        self._drop_cache()  # some architectures cannot forget a part
        return 0

    def _drop_cache(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._handle), True)
        self._cached.clear()
        self._aligned = 0

    def _extend(self, tokens: Sequence[int], cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Decode `tokens` after the cache, logits for the last; false when cancelled."""
        for start in range(0, len(tokens), BATCH_TOKENS):
            if cancelled():
                return False
            self._decode(tokens[start : start + BATCH_TOKENS], scored=1)
        return True

    def _decode(self, tokens: Sequence[int], *, scored: int) -> None:
        """Decode one batch after the cache, with logits for its last `scored` tokens."""
        batch = self._batch
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = len(self._cached) + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = index >= len(tokens) - scored
        status = llama_cpp.llama_decode(self._handle, batch)
        if status == 0:
            if len(tokens) == BATCH_TOKENS and self._aligned == len(self._cached):
                self._aligned += BATCH_TOKENS
            self._cached += tokens
            return
        self._drop_cache()
        if status == _NO_CACHE_SLOT:
            raise ContextFullError(f"the context of {self._tokens} tokens is full")
        raise InferenceError(f"llama.cpp failed while decoding (status {status})")

    def _logits(self, rows: int) -> NDArray[np.float32]:
        """Logits of the last batch's scored tokens, shape (rows, vocabulary); a view."""
        pointer = llama_cpp.llama_get_logits(self._handle)
        return np.ctypeslib.as_array(pointer, shape=(rows, self._vocabulary.size))

    def _likeliest(self) -> int:
        logits = self._logits(1)[0]
        token = int(np.argmax(logits))
        if not np.isfinite(logits[token]):
            raise InferenceError("the model's output is not a number; its weights are damaged")
        return token
