"""Text to token ids and back, by the tokenizer of a model that llama.cpp has loaded.

Importing this module loads the native library.
"""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp

from sprout_agent.errors import InferenceError


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
