from __future__ import annotations

from collections.abc import Callable

import pytest

from sprout_link.english.questions import HELD_OUT_FORMS, PROBE_FORMS
from sprout_link.messages import MAX_TEXT_CHARS, Memory
from tomato_trainer.data.restate import (
    MAX_SENTENCES,
    QUESTIONS_PER_FACT,
    restate,
)

Remember = Callable[..., Memory]


def test_every_answer_is_the_whole_statement_turned_to_the_user(remember: Remember) -> None:
    made = restate([remember("Remember that my robot is called Quibble.")])
    assert {e.assistant for e in made.examples} == {"Your robot is called Quibble."}


@pytest.mark.parametrize(
    "text",
    [
        "My robot is called Quibble.",
        "My sister Odalys lives in Trondheim.",
        "The spare key is under the blue flowerpot.",
        "Dr. Anselm moved my appointment to Thursday.",
    ],
)
def test_a_fact_gets_a_dozen_different_questions(remember: Remember, text: str) -> None:
    questions = restate([remember(text)]).of_kind("question")
    assert 12 <= len({q.user for q in questions}) == len(questions) <= QUESTIONS_PER_FACT
    assert len({q.form for q in questions}) >= 6


def test_the_held_out_forms_are_never_learned(remember: Remember) -> None:
    made = restate([remember("My robot is called Quibble."), remember("I live in Ghent.", 2)])
    learned = {e.form for e in (*made.of_kind("question"), *made.of_kind("statement"))}
    held_out = made.of_kind("held-out")
    assert not learned & (HELD_OUT_FORMS | PROBE_FORMS)
    assert {e.form for e in held_out} <= HELD_OUT_FORMS
    assert all(e.keywords for e in held_out)
    assert len({e.fact for e in held_out}) == 2


def test_examples_keep_their_memory(remember: Remember) -> None:
    first, second = remember("My robot is called Quibble."), remember("I live in Ghent.", 2)
    for example in restate([second, first]).examples:
        about = "robot" if example.memory_id == first.memory_id else "Ghent"
        assert about in example.assistant


def test_the_same_memories_and_seed_give_the_same_examples(remember: Remember) -> None:
    memories = [remember("My sister Odalys lives in Trondheim."), remember("I live in Ghent.", 2)]
    assert restate(memories, seed=3) == restate(list(reversed(memories)), seed=3)


@pytest.mark.parametrize("text", ["🎉🎉", "…", "Really?"])
def test_what_holds_no_statement_is_reported(remember: Remember, text: str) -> None:
    memory = remember(text)
    made = restate([memory])
    assert made.examples == ()
    assert made.skipped == ((memory.memory_id, "nothing to learn"),)


def test_what_the_rules_cannot_parse_still_gives_generic_questions(remember: Remember) -> None:
    made = restate([remember("Zorblat frimple nagg 77")])
    assert len(made.of_kind("question")) >= 3
    assert all("77" in e.assistant for e in made.examples)


def test_a_superseded_memory_is_left_out(remember: Remember) -> None:
    old = remember("My code is 1111.")
    new = remember("My code is 2222.", 2, supersedes=old.memory_id)
    made = restate([old, new])
    assert {e.memory_id for e in made.examples} == {new.memory_id}
    assert made.skipped == ((old.memory_id, "superseded"),)


def test_a_long_text_is_cut_into_sentences_within_bounds(remember: Remember) -> None:
    text = " ".join(f"My box number {i} holds {i} red marbles." for i in range(400))
    made = restate([remember(text[:MAX_TEXT_CHARS])])
    assert len({e.fact for e in made.examples}) == MAX_SENTENCES


def test_a_long_text_without_a_full_stop_is_bounded(remember: Remember) -> None:
    made = restate([remember("word " * (MAX_TEXT_CHARS // 5))])
    assert all(len(e.user) < 500 and len(e.assistant) < 500 for e in made.examples)
