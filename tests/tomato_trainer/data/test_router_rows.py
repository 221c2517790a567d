from __future__ import annotations

import random
from collections import Counter

import pytest

from sprout_link.english.questions import HELD_OUT_FORMS, taught_questions
from sprout_link.english.words import content_words
from tomato_trainer.data.minimal_pairs import Replacements, of_others, swapped
from tomato_trainer.data.restate import Example
from tomato_trainer.data.router_rows import RouterRows, router_rows

TEXTS = ["My robot is called Quibble.", "The spare key is behind the kettle.", "I live in Ghent."]


def _rows(texts: list[str], seed: int = 1, max_rows: int = 6_000) -> RouterRows:
    facts = tuple(
        Example(str(i), str(i), "statement", "statement", t, t) for i, t in enumerate(texts)
    )
    return router_rows(facts, seed=seed, rows_per_fact=24, max_rows=max_rows)


def test_rows_are_repeatable_by_seed() -> None:
    assert _rows(TEXTS) == _rows(TEXTS)
    assert _rows(TEXTS) != _rows(TEXTS, seed=2)


def test_calibration_shares_no_text_with_what_is_fitted() -> None:
    rows = _rows(TEXTS)
    fitted = {row.text.lower() for row in rows.fit}
    assert not fitted & {row.text.lower() for row in rows.calibration}
    held_out = {q.text for t in TEXTS for q in taught_questions(t) if q.form in HELD_OUT_FORMS}
    assert not {row.text for row in rows.fit} & held_out


@pytest.mark.parametrize("texts", [TEXTS[:1], TEXTS])
def test_every_kind_is_on_both_sides(texts: list[str]) -> None:
    rows = _rows(texts)
    for side in (rows.fit, rows.calibration):
        assert set(Counter(row.kind for row in side)) == {"memory", "near", "general"}


def test_many_memories_stay_within_the_bound() -> None:
    texts = [f"My item{i} is called Name{i}." for i in range(200)]
    assert len(_rows(texts, max_rows=4_000).fit) <= 5_000


def test_swaps_never_take_a_word_that_a_memory_holds() -> None:
    words = Replacements.apart_from(TEXTS, "fit")
    assert not {"kettle", "robot", "key"} & set(words.things)
    chance = random.Random(1)
    question = "What is my robot called?"
    for other in swapped(question, TEXTS[0], words, chance):
        assert "robot" not in content_words(other)


def test_a_subject_gets_other_owners() -> None:
    words = Replacements.apart_from(TEXTS, "fit")
    (other,) = of_others("What is my robot called?", words, random.Random(1))
    assert other.endswith(" robot called?")
    assert " my robot" not in other
    (else_,) = of_others("Where do I live?", words, random.Random(1))
    assert else_.startswith("Where does ")
