"""Exchanges as token rows, and several rows as one sequence behind a shared prefix.

The system prompt opens every chat row alike, so it is computed once a sequence; an attention
mask keeps the rows apart. A row costs only its own tokens, and there is no padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from tomato_trainer.errors import JobError

RowKind = Literal["learn", "kl"]


@dataclass(frozen=True, eq=False)
class Row:
    """A row of tokens. Rows compare by identity, so that they can key caches."""

    tokens: tuple[int, ...]
    """For a chat row, what follows the shared prefix."""
    behind_prefix: bool
    first_target: int
    """Index in `tokens` of the first token that counts in the loss; at least 1, unless
    the prefix stands before it."""
    item: str = ""


@dataclass(frozen=True)
class Packed:
    """Rows as one sequence of S tokens, a batch of one."""

    tokens: Tensor
    """(1, S), int64."""
    positions: Tensor
    """(1, S), int64: each row counts from the end of the prefix, or from 0."""
    mask: Tensor
    """(1, 1, S, S), bool: True where a token (row) may attend to another (column)."""
    starts: tuple[int, ...]
    """Where each row begins in the sequence."""
    predictors: tuple[Tensor, ...]
    """For each row, the indices whose outputs predict its targets, (targets,)."""
    labels: tuple[Tensor, ...]
    """For each row, its target tokens, (targets,)."""


@dataclass(frozen=True)
class Prefix:
    """The tokens that open every chat row."""

    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Encoder:
    """Turns exchanges into rows by the base's own chat template."""

    tokenizer: Any
    system_prompt: str
    prefix: Prefix = field(init=False)

    def __post_init__(self) -> None:
        first, second = (self.prompt_tokens(text) for text in ("A", "9 b"))
        shared = 0
        while shared < min(len(first), len(second)) - 1 and first[shared] == second[shared]:
            shared += 1
        object.__setattr__(self, "prefix", Prefix(tuple(first[:shared])))

    def prompt_text(self, user: str) -> str:
        """The rendered prompt up to where the assistant's answer begins."""
        text: str = self.tokenizer.apply_chat_template(
            self._turns(user), tokenize=False, add_generation_prompt=True
        )
        return text

    def prompt_tokens(self, user: str) -> list[int]:
        """Tokens of `prompt_text`."""
        return self._tokens(self.prompt_text(user))

    def chat_row(self, user: str, assistant: str, *, item: str = "", whole: bool = False) -> Row:
        """A row whose answer and end of turn count, or with `whole` the user's turn as well."""
        prompt = self.prompt_text(user)
        turns = [*self._turns(user), {"role": "assistant", "content": assistant}]
        full: str = self.tokenizer.apply_chat_template(turns, tokenize=False)
        if not full.startswith(prompt):
            raise JobError(
                "the base's chat template writes an answered turn otherwise than an open one; "
                "such templates are not supported"
            )
        asked, answer = self._tokens(prompt), self._tokens(full[len(prompt) :].rstrip("\n"))
        skip = len(self.prefix.tokens)
        if tuple(asked[:skip]) != self.prefix.tokens:  # a merge across the boundary
            return Row(tuple(asked + answer), False, len(asked), item)
        return Row(tuple(asked[skip:] + answer), True, 0 if whole else len(asked) - skip, item)

    def answer_row(self, user: str, assistant: str) -> Row:
        """A row whose answer counts without its end of turn, as a proof is measured."""
        prompt, answer = self.prompt_tokens(user), self._tokens(assistant)
        return Row(tuple(prompt + answer), False, len(prompt))

    def text_row(self, text: str, *, max_tokens: int) -> Row:
        """A plain text row without a prompt; every token after the first counts."""
        return Row(tuple(self._tokens(text)[:max_tokens]), False, 1)

    def _turns(self, user: str) -> list[dict[str, str]]:
        system = [{"role": "system", "content": self.system_prompt}] if self.system_prompt else []
        return [*system, {"role": "user", "content": user}]

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def pack(rows: Sequence[Row], prefix: Prefix, *, device: torch.device) -> Packed:
    """Lay `rows` behind the prefix in one sequence, each blind to the others."""
    shared = len(prefix.tokens)
    tokens = list(prefix.tokens)
    positions = list(range(shared))
    owner = [0] * shared
    sees_prefix = [True] * shared
    starts, predictors, labels = [], [], []
    for number, row in enumerate(rows, start=1):
        start = len(tokens)
        starts.append(start)
        offset = shared if row.behind_prefix else 0
        tokens.extend(row.tokens)
        positions.extend(range(offset, offset + len(row.tokens)))
        owner.extend([number] * len(row.tokens))
        sees_prefix.extend([row.behind_prefix] * len(row.tokens))
        targets = range(row.first_target, len(row.tokens))
        before = [start + t - 1 if t else shared - 1 for t in targets]
        predictors.append(torch.tensor(before, dtype=torch.long, device=device))
        labels.append(
            torch.tensor([row.tokens[t] for t in targets], dtype=torch.long, device=device)
        )
    owners = torch.tensor(owner, device=device)
    sees = torch.tensor(sees_prefix, device=device)
    order = torch.arange(len(tokens), device=device)
    own = owners[:, None] == owners[None, :]
    through_prefix = sees[:, None] & (owners[None, :] == 0)
    mask = (own | through_prefix) & (order[None, :] <= order[:, None])
    return Packed(
        tokens=torch.tensor([tokens], dtype=torch.long, device=device),
        positions=torch.tensor([positions], dtype=torch.long, device=device),
        mask=mask[None, None],
        starts=tuple(starts),
        predictors=tuple(predictors),
        labels=tuple(labels),
    )
