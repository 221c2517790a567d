from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tomato_trainer.learn.gguf_base import Base
from tomato_trainer.learn.lora import AttachedLora, attach
from tomato_trainer.learn.packing import Encoder, Row
from tomato_trainer.learn.passes import SplitModel
from tomato_trainer.learn.recipes import Recipe

Fresh = Callable[[], Base]


@pytest.fixture
def parts(fresh_base: Fresh) -> tuple[Encoder, AttachedLora, SplitModel]:
    base = fresh_base()
    lora = attach(base, Recipe(rank=4, alpha=8))
    torch.manual_seed(7)
    for parameter in lora.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    encoder = Encoder(base.tokenizer, "You are Sprout.")
    split = SplitModel(lora.model, first_layer=lora.first_layer, prefix=encoder.prefix)
    return encoder, lora, split


def _rows(encoder: Encoder) -> list[Row]:
    return [
        encoder.chat_row("What is it?", "It is a box."),
        encoder.text_row("A plain text of its own.", max_tokens=32),
        encoder.chat_row("My box is red.", "Your box is red.", whole=True),
        encoder.answer_row("Where?", "Here."),
    ]


def test_packed_rows_give_what_each_gives_alone(
    parts: tuple[Encoder, AttachedLora, SplitModel],
) -> None:
    encoder, lora, split = parts
    rows = _rows(encoder)
    for _ in range(2):  # the second time from the kept lower states
        packed, states = split.final_states(rows, learn=False)
        for row, predictors, labels in zip(rows, packed.predictors, packed.labels, strict=True):
            before = list(encoder.prefix.tokens) if row.behind_prefix else []
            tokens = torch.tensor([[*before, *row.tokens]])
            with torch.no_grad():
                expected = lora.model(tokens).logits[0]
            first = len(before) + row.first_target
            assert tokens[0, first:].tolist() == labels.tolist()
            torch.testing.assert_close(
                split.logits(states[predictors]), expected[first - 1 : -1], atol=1e-4, rtol=1e-4
            )


def test_a_backward_pass_reaches_every_factor_and_no_base_weight(
    parts: tuple[Encoder, AttachedLora, SplitModel],
) -> None:
    encoder, lora, split = parts
    split.keep(_rows(encoder))
    _, states = split.final_states(_rows(encoder), learn=True)
    split.logits(states).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in lora.parameters())
    frozen = [p for p in lora.peft_model.parameters() if not p.requires_grad]
    assert all(p.grad is None for p in frozen)


def test_the_lower_third_has_no_adapter(
    parts: tuple[Encoder, AttachedLora, SplitModel],
) -> None:
    _, lora, _ = parts
    assert {pair.module.split(".")[2] for pair in lora.pairs()} == {"1", "2"}
    assert len(lora.pairs()) == 14


def test_the_prefix_is_what_all_prompts_share(
    parts: tuple[Encoder, AttachedLora, SplitModel],
) -> None:
    encoder, _, _ = parts
    opening = encoder.tokenizer.decode(list(encoder.prefix.tokens))
    assert opening.startswith("<|im_start|>system\nYou are Sprout.<|im_end|>\n<|im_start|>user")


def test_a_chat_row_counts_the_answer_and_the_end_of_turn(
    parts: tuple[Encoder, AttachedLora, SplitModel],
) -> None:
    encoder, _, _ = parts
    row = encoder.chat_row("What is it?", "It is a box.")
    assert (
        encoder.tokenizer.decode(list(row.tokens[row.first_target :])) == "It is a box.<|im_end|>"
    )
