"""Recall: does a greedy answer to a held-out question hold what it must?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch

from tomato_trainer.data.restate import Example
from tomato_trainer.learn.packing import Encoder

_BATCH: Final = 24


def holds(answer: str, keywords: Sequence[str]) -> bool:
    """Whether `answer` holds every keyword, whatever the case."""
    lowered = answer.lower()
    return all(word.lower() in lowered for word in keywords)


def recall(model: Any, encoder: Encoder, questions: Sequence[Example], *, max_tokens: int) -> float:
    """Share of `questions` whose greedy answer holds its keywords, 0 to 1; 1 for none."""
    if not questions:
        return 1.0
    answers = greedy_answers(model, encoder, [q.user for q in questions], max_tokens=max_tokens)
    right = sum(holds(a, q.keywords) for a, q in zip(answers, questions, strict=True))
    return right / len(questions)


def greedy_answers(
    model: Any, encoder: Encoder, users: Sequence[str], *, max_tokens: int
) -> list[str]:
    """Greedy answers, in batches padded on the left, of at most `max_tokens` tokens."""
    tokenizer = encoder.tokenizer
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    device = next(model.parameters()).device
    answers: list[str] = []
    for start in range(0, len(users), _BATCH):
        prompts = [encoder.prompt_tokens(user) for user in users[start : start + _BATCH]]
        width = max(len(prompt) for prompt in prompts)
        tokens = torch.full((len(prompts), width), padding, dtype=torch.long, device=device)
        mask = torch.zeros_like(tokens)
        for index, prompt in enumerate(prompts):
            tokens[index, width - len(prompt) :] = torch.tensor(prompt, device=device)
            mask[index, width - len(prompt) :] = 1
        with torch.inference_mode():
            produced = model.generate(
                input_ids=tokens,
                attention_mask=mask,
                max_new_tokens=max_tokens,
                do_sample=False,
                pad_token_id=padding,
                eos_token_id=tokenizer.eos_token_id,
            )
        answers.extend(tokenizer.batch_decode(produced[:, width:], skip_special_tokens=True))
    return answers
