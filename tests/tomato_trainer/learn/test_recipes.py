from __future__ import annotations

import pytest

from tomato_trainer.errors import JobError
from tomato_trainer.learn.loop import rate_share
from tomato_trainer.learn.recipes import Recipe, recipe_for


def test_a_job_changes_settings_by_name() -> None:
    recipe = recipe_for("lora", {"rank": 8.0, "learning_rate": 0.002})
    assert (recipe.rank, recipe.learning_rate) == (8, 0.002)
    assert isinstance(recipe.rank, int)


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(JobError, match=r"colour is unknown; rank = 0 is outside 1 to 256"):
        recipe_for("lora", {"colour": 1.0, "rank": 0.0})


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(JobError, match="'dora' is unknown"):
        recipe_for("dora", {})


def test_steps_grow_with_the_facts_within_bounds() -> None:
    recipe = Recipe()
    assert recipe.steps(1) == recipe.min_steps < recipe.steps(8) < recipe.steps(24)
    assert recipe.steps(10_000) == recipe.max_steps


def test_a_third_of_the_layers_stays_untouched() -> None:
    assert Recipe().first_layer(30) == 10
    assert Recipe().first_layer(3) == 1
    assert Recipe().first_layer(1) == 0


def test_the_rate_warms_up_and_ends_at_a_tenth() -> None:
    recipe = Recipe()
    shares = [rate_share(step, 40, recipe) for step in range(1, 41)]
    assert shares[0] == pytest.approx(1 / 6)
    assert max(shares) == shares[5] == 1.0
    assert shares[5:] == sorted(shares[5:], reverse=True)
    assert shares[-1] == pytest.approx(0.1)
