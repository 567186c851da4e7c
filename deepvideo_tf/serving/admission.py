"""What is admitted: how many requests and clips at a time, and which bodies over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

import fastapi
import prometheus_client
from fastapi.responses import JSONResponse
from grpc_interceptor.exceptions import Unavailable

if TYPE_CHECKING:
    from deepvideo_tf.serving.model import ServedModel

READ_TIMEOUT_S = 30  # of a request's body
MAX_READING = 64  # bodies that are read at a time over HTTP
BUSY_HEADERS = {"Retry-After": "1"}

REFUSED = prometheus_client.Counter("deepvideo_refused_requests", "requests answered 503 or UNAVAILABLE: no room")
RESPONSES = prometheus_client.Counter("deepvideo_http_responses", "answers over HTTP", ["status"])

Message = MutableMapping[str, Any]  # of ASGI, as Scope
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class OverloadedError(Unavailable):
    """The server is at capacity: 503 over HTTP, UNAVAILABLE over gRPC."""

    def __init__(self) -> None:
        super().__init__("the server is busy: try again later")


class Capacity:
    """A limit to what is in progress. Used on the event loop only.

    Args:
        limit: the most that may be in progress.
    """

    def __init__(self, limit: int) -> None:
        self.used = 0
        self._limit = limit

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached."""
        return self.used >= self._limit

    @contextlib.contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        """Reserve capacity inside the `with`.

        Args:
            count: of clips or requests.

        Yields:
            None.

        Raises:
            OverloadedError: there is not enough capacity.
        """
        if self.used + count > self._limit:
            REFUSED.inc()
            raise OverloadedError
        self.used += count
        try:
            yield
        finally:
            self.used -= count


class AdmissionMiddleware:
    """ASGI middleware that refuses requests before they are read: while the server is full, or with too long a body.

    Args:
        app: the ASGI application behind it.
        model: the model.
        max_request_bytes: the longest body.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], model: ServedModel, max_request_bytes: int) -> None:
        self._app = app
        self._model = model
        self._max_request_bytes = max_request_bytes
        self._reading = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return  # there is nothing to start, and a second Ctrl-C would interrupt it with a traceback
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                RESPONSES.labels(message["status"]).inc()
            await send(message)

        try:
            scope = {**scope, "path": self._without_version(scope["path"])}
            body: bytes | None = b""
            if scope["method"] == "POST":
                body = await self._body(dict(scope["headers"]), receive)
                scope["headers"] = _as_bytes(scope["headers"])
        except fastapi.HTTPException as error:
            response = JSONResponse({"error": error.detail}, error.status_code, error.headers)
            await response(scope, receive, count)
            return
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def next_message() -> Message:
            return messages.pop() if messages else await receive()

        if body is not None:
            await self._app(scope, next_message, count)

    def _without_version(self, path: str) -> str:
        """Return the V2 protocol's path of a version as that of the model, which KServe knows."""
        match = re.fullmatch("(/v2/models/[^/]+)/versions/([^/]+)(/.*)?", path)
        if match is None:
            return path
        if problem := self._model.version_problem(match[2]):
            raise fastapi.HTTPException(404, problem)
        return match[1] + (match[3] or "")

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """Read the whole body; None if the client has disconnected."""
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise fastapi.HTTPException(415, "Content-Encoding: bodies are read as they are, not compressed")
        if self._model.clips.is_full or self._reading >= MAX_READING:
            REFUSED.inc()
            raise fastapi.HTTPException(503, OverloadedError().details, BUSY_HEADERS)
        self._reading += 1
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await self._read(int(headers.get(b"content-length", b"0")), receive)
        except TimeoutError:
            raise fastapi.HTTPException(408, f"the request did not come within {READ_TIMEOUT_S} s") from None
        finally:
            self._reading -= 1

    async def _read(self, declared: int, receive: Receive) -> bytes | None:
        body, more = bytearray(), True
        self._check_size(declared)
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            self._check_size(len(body))
            more = message.get("more_body", False)
        return bytes(body)

    def _check_size(self, size: int) -> None:
        if size > self._max_request_bytes:
            raise fastapi.HTTPException(413, f"a request may have {self._max_request_bytes} bytes at most")


def _as_bytes(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return headers with which FastAPI passes the body on unchanged; it would parse JSON and echo each error in it."""
    others = [(name, value) for name, value in headers if name != b"content-type"]
    return [*others, (b"content-type", b"application/octet-stream")]
