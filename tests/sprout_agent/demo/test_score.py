from __future__ import annotations

import pytest

from sprout_agent.demo.score import Asked, Score, holds_every, score, shortcomings

GOOD = Score(recall_before=0.0, recall_after=0.9, general_before=0.8, general_after=0.8)


@pytest.mark.parametrize(
    ("answer", "keywords", "right"),
    [
        ("Your robot is called QUIBBLE.", ["quibble"], True),
        ("It is under the blue\nflower  pot.", ["Blue", "flower pot"], True),
        ("It is under the red flowerpot.", ["blue", "flowerpot"], False),
        ("", ["x"], False),
        ("Die Straße", ["STRASSE"], True),
    ],
)
def test_an_answer_counts_when_it_holds_every_keyword(
    answer: str, keywords: list[str], right: bool
) -> None:
    assert holds_every(answer, keywords) is right


def test_scores_are_fractions_of_the_questions() -> None:
    asked = [Asked("?", ("a",), before="b", after="a"), Asked("?", ("a",), before="a", after="b")]
    assert score(asked, asked[:1]) == Score(0.5, 0.5, 0.0, 1.0)
    assert score([], []) == Score(0.0, 0.0, 0.0, 0.0)


def test_a_good_night_has_no_shortcoming() -> None:
    assert shortcomings(GOOD, active="a", published="a") == []


@pytest.mark.parametrize(
    ("figures", "active", "said"),
    [
        (Score(0.0, 0.79, 0.8, 0.8), "a", "expected at least"),
        (Score(0.9, 0.9, 0.8, 0.8), "a", "did not rise"),
        (Score(0.0, 0.9, 0.8, 0.7), "a", "general ability fell"),
        (GOOD, "b", "active slot"),
        (GOOD, None, "active slot"),
    ],
)
def test_each_shortcoming_is_said(figures: Score, active: str | None, said: str) -> None:
    assert any(said in reason for reason in shortcomings(figures, active=active, published="a"))
