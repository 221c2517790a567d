"""General text and chat that belong to nobody: what training must leave as it was.

Written for this project. The training rows anchor the model to its base by KL; the held-out
ones measure drift and are never trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TypeVar

import msgspec


class GeneralText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A paragraph of everyday prose, 20 to 60 words."""

    text: str


class GeneralChat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question of general interest and a short answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class GeneralRows:
    """Texts and chats of one split."""

    texts: tuple[GeneralText, ...]
    chats: tuple[GeneralChat, ...]


Row = TypeVar("Row", GeneralText, GeneralChat)


def training_rows() -> GeneralRows:
    """The rows that training is anchored on."""
    return GeneralRows(
        texts=_read("general_text.jsonl", GeneralText),
        chats=_read("general_chat.jsonl", GeneralChat),
    )


def held_out_rows() -> GeneralRows:
    """The rows that drift is measured on."""
    return GeneralRows(
        texts=_read("general_text_held_out.jsonl", GeneralText),
        chats=_read("general_chat_held_out.jsonl", GeneralChat),
    )


def _read(name: str, kind: type[Row]) -> tuple[Row, ...]:
    lines = (files("tomato_trainer.data") / name).read_bytes().splitlines()
    return tuple(msgspec.json.decode(line, type=kind) for line in lines if line.strip())
