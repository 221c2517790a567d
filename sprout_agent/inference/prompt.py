"""Turns of a conversation to the token ids of a prompt, as the model's own template wants them.

A user can type `<|im_end|>`; it must stay text. So the rendered prompt is tokenised with
control tokens only where no content imitates one; else the template's parts and the contents
are tokenised apart.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sprout_agent.errors import InferenceError
from sprout_agent.inference.base import ChatTurn

Tokenise = Callable[[str, bool], list[int]]
"""Text and whether control tokens are recognised in it, to token ids."""


@dataclass(frozen=True)
class Prompt:
    """Builds prompts for one model."""

    template: str
    """Jinja, as it stands in `tokenizer.chat_template`."""
    bos: str
    eos: str
    tokenise: Tokenise

    def tokens(self, turns: Sequence[ChatTurn]) -> list[int]:
        """Token ids of the rendered turns and of the opening of the assistant's turn.

        Raises:
            InferenceError: the template refuses these turns.
        """
        if any(self._imitates_control(turn.content) for turn in turns):
            return self._in_parts(turns)
        return self.tokenise(self._render(turns), True)

    def _imitates_control(self, text: str) -> bool:
        return self.tokenise(text, True) != self.tokenise(text, False)

    def _in_parts(self, turns: Sequence[ChatTurn]) -> list[int]:
        # A secret mark: nobody can type what stands for somebody else's text.
        mark = secrets.token_hex(8)
        marked = [ChatTurn(turn.role, f"[{mark}:{i}]") for i, turn in enumerate(turns)]
        pieces = re.split(rf"\[{mark}:(\d+)\]", self._render(marked))
        ids: list[int] = []
        for position, piece in enumerate(pieces):
            is_content = position % 2 == 1
            text = turns[int(piece)].content if is_content else piece
            if text:
                ids += self.tokenise(text, not is_content)
        return ids

    def _render(self, turns: Sequence[ChatTurn]) -> str:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        try:
            return environment.from_string(self.template).render(
                messages=[{"role": turn.role, "content": turn.content} for turn in turns],
                bos_token=self.bos,
                eos_token=self.eos,
                add_generation_prompt=True,
                raise_exception=_refuse,
                strftime_now=lambda layout: datetime.now().strftime(layout),
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise InferenceError(
                f"the model's chat template does not take this conversation: {error}"
            ) from error


def _refuse(message: str) -> str:
    raise ValueError(message)
