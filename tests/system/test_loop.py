"""The whole loop with both programs as processes, on two real brokers."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.system.rig import Rig, embedded, mosquitto, wait_until

pytestmark = pytest.mark.system

Broker = Callable[[Path, int], AbstractContextManager[int]]


def learn(rig: Rig, *texts: str) -> str:
    """Tell it, ship it, and wait for the artifact that comes of it."""
    before = rig.status()["active_artifact"]
    for text in texts:
        rig.agent("remember", text)
    rig.agent("ship")

    def arrived() -> str | None:
        found = rig.status()
        assert found["last_report"] is None or found["last_report"]["outcome"] == "installed", (
            found["last_report"]
        )
        active = found["active_artifact"]
        return active if active != before else None

    artifact: str = wait_until(arrived, "a new artifact")
    return artifact


@pytest.mark.parametrize("broker", [embedded, mosquitto])
def test_what_is_told_comes_back_as_an_artifact_and_a_second_night_follows(
    rig: Rig, broker: Broker
) -> None:
    with broker(rig.folder, rig.port):
        rig.start_trainer()
        rig.start_agent()
        first = learn(rig, "My robot is called Quibble.", "My sister lives in Trondheim.")
        found = rig.status()
        assert found["waiting"] == 0
        assert found["installed"] == first
        answer = json.loads(rig.agent("ask", "hello", "--no-keep", "--json").stdout)
        assert answer["installed"] == first
        assert answer["answered_by"] in (first, "base")  # as its router decides

        second = learn(rig, "The spare key is under the blue flowerpot.")
        assert second != first

        rolled = json.loads(rig.agent("rollback", "--json").stdout)
        assert rolled["active_artifact"] == first

        jobs = json.loads(rig.trainer("jobs", "--json"))
        assert [job["state"] for job in jobs] == ["published", "published"]
        assert [device["device"] for device in json.loads(rig.trainer("devices", "--json"))] == [
            "sprout"
        ]
        assert rig.stop("sprout") == 0
        assert rig.stop("tomato") == 0
    # The words stay where they belong: in the databases, never in a log.
    assert "Quibble" not in rig.log("sprout") + rig.log("tomato")


def test_without_a_broker_both_keep_trying_and_memories_wait(rig: Rig) -> None:
    rig.start_trainer()
    rig.start_agent()
    rig.agent("remember", "My robot is called Quibble.")
    rig.agent("ship")
    found = rig.status()
    assert found["waiting"] == 1
    assert not found["connected"]
    wait_until(lambda: "will keep trying" in rig.log("sprout"), "the agent says so")
    wait_until(lambda: "will keep trying" in rig.log("tomato"), "the trainer says so")
    with embedded(rig.folder, rig.port):
        wait_until(lambda: rig.status()["active_artifact"], "the artifact", timeout_s=150)
    assert rig.status()["waiting"] == 0


def test_a_trainer_that_is_killed_while_it_trains_goes_on_at_its_next_start(rig: Rig) -> None:
    with embedded(rig.folder, rig.port):
        rig.start_trainer()
        rig.start_agent()
        rig.agent("remember", "My robot is called Quibble.")
        rig.agent("ship")
        wait_until(lambda: (rig.status()["job"] or {}).get("state") == "running", "training")
        rig.stop("tomato", signal.SIGKILL)
        assert rig.status()["active_artifact"] is None
        rig.start_trainer()
        wait_until(lambda: rig.status()["active_artifact"], "the artifact")


def test_an_agent_that_is_killed_answers_with_its_artifact_after_the_restart(rig: Rig) -> None:
    with embedded(rig.folder, rig.port):
        rig.start_trainer()
        rig.start_agent()
        artifact = learn(rig, "My robot is called Quibble.")
        rig.stop("sprout", signal.SIGKILL)
        # No agent runs: the command opens the folder itself, with the same weights.
        alone = json.loads(rig.agent("ask", "hello", "--no-keep", "--json").stdout)
        assert alone["installed"] == artifact
        rig.start_agent()
        assert rig.status()["installed"] == artifact


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_of_training_ends_both_cleanly(
    rig: Rig, stop: signal.Signals
) -> None:
    with embedded(rig.folder, rig.port):
        rig.start_trainer()
        rig.start_agent()
        rig.agent("remember", "My robot is called Quibble.")
        rig.agent("ship")
        wait_until(lambda: (rig.status()["job"] or {}).get("state") == "running", "training")
        assert rig.stop("tomato", stop) == 0
        assert rig.stop("sprout", stop) == 0
    assert not (rig.folder / "sprout" / "endpoint.json").exists()
    states = [job["state"] for job in json.loads(rig.trainer("jobs", "--json"))]
    assert states == ["queued"]
