from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprout_link.english.questions import (
    HELD_OUT_FORMS,
    PROBE_FORMS,
    TAUGHT_FORMS,
    keywords,
    probe_questions,
    taught_questions,
)

STATEMENTS = [
    "My robot is called Quibble.",
    "My sister Odalys lives in Trondheim.",
    "The spare key is under the blue flowerpot.",
    "I parked the car on level 4.",
    "Our wifi password is plum-otter-91.",
    "Dr. Anselm moved my appointment to Thursday.",
    "I'm allergic to walnuts.",
    "I was born in Ystad on 3 May 1987.",
    "I have a parrot called Miso.",
    "My brother is a beekeeper.",
    "My front door is dark green.",
    "I take the tram to work every Tuesday.",
    "On Fridays I play the cello with Marisol.",
    "There are seven apple trees in my garden.",
    "My flight leaves at 6:40 am from gate B12.",
    "Remember that our landlord is Mr. Oyelaran.",
    "My car is a red Skoda and it is parked behind the library.",
    "Zorblat frimple nagg.",
]

WORDS = ("I", "my", "is", "at", "the", "Ann's", "4", "am", "called", "lives", "have", "and", ",")


@pytest.mark.parametrize(
    ("statement", "question", "wanted"),
    [
        ("My robot is called Quibble.", "What is my robot called?", ("Quibble",)),
        ("My robot is called Quibble.", "What is the name of my robot?", ("Quibble",)),
        ("My sister Odalys lives in Trondheim.", "Where does my sister live?", ("Trondheim",)),
        ("My sister Odalys lives in Trondheim.", "What is my sister's name?", ("Odalys",)),
        ("My sister Odalys lives in Trondheim.", "Who lives in Trondheim?", ("sister", "Odalys")),
        (
            "The spare key is under the blue flowerpot.",
            "Where is the spare key?",
            ("blue", "flowerpot"),
        ),
        ("I parked the car on level 4.", "Where did I park the car?", ("level", "4")),
        ("I parked the car on level 4.", "Where is my car?", ("level", "4")),
        ("Our wifi password is plum-otter-91.", "What is our wifi password?", ("plum-otter-91",)),
        (
            "Dr. Anselm moved my appointment to Thursday.",
            "When is my appointment?",
            ("Thursday",),
        ),
        (
            "Dr. Anselm moved my appointment to Thursday.",
            "Who moved my appointment to Thursday?",
            ("Dr", "Anselm"),
        ),
        ("I'm allergic to walnuts.", "What am I allergic to?", ("walnuts",)),
        ("My front door is dark green.", "What color is my front door?", ("dark", "green")),
        ("My daughter has three gerbils.", "How many gerbils does my daughter have?", ("three",)),
        ("I don't eat pork.", "What don't I eat?", ("pork",)),
        ("I was born in Ystad on 3 May 1987.", "Where was I born?", ("Ystad",)),
        (
            "My flight leaves at 6:40 am from gate B12.",
            "What time does my flight leave from gate B12?",
            ("6:40",),
        ),
    ],
)
def test_a_statement_is_asked_about_in_plain_english(
    statement: str, question: str, wanted: tuple[str, ...]
) -> None:
    found = {q.text: q for q in taught_questions(statement)}
    assert question in found
    assert keywords(statement, found[question]) == wanted


@pytest.mark.parametrize("statement", STATEMENTS)
def test_what_the_gate_asks_was_never_taught(statement: str) -> None:
    def plain(text: str) -> str:
        return " ".join(text.lower().split()).rstrip("?.! …")

    taught, probes = taught_questions(statement), probe_questions(statement)
    assert taught
    assert probes
    assert not {plain(q.text) for q in taught} & {plain(q.text) for q in probes}
    assert {q.form for q in taught} <= TAUGHT_FORMS
    assert {q.form for q in probes} <= PROBE_FORMS


def test_forms_are_partitioned() -> None:
    assert not TAUGHT_FORMS & PROBE_FORMS
    assert HELD_OUT_FORMS < TAUGHT_FORMS


@pytest.mark.parametrize("text", ["", "🎉🎉", "…", " \n"])
def test_text_without_words_gives_no_question(text: str) -> None:
    assert taught_questions(text) == []
    assert probe_questions(text) == []


def test_keywords_of_a_question_in_other_words_are_names_and_numbers() -> None:
    assert keywords("The bike lock code is 4417.", "How do I open my bike?") == ("4417",)


@given(st.text(max_size=200))
def test_any_text_can_be_asked_about_without_an_error(text: str) -> None:
    taught = {q.text for q in taught_questions(text)}
    for question in probe_questions(text):
        assert question.text not in taught
        keywords(text, question)


@given(st.lists(st.sampled_from(WORDS)))
def test_any_words_can_be_asked_about_without_an_error(words: list[str]) -> None:
    text = " ".join(words)
    for question in [*taught_questions(text), *probe_questions(text)]:
        keywords(text, question)


@pytest.mark.parametrize(
    "text", ["I is , at", "called , in The has would", "sister has , until with", "0.5 parked , on"]
)
def test_stray_punctuation_is_no_word(text: str) -> None:
    for question in [*taught_questions(text), *probe_questions(text)]:
        assert "  " not in question.text
