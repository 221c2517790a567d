"""The command line's way to the running agent: HTTP on loopback, by a token in the data folder.

The agent writes `endpoint.json` (mode 0600) while it runs. Who can read the data folder may
talk to the agent, nobody else on the machine.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from sprout_agent.errors import ControlError
from sprout_link.files import write_durably

ENDPOINT_FILE: Final = "endpoint.json"
MAX_REPLY_BYTES: Final = 64 * 1024 * 1024


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running agent listens."""

    port: int
    token: str
    pid: int


def announce(folder: Path, endpoint: Endpoint) -> None:
    """Tell the command line where this agent listens."""
    write_durably(folder / ENDPOINT_FILE, msgspec.json.encode(endpoint), mode=0o600)


def withdraw(folder: Path) -> None:
    """The agent no longer listens."""
    (folder / ENDPOINT_FILE).unlink(missing_ok=True)


def find(folder: Path) -> Endpoint | None:
    """Where the agent of `folder` says it listens, or none.

    Raises:
        ControlError: the file is there but cannot be read.
    """
    path = folder / ENDPOINT_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Endpoint)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ControlError(f"{path}: cannot be read ({error}); is the agent yours?") from error


class Client:
    """Asks a running agent."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float = 600.0) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s

    def get(self, path: str) -> Any:
        """JSON of a GET.

        Raises:
            ControlError: no agent answers there, or it refused; with its reason.
        """
        return self._whole("GET", path, None)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """JSON of a POST. Raises as `get` does."""
        return self._whole("POST", path, body or {})

    def lines(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """JSON lines of a POST as they come. Raises as `get` does."""
        connection, response = self._send("POST", path, body)
        try:
            while line := response.readline(MAX_REPLY_BYTES):
                value = _decoded(line)
                if "error" in value:
                    raise ControlError(str(value["error"]))
                yield value
        except OSError as error:
            raise ControlError("the agent stopped in the middle of its answer") from error
        finally:
            connection.close()

    def _whole(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        connection, response = self._send(method, path, body)
        try:
            return _decoded(response.read(MAX_REPLY_BYTES))
        except (OSError, http.client.HTTPException) as error:
            raise ControlError("the agent stopped in the middle of its answer") from error
        finally:
            connection.close()

    def _send(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self._endpoint.port, timeout=self._timeout_s
        )
        headers = {"Authorization": f"Bearer {self._endpoint.token}"}
        payload = None if body is None else msgspec.json.encode(body)
        try:
            connection.request(method, path, body=payload, headers=headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ControlError(
                f"no agent answers on port {self._endpoint.port} ({error or type(error).__name__})"
            ) from error
        if response.status >= 400:
            try:
                reason = str(_decoded(response.read(MAX_REPLY_BYTES)).get("error", ""))
            finally:
                connection.close()
            raise ControlError(reason or f"the agent refused: HTTP {response.status}")
        return connection, response


def _decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise ControlError("what answers on the agent's port is not the agent") from error
