from __future__ import annotations

from datetime import datetime, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprout_link import messages
from sprout_link.errors import MessageError
from sprout_link.messages import ChunkReply, Memory, MemoryBatch, Offer, decode, encode

NOW = datetime(2026, 11, 22, 20, 0, tzinfo=timezone.utc)
ID = "0192f0c8-7c5e-7000-8000-000000000001"


def offer() -> Offer:
    return Offer(device="sprout", timestamp_version=3, published_at=NOW)


def test_a_message_comes_back_as_it_was() -> None:
    assert decode(encode(offer()), Offer) == offer()


@given(st.binary(max_size=4096), st.integers(0, 2**40))
def test_a_chunk_carries_any_bytes(data: bytes, offset: int) -> None:
    reply = ChunkReply(path="targets/x", offset=offset, total_bytes=2**41, data=data)
    assert decode(encode(reply), ChunkReply) == reply


@given(st.binary(max_size=2048))
def test_noise_is_refused_by_the_one_error(noise: bytes) -> None:
    for kind in (Offer, MemoryBatch, ChunkReply):
        with pytest.raises(MessageError):
            decode(noise, kind)


def test_unknown_fields_and_other_versions_are_refused() -> None:
    values = msgspec.to_builtins(offer())
    for change in ({"extra": 1}, {"version": 2}, {"device": "../other"}, {"timestamp_version": 0}):
        with pytest.raises(MessageError):
            decode(msgspec.json.encode({**values, **change}), Offer)


def test_a_payload_over_the_bound_is_not_even_parsed() -> None:
    with pytest.raises(MessageError, match="over the limit"):
        decode(b" " * 100, Offer, max_bytes=99)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(MessageError):
        decode(b"[" * 100_000, Offer)


def test_an_error_never_repeats_the_words_of_a_memory() -> None:
    memory = {
        "memory_id": ID,
        "sequence": 0,
        "text": "my secret",
        "said_at": NOW.isoformat(),
        "session": ID,
        "salience": 0.5,
        "salience_parts": {},
    }
    batch = {"device": "sprout", "batch_id": ID, "memories": [memory]}
    with pytest.raises(MessageError) as caught:
        decode(msgspec.json.encode(batch), MemoryBatch)
    assert "secret" not in str(caught.value)


def test_a_memory_is_only_ever_the_users() -> None:
    assert msgspec.inspect.type_info(Memory)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"speaker": "assistant"}, Memory)


def test_every_message_says_its_version() -> None:
    assert b'"version":1' in encode(offer())
    assert messages.VERSION == 1
