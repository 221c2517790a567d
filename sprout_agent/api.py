"""The agent's HTTP API on loopback, for the command line.

Every request carries the bearer token of `endpoint.json`. Answers stream as JSON lines:
`{"piece": TEXT}` as the text comes, then `{"answer": {…}}`, or `{"error": SENTENCE}`.

    GET  /healthz
    GET  /sprout/status
    GET  /sprout/memories
    POST /sprout/ask        {"text", "recall", "keep"}
    POST /sprout/remember   {"text"}
    POST /sprout/ship       sends what waits, now
    POST /sprout/rollback
"""

from __future__ import annotations

import hmac
import logging
import queue
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, Protocol

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sprout_agent.errors import AgentError
from sprout_link.errors import LinkError

_log = logging.getLogger(__name__)

MAX_REQUEST_BYTES: Final = 1024 * 1024


class AskRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A turn to answer."""

    text: str
    recall: bool = True
    keep: bool = True


class RememberRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something to keep."""

    text: str


class Backend(Protocol):
    """What the API offers of the agent. Values are plain JSON values."""

    def ask(
        self,
        text: str,
        *,
        recall: bool,
        keep: bool,
        on_text: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> dict[str, Any]:
        """Answer a turn."""

    def remember(self, text: str) -> dict[str, Any]:
        """Keep a text."""

    def memories(self) -> list[dict[str, Any]]:
        """Everything that is kept, oldest first."""

    def status(self) -> dict[str, Any]:
        """How the agent is."""

    def ship(self) -> dict[str, Any]:
        """Send what waits, now."""

    def rollback(self) -> dict[str, Any]:
        """Go back to the artifact before this one."""


class ApiServer:
    """Serves the API on a thread of its own. Opens nothing until `start`."""

    def __init__(self, backend: Backend, *, token: str, port: int) -> None:
        config = uvicorn.Config(
            application(backend, token),
            host="127.0.0.1",
            port=port,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=3,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="api", daemon=True)
        self._bound: Any = None
        self._port = port
        self.token = token
        """What a request must carry."""

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port

    def start(self) -> None:
        """Bind and serve; returns once requests are accepted.

        Raises:
            AgentError: the port is taken.
        """
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(("127.0.0.1", self._port))
            bound.listen(128)
        except OSError as error:
            bound.close()
            raise AgentError(
                f"port {self._port} on loopback cannot be used ({error.strerror}); "
                "set another api_port under [agent]"
            ) from error
        self._bound = bound
        self._port = int(bound.getsockname()[1])
        self._thread.start()

    def stop(self) -> None:
        """Finish what runs, within a few seconds, and stop."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(5.0)
        if self._bound is not None:
            self._bound.close()

    def _serve(self) -> None:
        self._server.run(sockets=[self._bound])


def application(backend: Backend, token: str) -> Starlette:
    """The API as an ASGI application over `backend`."""

    async def status(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(backend.status))

    async def memories(_: Request) -> Response:
        return JSONResponse({"memories": await run_in_threadpool(backend.memories)})

    async def ask(request: Request) -> Response:
        wanted = await _read(request, AskRequest)
        return StreamingResponse(_answer_lines(backend, wanted), media_type="application/x-ndjson")

    async def remember(request: Request) -> Response:
        wanted = await _read(request, RememberRequest)
        return JSONResponse(await run_in_threadpool(backend.remember, wanted.text))

    async def ship(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(backend.ship))

    async def rollback(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(backend.rollback))

    async def healthz(_: Request) -> Response:
        return JSONResponse({"ok": True})

    def guarded(endpoint: Callable[[Request], Awaitable[Response]], method: str) -> Any:
        async def checked(request: Request) -> Response:
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                return _refusal("the token of the data folder's endpoint.json is needed", 401)
            try:
                return await endpoint(request)
            except (AgentError, LinkError) as error:
                return _refusal(str(error), 409)

        return {"endpoint": checked, "methods": [method]}

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/sprout/status", **guarded(status, "GET")),
            Route("/sprout/memories", **guarded(memories, "GET")),
            Route("/sprout/ask", **guarded(ask, "POST")),
            Route("/sprout/remember", **guarded(remember, "POST")),
            Route("/sprout/ship", **guarded(ship, "POST")),
            Route("/sprout/rollback", **guarded(rollback, "POST")),
        ]
    )


async def _read(request: Request, kind: type[Any]) -> Any:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_REQUEST_BYTES:
            raise AgentError(f"a request is at most {MAX_REQUEST_BYTES} bytes")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AgentError(f"not a {kind.__name__}: {error}") from error


def _answer_lines(backend: Backend, wanted: AskRequest) -> Iterator[bytes]:
    """The answer's lines as they come; a client that goes away ends the answer."""
    lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
    gone = threading.Event()

    def answer() -> None:
        try:
            found = backend.ask(
                wanted.text,
                recall=wanted.recall,
                keep=wanted.keep,
                on_text=lambda piece: lines.put({"piece": piece}),
                cancelled=gone.is_set,
            )
            lines.put({"answer": found})
        except (AgentError, LinkError) as error:
            lines.put({"error": str(error)})
        except Exception as error:  # noqa: BLE001 - the edge of this thread
            # By type only: the text of an exception may hold a user's words.
            _log.error("an answer failed: %s", type(error).__name__)
            lines.put({"error": f"the answer failed ({type(error).__name__}); see the log"})
        finally:
            lines.put(None)

    threading.Thread(target=answer, name="answer", daemon=True).start()
    try:
        while (line := lines.get()) is not None:
            yield msgspec.json.encode(line) + b"\n"
    finally:
        gone.set()


def _refusal(reason: str, status: int) -> Response:
    return JSONResponse({"error": reason}, status_code=status)
