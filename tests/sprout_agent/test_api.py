from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sprout_agent import control
from sprout_agent.api import ApiServer
from sprout_agent.errors import ControlError, TurnError, UpdateError


class Parrot:
    """A backend that repeats what it hears."""

    def ask(
        self,
        text: str,
        *,
        recall: bool,
        keep: bool,
        on_text: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> dict[str, Any]:
        if not text:
            raise TurnError("this turn is empty; say something")
        if text == "break":
            raise RuntimeError("my secret")
        on_text(text[:1])
        on_text(text[1:])
        return {"text": text, "recall": recall, "keep": keep}

    def remember(self, text: str) -> dict[str, Any]:
        return {"memory_id": "1", "reason": text}

    def memories(self) -> list[dict[str, Any]]:
        return [{"text": "ä" * 1000}]

    def status(self) -> dict[str, Any]:
        return {"running": True}

    def ship(self) -> dict[str, Any]:
        return {"waiting": 0}

    def rollback(self) -> dict[str, Any]:
        raise UpdateError("nothing is installed; the bare base answers already")


@pytest.fixture
def server() -> Iterator[ApiServer]:
    made = ApiServer(Parrot(), token="right", port=0)
    made.start()
    yield made
    made.stop()


def client(server: ApiServer, token: str = "right") -> control.Client:
    return control.Client(control.Endpoint(port=server.port, token=token, pid=1), timeout_s=10)


def test_an_answer_comes_in_pieces_and_then_whole(server: ApiServer) -> None:
    lines = list(client(server).lines("/sprout/ask", {"text": "hello", "keep": False}))
    assert lines == [
        {"piece": "h"},
        {"piece": "ello"},
        {"answer": {"text": "hello", "recall": True, "keep": False}},
    ]


def test_every_other_call_gives_its_values(server: ApiServer) -> None:
    ours = client(server)
    assert ours.get("/sprout/status") == {"running": True}
    assert ours.get("/sprout/memories")["memories"][0]["text"] == "ä" * 1000
    assert ours.post("/sprout/remember", {"text": "x"})["reason"] == "x"
    assert ours.post("/sprout/ship") == {"waiting": 0}


def test_a_refusal_comes_as_its_sentence(server: ApiServer) -> None:
    with pytest.raises(ControlError, match="nothing is installed"):
        client(server).post("/sprout/rollback")
    with pytest.raises(ControlError, match="say something"):
        list(client(server).lines("/sprout/ask", {"text": ""}))


def test_an_unexpected_failure_never_shows_what_was_said(server: ApiServer) -> None:
    with pytest.raises(ControlError) as caught:
        list(client(server).lines("/sprout/ask", {"text": "break"}))
    assert "RuntimeError" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_without_the_token_nobody_is_let_in(server: ApiServer) -> None:
    with pytest.raises(ControlError, match="token"):
        client(server, token="wrong").get("/sprout/status")


@pytest.mark.parametrize(
    "body", [{"text": 3}, {"words": "x"}, {"text": "x", "more": 1}, {"text": "x" * 2_000_000}]
)
def test_a_request_out_of_form_or_bounds_is_refused(
    server: ApiServer, body: dict[str, Any]
) -> None:
    with pytest.raises(ControlError):
        list(client(server).lines("/sprout/ask", body))
    assert client(server).get("/sprout/status") == {"running": True}


def test_a_stopped_server_is_told_as_such(server: ApiServer) -> None:
    server.stop()
    with pytest.raises(ControlError, match="no agent answers"):
        client(server).get("/sprout/status")


def test_the_endpoint_is_private_and_gone_when_withdrawn(tmp_path: Path) -> None:
    endpoint = control.Endpoint(port=1, token="t", pid=2)
    control.announce(tmp_path, endpoint)
    assert (tmp_path / control.ENDPOINT_FILE).stat().st_mode & 0o077 == 0
    assert control.find(tmp_path) == endpoint
    control.withdraw(tmp_path)
    assert control.find(tmp_path) is None
