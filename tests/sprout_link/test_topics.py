from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprout_link import topics
from sprout_link.errors import TopicError


@given(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True))
def test_every_channel_of_a_device_is_parsed_back(device: str) -> None:
    for channel in topics.CHANNELS:
        assert topics.parse(topics.build(device, channel)) == topics.DeviceTopic(device, channel)


@pytest.mark.parametrize("name", ["", "+", "#", "a/b", "A", "-a", "a-", "a" * 64, "ä", "a\n"])
def test_a_name_that_could_reach_another_topic_is_refused(name: str) -> None:
    with pytest.raises(TopicError):
        topics.build(name, "memories")


@pytest.mark.parametrize("topic", ["sprout/v1/a", "sprout/v2/a/ack", "sprout/v1/a/b", "x", ""])
def test_other_topics_are_refused(topic: str) -> None:
    with pytest.raises(TopicError):
        topics.parse(topic)


def test_trainers_share_what_comes_up() -> None:
    assert topics.from_every_device("memories") == "$share/tomato-memories/sprout/v1/+/memories"
    assert topics.shared_fetch() == "$share/tomato-fetch/tomato/v1/fetch"
