from __future__ import annotations

import re
from pathlib import Path

import pytest

from sprout_agent.demo.facts import general_questions, packaged_facts, parse_facts, read_facts
from sprout_agent.update.probes import packaged_canaries
from sprout_link.errors import SettingsError
from tomato_trainer.data import general


def test_lines_with_and_without_questions_are_read() -> None:
    lines = parse_facts(
        '{"say": "I have a robot.", "ask": ["What do I have?"], "expect": ["robot"]}\n'
        '\n{"say": "Nice."}\n',
        source="mine.jsonl",
    )
    assert [bool(line.ask) for line in lines] == [True, False]


def test_every_mistake_is_told_with_its_line() -> None:
    text = '{"say": "a", "ask": ["b"]}\nno json\n{"say": ""}\n{"tell": "x"}'
    with pytest.raises(SettingsError) as caught:
        parse_facts(text, source="mine.jsonl")
    for said in ("line 1: has `ask` and no `expect`", "line 2:", "line 3:", "line 4:"):
        assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n\n", '{"say": "only small talk"}'])
def test_a_file_without_questions_teaches_nothing(text: str) -> None:
    with pytest.raises(SettingsError, match="nothing to be learned"):
        parse_facts(text, source="mine.jsonl")


def test_a_file_that_is_missing_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such fact file"):
        read_facts(tmp_path / "nowhere.jsonl")
    (tmp_path / "picture").write_bytes(b"\x89PNG\xff")
    with pytest.raises(SettingsError, match="not UTF-8"):
        read_facts(tmp_path / "picture")


def test_the_packaged_conversation_has_facts_and_small_talk() -> None:
    lines = packaged_facts()
    assert sum(bool(line.ask) for line in lines) >= 5
    assert sum(not line.ask for line in lines) >= 3


COMMON = set("a an and are can did do does how i in is it many my of s the there to was".split())
COMMON |= {"what", "when", "where", "which", "who"}


def telling_words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.casefold())) - COMMON


def test_what_is_measured_is_neither_trained_on_nor_what_the_gate_decides_by() -> None:
    measured = [telling_words(one.ask) for one in general_questions()]
    measured += [telling_words(ask) for line in packaged_facts() for ask in line.ask]
    others = [telling_words(canary.question) for canary in packaged_canaries()]
    for rows in (general.training_rows(), general.held_out_rows()):
        others += [telling_words(chat.question) for chat in rows.chats]
    for one in measured:
        for other in others:
            assert len(one & other) < max(2, 0.75 * len(one | other)), (one, other)
