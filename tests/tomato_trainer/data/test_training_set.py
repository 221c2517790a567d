from __future__ import annotations

from collections.abc import Callable

import pytest

from sprout_link.messages import Memory
from tomato_trainer.data.general import held_out_rows, training_rows
from tomato_trainer.data.training_set import build_training_set
from tomato_trainer.errors import JobError

Remember = Callable[..., Memory]


def test_the_lineage_changes_with_what_is_learned_and_with_nothing_else(remember: Remember) -> None:
    def lineage(*texts: str, prompt: str = "p", seed: int = 1) -> str:
        memories = [remember(text, i) for i, text in enumerate(texts, start=1)]
        return build_training_set(memories, system_prompt=prompt, seed=seed).lineage

    first = lineage("I live in Ghent.")
    assert first == lineage("I live in Ghent.")
    others = {
        lineage("I live in Bruges."),
        lineage("I live in Ghent.", "🎉"),
        lineage("I live in Ghent.", prompt="q"),
        lineage("I live in Ghent.", seed=2),
    }
    assert len(others | {first}) == 5


def test_memories_without_anything_to_learn_are_refused(remember: Remember) -> None:
    with pytest.raises(JobError, match="none of the 1 memories"):
        build_training_set([remember("🎉")], system_prompt="p", seed=1)


def test_ids_are_of_the_memories_that_gave_examples(remember: Remember) -> None:
    memories = [remember("I live in Ghent."), remember("🎉", 2)]
    made = build_training_set(memories, system_prompt="p", seed=1)
    assert made.memory_ids == [memories[0].memory_id]
    assert made.facts == 1


def test_general_rows_are_enough_and_their_splits_apart() -> None:
    training, held_out = training_rows(), held_out_rows()
    assert len(training.texts) >= 40
    assert len(training.chats) >= 60
    assert len(held_out.texts) >= 8
    assert not {t.text for t in training.texts} & {t.text for t in held_out.texts}
    assert not {c.question for c in training.chats} & {c.question for c in held_out.chats}


@pytest.mark.parametrize(
    "asked_elsewhere",
    [
        "capital of france", "paris", "largest planet", "jupiter", "boil at", "freez", "in a week",
        "opposite of hot", "romeo", "shakespeare", "president", "washington", "color of the sky",
        "colour of the sky", "spider", "primary colo", "formula", "h2o", "2 + 2", "2 plus 2",
        "bees", "honey", "brazil", "portuguese",
    ],
)  # fmt: skip
def test_general_questions_of_other_evaluations_are_never_learned(asked_elsewhere: str) -> None:
    rows = training_rows()
    learned = [t.text for t in rows.texts] + [f"{c.question} {c.answer}" for c in rows.chats]
    allowed = {"freez": "freezer"}.get(asked_elsewhere, "\0")
    for text in learned:
        assert asked_elsewhere not in text.lower().replace(allowed, "")
