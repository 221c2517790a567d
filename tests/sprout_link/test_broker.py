from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from sprout_link.broker import EmbeddedBroker
from sprout_link.errors import TransportError


def accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def test_it_listens_while_started_and_lets_go_of_its_port() -> None:
    broker = EmbeddedBroker()
    with broker:
        port = broker.port
        assert accepts(port)
    assert not accepts(port)
    broker.stop()
    with EmbeddedBroker(port) as again:
        assert again.port == port


def test_a_port_in_use_is_one_sentence() -> None:
    with EmbeddedBroker() as broker, pytest.raises(TransportError, match="in use"):
        EmbeddedBroker(broker.port).start()


def test_it_prints_nothing_and_dies_with_its_program_even_when_that_is_killed() -> None:
    program = (
        "import os; from sprout_link.broker import EmbeddedBroker\n"
        "broker = EmbeddedBroker(); broker.start(); print(broker.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.stderr == ""
    pid = int(ended.stdout)
    # `run` returns at end-of-file of the pipes, which the broker did not inherit.
    for _ in range(2_000_000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if _is_zombie(pid):
            return
    pytest.fail("the broker outlived its program")


def _is_zombie(pid: int) -> bool:
    """Dead, in a container whose first process collects nobody."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - not a file of ours
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True
