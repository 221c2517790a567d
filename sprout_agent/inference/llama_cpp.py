"""The llama.cpp back end: one memory-mapped base, contexts over it, hot LoRA adapters.

It uses llama-cpp-python's low-level API: the `Llama` class gives up mmap for an adapter and
cannot share one model among contexts. Importing this module loads the native library.
"""

from __future__ import annotations

import ctypes
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from sprout_agent.errors import ContextFullError, InferenceError
from sprout_agent.inference.base import Adapter, BaseInfo, ChatTurn, Generation
from sprout_agent.inference.decoding import WholeCharacters, log_probabilities, shared_prefix
from sprout_agent.inference.prompt import Prompt
from sprout_link.errors import ModelFileError
from sprout_link.gguf_header import Header, read_header, sha256_of

NAME: Final = "llama-cpp"

_BATCH_TOKENS: Final = 64
# Prompts are decoded in batches that start at multiples of this, and the cache is reused at
# those borders only. So every token is computed in the same batch whatever was asked before,
# and the same question has the same answer bit for bit: sums in another order would flip
# greedy choices that are nearly even.
_SCORED_TOKENS: Final = 32
# llama.cpp reserves room for this many rows of logits; a whole batch of them would take
# 100 MB with SmolLM2's vocabulary.
_NO_CACHE_SLOT: Final = 1

_log = logging.getLogger(__name__)


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator, unused-ignore]
def _to_logging(_level: int, text: bytes | None, _user: object) -> None:
    if text and _log.isEnabledFor(logging.DEBUG):
        _log.debug("llama.cpp: %s", text.decode("utf-8", "replace").rstrip())


class LlamaCppRuntime:
    """A loaded base model. Implements `Runtime`; made by `load`."""

    def __init__(self, model: Any, info: BaseInfo, *, threads: int) -> None:
        self._model = model
        self._info = info
        self._threads = threads
        self._vocabulary = Vocabulary(llama_cpp.llama_model_get_vocab(model))
        self._adapters: dict[str, _Loaded] = {}
        self._contexts: set[LlamaCppContext] = set()

    @classmethod
    def load(cls, path: Path, *, threads: int = 0) -> LlamaCppRuntime:
        """Load the GGUF model at `path`.

        Args:
            path: The model file; it is memory-mapped and must not change while loaded.
            threads: CPU threads; 0 takes every core that this process may use.

        Raises:
            ModelFileError: the file is missing, truncated or no GGUF.
            InferenceError: llama.cpp cannot run it.
        """
        header = read_header(path)
        if header.strings.get("general.type", "model") != "model":
            raise InferenceError(
                f"{path}: this GGUF holds an {header.strings['general.type']}, expected a model"
            )
        llama_cpp.llama_log_set(_to_logging, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        if not model:
            raise InferenceError(
                f"{path}: llama.cpp cannot load this {header.architecture} model; it is damaged "
                "or newer than the runtime (run with debug logging to see why)"
            )
        info = BaseInfo(
            path=path,
            sha256=sha256_of(path),
            architecture=header.architecture,
            runtime=NAME,
            runtime_version=str(llama_cpp.__version__),
        )
        return cls(model, info, threads=threads or len(os.sched_getaffinity(0)))

    @property
    def info(self) -> BaseInfo:
        """What is loaded."""
        return self._info

    def open_context(self, *, tokens: int) -> LlamaCppContext:
        """A context of `tokens` (at most what the model was trained for) with its own cache.

        Raises:
            InferenceError: there is no memory for it, or the model has no chat template.
        """
        template = llama_cpp.llama_model_chat_template(self._open_model(), None)
        if not template:
            raise InferenceError(
                f"{self._info.path}: this model has no chat template; use an instruct model"
            )
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = min(tokens, llama_cpp.llama_model_n_ctx_train(self._model))
        params.n_batch = params.n_ubatch = _BATCH_TOKENS
        params.n_outputs_max = params.n_outputs_max_per_seq = _SCORED_TOKENS
        params.n_threads = params.n_threads_batch = self._threads
        handle = llama_cpp.llama_init_from_model(self._model, params)
        if not handle:
            raise InferenceError(
                f"llama.cpp cannot make a context of {tokens} tokens; "
                "there may be too little memory: lower context_tokens under [model]"
            )
        words = self._vocabulary
        prompt = Prompt(
            template.decode("utf-8", "replace"),
            words.control_text(llama_cpp.llama_vocab_bos(words.handle)),
            words.control_text(llama_cpp.llama_vocab_eos(words.handle)),
            words.tokenise,
        )
        context = LlamaCppContext(self, handle, words, prompt)
        self._contexts.add(context)
        return context

    def load_adapter(self, path: Path, *, sha256: str) -> Adapter:
        """Load adapter weights beside the base, without activating them.

        Loading one that is loaded already is free; each load wants its `unload_adapter`.

        Raises:
            InferenceError: the file does not fit the base, is damaged, or is another file
                than `sha256` says.
        """
        model = self._open_model()
        if sha256 in self._adapters:
            loaded = self._adapters[sha256]
            loaded.users += 1
            return loaded.adapter
        try:
            _check_adapter(read_header(path), self._info, path)
            found = sha256_of(path)
        except (ModelFileError, OSError) as error:
            raise InferenceError(f"the adapter cannot be used: {error}") from error
        if found != sha256:
            raise InferenceError(
                f"{path}: expected the adapter {sha256[:12]}…, the file is {found[:12]}…"
            )
        handle = llama_cpp.llama_adapter_lora_init(model, os.fsencode(path))
        if not handle:
            raise InferenceError(
                f"{path}: this adapter does not fit the base model {self._info.path.name}; "
                "its tensors have other names or shapes"
            )
        adapter = Adapter(sha256=sha256, path=path)
        self._adapters[sha256] = _Loaded(adapter, handle, users=1)
        return adapter

    def unload_adapter(self, adapter: Adapter) -> None:
        """Free an adapter's weights, once as often as it was loaded.

        Raises:
            InferenceError: a context still uses it.
        """
        loaded = self._adapters.get(adapter.sha256)
        if loaded is None:
            return
        if loaded.users == 1:
            if any(context.adapter == adapter for context in self._contexts):
                raise InferenceError(
                    f"the adapter {adapter.sha256[:12]}… is in use; switch away from it first"
                )
            llama_cpp.llama_adapter_lora_free(loaded.handle)
            del self._adapters[adapter.sha256]
        loaded.users -= 1

    def close(self) -> None:
        """Free everything, open contexts included."""
        for context in list(self._contexts):
            context.close()
        self._adapters.clear()  # llama.cpp frees them with their model
        if self._model:
            llama_cpp.llama_model_free(self._model)
            self._model = None

    def handle_of(self, adapter: Adapter) -> Any:
        """The native adapter, for this module's contexts."""
        if adapter.sha256 not in self._adapters:
            raise InferenceError(f"the adapter {adapter.sha256[:12]}… is not loaded")
        return self._adapters[adapter.sha256].handle

    def forget(self, context: LlamaCppContext) -> None:
        """A context was closed."""
        self._contexts.discard(context)

    def _open_model(self) -> Any:
        if not self._model:
            raise InferenceError("the model is closed")
        return self._model


class LlamaCppContext:
    """One sequence over the base with its own cache. Implements `Context`."""

    def __init__(
        self, runtime: LlamaCppRuntime, handle: Any, vocabulary: Vocabulary, prompt: Prompt
    ) -> None:
        self._runtime = runtime
        self._handle = handle
        self._vocabulary = vocabulary
        self._prompt = prompt
        self._adapter: Adapter | None = None
        self._cached: list[int] = []
        self._aligned = 0  # tokens of the cache that were decoded in whole batches
        self._batch = llama_cpp.llama_batch_init(_BATCH_TOKENS, 0, 1)
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
        for start in range(0, len(inputs), _SCORED_TOKENS):
            piece = inputs[start : start + _SCORED_TOKENS]
            self._decode(piece, scored=len(piece))
            logits = self._logits(len(piece))
            wanted = targets[start : start + _SCORED_TOKENS]
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
        keep = shared - shared % _BATCH_TOKENS
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
        for start in range(0, len(tokens), _BATCH_TOKENS):
            if cancelled():
                return False
            self._decode(tokens[start : start + _BATCH_TOKENS], scored=1)
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
            if len(tokens) == _BATCH_TOKENS and self._aligned == len(self._cached):
                self._aligned += _BATCH_TOKENS
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


class Vocabulary:
    """Text to token ids and back, by the model's own tokenizer."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.size = int(llama_cpp.llama_vocab_n_tokens(handle))

    def tokenise(self, text: str, control: bool) -> list[int]:
        """Token ids of `text`; the names of control tokens count as such if `control`."""
        # A lone surrogate can reach us through JSON; it has no bytes in UTF-8.
        data = text.encode("utf-8", "replace")
        capacity = len(data) + 8
        for _ in range(2):
            ids = (llama_cpp.llama_token * capacity)()
            count = llama_cpp.llama_tokenize(
                self.handle, data, len(data), ids, capacity, False, control
            )
            if count >= 0:
                return list(ids[:count])
            capacity = -count
        raise InferenceError("llama.cpp cannot tokenise this text")

    def piece(self, token: int) -> bytes:
        """Bytes of a token; none for a control token."""
        return self._bytes_of(token, control=False)

    def control_text(self, token: int) -> str:
        """Text of a control token, empty when the model has none."""
        return self._bytes_of(token, control=True).decode("utf-8", "replace") if token >= 0 else ""

    def ends_answer(self, token: int) -> bool:
        """Does the model end its turn with this token?"""
        return bool(llama_cpp.llama_vocab_is_eog(self.handle, token))

    def _bytes_of(self, token: int, *, control: bool) -> bytes:
        size = 64
        for _ in range(2):
            buffer = ctypes.create_string_buffer(size)
            count = llama_cpp.llama_token_to_piece(self.handle, token, buffer, size, 0, control)
            if count >= 0:
                return buffer.raw[:count]
            size = -count
        raise InferenceError(f"llama.cpp has no text for the token {token}")


@dataclass
class _Loaded:
    """An adapter in memory and how often it was asked for."""

    adapter: Adapter
    handle: Any
    users: int


def _check_adapter(header: Header, base: BaseInfo, path: Path) -> None:
    if header.strings.get("general.type") != "adapter":
        raise InferenceError(f"{path}: this GGUF is no adapter (general.type must say 'adapter')")
    if header.architecture != base.architecture:
        raise InferenceError(
            f"{path}: this adapter is for the architecture {header.architecture}, "
            f"the base is {base.architecture}"
        )
