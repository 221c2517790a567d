"""The llama.cpp back end: one memory-mapped base, what is opened over it, hot LoRA adapters.

It uses llama-cpp-python's low-level API: the `Llama` class gives up mmap for an adapter and
cannot share one model among contexts. Importing this module loads the native library.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from sprout_agent.errors import InferenceError
from sprout_agent.inference.base import Adapter, BaseInfo
from sprout_agent.inference.llama_context import BATCH_TOKENS, SCORED_TOKENS, LlamaCppContext
from sprout_agent.inference.llama_states import StateReader
from sprout_agent.inference.llama_vocabulary import Vocabulary
from sprout_agent.inference.prompt import Prompt
from sprout_agent.inference.router_file import router_of
from sprout_link.errors import ModelFileError
from sprout_link.gguf_header import Header, read_header, sha256_of
from sprout_link.router import ARRAY_KEYS, MAX_TOKENS, Router

NAME: Final = "llama-cpp"

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
        self._states: StateReader | None = None
        self._reading = threading.Lock()  # the conversation and a trial ask for states

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
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.n_outputs_max = params.n_outputs_max_per_seq = SCORED_TOKENS
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
            InferenceError: the file does not fit the base, it or its router is damaged, or
                it is another file than `sha256` says.
        """
        model = self._open_model()
        if sha256 in self._adapters:
            loaded = self._adapters[sha256]
            loaded.users += 1
            return loaded.adapter
        try:
            header = read_header(path, arrays=ARRAY_KEYS)
            _check_adapter(header, self._info, path)
            router = router_of(
                header,
                hidden_size=int(llama_cpp.llama_model_n_embd(model)),
                layers=int(llama_cpp.llama_model_n_layer(model)),
            )
            found = sha256_of(path)
        except (ModelFileError, OSError) as error:
            raise InferenceError(f"the adapter cannot be used: {error}") from error
        if found != sha256:
            raise InferenceError(
                f"{path}: expected the adapter {sha256[:12]}…, the file is {found[:12]}…"
            )
        self._try_router(router)
        handle = llama_cpp.llama_adapter_lora_init(model, os.fsencode(path))
        if not handle:
            raise InferenceError(
                f"{path}: this adapter does not fit the base model {self._info.path.name}; "
                "its tensors have other names or shapes"
            )
        adapter = Adapter(sha256=sha256, path=path, router=router)
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

    def hidden_states(self, text: str, *, layer: int) -> NDArray[np.float32]:
        """States of a bare text's last `MAX_TOKENS` tokens after `layer` layers of the base.

        Returns:
            Shape (tokens, hidden size).

        Raises:
            InferenceError: the text has no tokens, the base has no such layer, or llama.cpp
                does not show it.
        """
        tokens = self._vocabulary.tokenise(text, False)[-MAX_TOKENS:]
        with self._reading:
            if self._states is None:
                self._states = StateReader(
                    self._open_model(), tokens=MAX_TOKENS, threads=self._threads
                )
            return self._states.read(tokens, layer=layer)

    def close(self) -> None:
        """Free everything, open contexts included."""
        for context in list(self._contexts):
            context.close()
        with self._reading:
            if self._states is not None:
                self._states.close()
                self._states = None
        self._adapters.clear()  # llama.cpp frees them with their model
        if self._model:
            llama_cpp.llama_model_free(self._model)
            self._model = None

    def handle_of(self, adapter: Adapter) -> Any:
        """The native adapter, for the contexts of this runtime."""
        if adapter.sha256 not in self._adapters:
            raise InferenceError(f"the adapter {adapter.sha256[:12]}… is not loaded")
        return self._adapters[adapter.sha256].handle

    def forget(self, context: LlamaCppContext) -> None:
        """A context was closed."""
        self._contexts.discard(context)

    def _try_router(self, router: Router | None) -> None:
        """Ask for what the router reads, so that a base that cannot show it is found now."""
        if router is not None:
            self.hidden_states("a", layer=router.layer)

    def _open_model(self) -> Any:
        if not self._model:
            raise InferenceError("the model is closed")
        return self._model


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
