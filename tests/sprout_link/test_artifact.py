from __future__ import annotations

import json
from datetime import datetime, timezone

import msgspec
import pytest

from sprout_link.artifact import Manifest, Proof, from_custom, target_path, to_custom
from sprout_link.compatibility import reasons_against
from sprout_link.errors import MessageError
from sprout_link.messages import DeviceProfile

ID = "0192f0c8-7c5e-7000-8000-000000000001"


def manifest(**changes: object) -> Manifest:
    made = Manifest(
        kind="gguf-adapter",
        device="sprout",
        artifact="a" * 64,
        size_bytes=10,
        base_sha256="b" * 64,
        architecture="llama",
        runtime="llama-cpp",
        method="lora",
        recipe={"rank": "16"},
        lineage="c" * 64,
        memory_ids=[ID],
        figures={"recall_held_out": 0.9375, "kl_general": 1e-3},
        proofs=[Proof(prompt="What?", answer="That.", shift=1.25)],
        vocabulary_version=0,
        job_id=ID,
        created_at=datetime(2026, 11, 22, tzinfo=timezone.utc),
    )
    return msgspec.structs.replace(made, **changes)


def profile(**changes: object) -> DeviceProfile:
    made = DeviceProfile(
        base_sha256="b" * 64,
        architecture="llama",
        runtime="llama-cpp",
        runtime_version="0.3.36",
        platform="aarch64-linux",
        system_prompt="You are Sprout.",
    )
    return msgspec.structs.replace(made, **changes)


def test_a_manifest_survives_the_way_through_json_without_floats() -> None:
    values = json.loads(json.dumps(to_custom(manifest())))
    assert from_custom(values) == manifest()
    # TUF's canonical JSON, which is what is signed, knows no floating point numbers.
    assert not any(isinstance(value, float) for value in values["figures"].values())


@pytest.mark.parametrize(
    "change",
    [{"extra": 1}, {"artifact": "x"}, {"proofs": []}, {"size_bytes": 2**40}, {"device": "A/B"}],
)
def test_a_manifest_out_of_bounds_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MessageError):
        from_custom({**to_custom(manifest()), **change})


def test_what_fits_has_no_reason_against_it() -> None:
    assert reasons_against(manifest(), profile(), device="sprout") == []


def test_every_reason_is_given_at_once() -> None:
    reasons = reasons_against(
        manifest(base_sha256="d" * 64, architecture="phi3", runtime="onnx"),
        profile(),
        device="other",
    )
    assert len(reasons) == 4


def test_a_device_has_one_target() -> None:
    assert target_path("sprout") == "sprout/current"
