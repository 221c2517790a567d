from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprout_link.english.statement import flip_person, sentences, strip_lead_in


@pytest.mark.parametrize(
    ("said", "to_the_user"),
    [
        ("My robot is called Quibble.", "Your robot is called Quibble."),
        ("I am allergic to walnuts.", "You are allergic to walnuts."),
        ("I'm tall and I've a twin.", "You're tall and you've a twin."),
        ("I was born in Oslo.", "You were born in Oslo."),
        ("I wasn't there.", "You weren't there."),
        ("The red one is mine.", "The red one is yours."),
        ("We painted our door ourselves.", "You painted your door yourselves."),
        ("My mother and I sing.", "Your mother and you sing."),
        ("You gave me the key.", "I gave you the key."),
        ("She likes you.", "She likes me."),
        ("I moved to the US in May.", "You moved to the US in May."),
    ],
)
def test_a_statement_is_turned_to_the_other_person(said: str, to_the_user: str) -> None:
    assert flip_person(said) == to_the_user


def test_turning_twice_gives_the_first_person_back() -> None:
    said = "My dog was ill, so I took him to my vet myself."
    assert flip_person(flip_person(said)) == said


@pytest.mark.parametrize(
    "lead_in",
    [
        "Remember that ",
        "Please remember that ",
        "By the way, ",
        "Oh, and by the way, ",
        "oh and ",
        "Please note: ",
        "Note: ",
        "Actually, ",
        "Just so you know, ",
        "FYI: ",
        "Remember: ",
        "Don't forget that ",
        "I want you to know that ",
        "Hey Sprout, ",
    ],
)
def test_a_lead_in_is_dropped(lead_in: str) -> None:
    assert strip_lead_in(f"{lead_in}my robot is called Quibble.") == "My robot is called Quibble."


@pytest.mark.parametrize("text", ["Please", "And", "Oh,", "I know Ann."])
def test_what_is_no_lead_in_stays(text: str) -> None:
    assert strip_lead_in(text) == text


def test_a_full_stop_inside_a_sentence_ends_nothing() -> None:
    text = "Dr. Anselm charges 3.50 euros. J. R. Hartley is at No. 4! Is it? Yes\nNew line"
    assert sentences(text) == [
        "Dr. Anselm charges 3.50 euros.",
        "J. R. Hartley is at No. 4!",
        "Is it?",
        "Yes",
        "New line",
    ]


@given(st.text(max_size=400))
def test_any_text_is_cut_and_turned_without_an_error(text: str) -> None:
    for sentence in sentences(text):
        assert sentence.strip() == sentence != ""
    flip_person(strip_lead_in(text))
