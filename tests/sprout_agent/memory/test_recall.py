from __future__ import annotations

from datetime import datetime, timezone

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sprout_agent.memory.database import Database
from sprout_agent.memory.gateway import Decision
from sprout_agent.memory.recall import Recall
from sprout_agent.memory.salience import score
from sprout_agent.memory.store import MemoryStore

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
FACTS = (
    "My sister Odalys lives in Trondheim.",
    "I'm allergic to hazelnuts.",
    "The spare key is under the blue flowerpot.",
    "the wifi password at the cabin is otter-lamp-42",
)


def fill(database: Database) -> None:
    store = MemoryStore(database)
    session = store.start_session(NOW)
    for fact in FACTS:
        store.add_user_turn(session, fact, NOW, (score(fact), Decision(True, "Kept.", 0.9)))


def test_finds_what_a_question_is_about(database: Database) -> None:
    fill(database)
    recall = Recall(database)
    for question, fact in zip(
        (
            "Where is my sister living?",
            "What am I allergic to?",
            "Where did I put the spare key?",
            "What's the wifi password?",
        ),
        FACTS,
        strict=True,
    ):
        assert recall.find(question, limit=1)[0].text == fact


def test_finds_nothing_for_what_is_not_there(database: Database) -> None:
    fill(database)
    assert Recall(database).find("Who painted Guernica?", limit=4) == []
    assert Recall(database).find("sister key wifi", limit=0) == []
    assert len(Recall(database).find("sister key wifi", limit=2)) == 2


@given(st.text(max_size=200))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_is_a_safe_question(database: Database, text: str) -> None:
    Recall(database).find(text, limit=3)


def test_the_syntax_of_fts_has_no_meaning(database: Database) -> None:
    fill(database)
    for text in ('text:"sister" OR *', "NEAR(sister key)", 'sister" OR "', "NOT - ^ ( {"):
        Recall(database).find(text, limit=3)
