"""The embedded broker: iotcore's rumqttd in a process of its own, on this machine only.

For the demo, the tests and a board that works alone. The process ends when its standard
input closes, so it never outlives the program that started it, not even after SIGKILL.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from sprout_link.errors import TransportError

HOST: Final = "127.0.0.1"
MAX_PAYLOAD_BYTES: Final = 8 * 1024 * 1024
_START_TIMEOUT_S: Final = 15.0
_PORT_TRIES: Final = 5

_CONFIG: Final = """\
id = 0
[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v5.1]
name = "v5"
listen = "{host}:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = {max_payload_bytes}
max_inflight_count = 200
dynamic_filters = true
"""


class EmbeddedBroker:
    """An MQTT 5 broker on 127.0.0.1 for as long as it is started. Keeps nothing on disk.

    Args:
        port: TCP port, or 0 for any that is free.
    """

    def __init__(self, port: int = 0) -> None:
        self._wanted = port
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._port = port

    @property
    def host(self) -> str:
        """Address that it listens on."""
        return HOST

    @property
    def port(self) -> int:
        """Port that it listens on; the wanted one before `start`."""
        return self._port

    @property
    def pid(self) -> int | None:
        """Id of its process while it runs."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it and wait until it accepts connections.

        Raises:
            TransportError: iotcore is not installed, the port is taken, or it did not come up.
        """
        if self._process is not None:
            return
        if importlib.util.find_spec("iotcore") is None:
            raise TransportError(
                "the embedded broker needs the package iotcore: pip install 'sprout-tomato[demo]'"
            )
        for last in (False,) * (_PORT_TRIES - 1) + (True,):
            self._port = self._wanted or _free_port()
            if _accepts(self._port):
                raise TransportError(
                    f"port {self._port} of {HOST} is in use; stop what listens there, "
                    "or choose another port"
                )
            try:
                self._launch()
                return
            except TransportError:
                self.stop()
                # Another process can take a free port between our look and the start.
                if last or self._wanted:
                    raise

    def stop(self) -> None:
        """Stop it and let go of the port. Harmless when stopped."""
        process, self._process = self._process, None
        if process is not None:
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> EmbeddedBroker:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _launch(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sprout-broker-")
        config = Path(self._folder.name) / "rumqttd.toml"
        config.write_text(
            _CONFIG.format(host=HOST, port=self._port, max_payload_bytes=MAX_PAYLOAD_BYTES)
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sprout_link.broker", str(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for the program, which still needs its broker to say goodbye.
            start_new_session=True,
        )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _accepts(self._port):
            status = self._process.poll()
            if status is not None:
                raise TransportError(f"the embedded broker ended at once (status {status})")
            if time.monotonic() > deadline:
                raise TransportError(
                    f"the embedded broker did not listen within {_START_TIMEOUT_S:.0f} s"
                )
            time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=0.5):
            return True
    except OSError:
        return False


def _serve(config: str) -> None:
    """Run the broker in this process until standard input closes."""

    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(0)  # rumqttd has no way to stop

    threading.Thread(target=end_with_parent, daemon=True).start()
    from iotcore import Broker

    Broker(config_path=config).run_forever()


if __name__ == "__main__":
    _serve(sys.argv[1])
