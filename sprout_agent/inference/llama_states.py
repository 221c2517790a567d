"""Reads the base's hidden states after a layer, by watching llama.cpp compute its graph.

llama.cpp asks a callback about every tensor of its graph. It says yes to the output of one
layer, copies it once it is computed, and ends the pass there: the layers above cost nothing.
Importing this module loads the native library.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Final

import llama_cpp
import numpy as np
from llama_cpp._ggml import libggml
from numpy.typing import NDArray

from sprout_agent.errors import InferenceError

_FLOAT_BYTES: Final = 4


class StateReader:
    """A small context of its own over a loaded model. Used by one thread at a time.

    No adapter is ever applied to it, so what it reads is the bare base's.

    Args:
        model: native model; must live longer than the reader.
        tokens: most tokens of a text, 1 or more.
        threads: CPU threads.

    Raises:
        InferenceError: there is no memory for it, or this build of llama.cpp lacks what
            reads a tensor.
    """

    def __init__(self, model: Any, *, tokens: int, threads: int) -> None:
        self._ggml = _Tensors()
        self._tokens = tokens
        self._layers = int(llama_cpp.llama_model_n_layer(model))
        self._hidden = int(llama_cpp.llama_model_n_embd(model))
        self._wanted = b""
        self._seen: list[NDArray[np.float32]] = []  # filled by the callback, one a pass
        # llama.cpp keeps only the pointer: the object must live as long as the context.
        self._callback = llama_cpp.ggml_backend_sched_eval_callback(self._watch)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = tokens  # one pass, so one tensor
        params.n_outputs_max = params.n_outputs_max_per_seq = 1
        params.n_threads = params.n_threads_batch = threads
        params.cb_eval = self._callback
        self._handle = llama_cpp.llama_init_from_model(model, params)
        if not self._handle:
            raise InferenceError(
                f"llama.cpp cannot make a context of {tokens} tokens for an adapter's router; "
                "there may be too little memory"
            )
        self._batch = llama_cpp.llama_batch_init(tokens, 0, 1)

    def read(self, tokens: Sequence[int], *, layer: int) -> NDArray[np.float32]:
        """States of `tokens` after `layer` layers, before any norm that follows.

        Returns:
            Shape (tokens, hidden size).

        Raises:
            InferenceError: no tokens or too many, no such layer, or llama.cpp failed.
        """
        if not 1 <= len(tokens) <= self._tokens:
            raise InferenceError(
                f"hidden states of {len(tokens)} tokens were asked for, expected 1 to "
                f"{self._tokens}"
            )
        if not 1 <= layer <= self._layers:
            raise InferenceError(
                f"states after layer {layer} were asked for, the base has {self._layers}"
            )
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._handle), True)
        self._wanted = f"l_out-{layer - 1}".encode()
        # Of the last layer llama.cpp computes only what it needs for logits: one token each.
        step = 1 if layer == self._layers else len(tokens)
        parts = [
            self._pass(tokens[start : start + step], start) for start in range(0, len(tokens), step)
        ]
        return np.concatenate(parts)

    def close(self) -> None:
        """Free the context."""
        if self._handle:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self._handle)
            self._handle = None

    def _pass(self, tokens: Sequence[int], start: int) -> NDArray[np.float32]:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = start + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = index == len(tokens) - 1
        self._seen.clear()
        status = llama_cpp.llama_decode(self._handle, batch)
        if status != 0:
            raise InferenceError(f"llama.cpp failed while reading states (status {status})")
        if [values.size for values in self._seen] != [len(tokens) * self._hidden]:
            raise InferenceError(
                f"llama.cpp does not show {self._wanted.decode()} of this architecture, "
                "so an adapter's router cannot be asked; use an adapter without one"
            )
        seen = self._seen.pop()
        if not np.isfinite(seen).all():
            raise InferenceError("the model's states are not numbers; its weights are damaged")
        return seen.reshape(len(tokens), self._hidden)

    def _watch(self, tensor: int, ask: bool, _user: object) -> bool:
        """llama.cpp's question about a tensor: wanted (`ask`)? And once it is computed: go on?"""
        if self._ggml.name(tensor) != self._wanted:
            return not ask
        if ask:
            return True
        self._seen += self._ggml.floats(tensor)
        return False


class _Tensors:
    """What ggml tells of a tensor."""

    def __init__(self) -> None:
        try:
            # Found through libggml, which is linked to the library that holds them.
            self._name = libggml.ggml_get_name
            self._elements = libggml.ggml_nelements
            self._bytes = libggml.ggml_nbytes
            self._get = libggml.ggml_backend_tensor_get
        except AttributeError as error:
            raise InferenceError(
                f"this build of llama.cpp cannot show hidden states: {error}; "
                "reinstall llama-cpp-python"
            ) from error
        self._name.argtypes, self._name.restype = [ctypes.c_void_p], ctypes.c_char_p
        self._elements.argtypes, self._elements.restype = [ctypes.c_void_p], ctypes.c_int64
        self._bytes.argtypes, self._bytes.restype = [ctypes.c_void_p], ctypes.c_size_t
        self._get.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
        self._get.restype = None

    def name(self, tensor: int) -> bytes:
        return bytes(self._name(tensor))

    def floats(self, tensor: int) -> list[NDArray[np.float32]]:
        """All values, flat, in a list that is empty when they are no 32-bit floats."""
        count, size = int(self._elements(tensor)), int(self._bytes(tensor))
        if size != count * _FLOAT_BYTES:
            return []
        values = np.empty(count, np.float32)
        self._get(tensor, values.ctypes.data, 0, size)
        return [values]
