"""A request that has passed the gate, and its answer: read it, ask the handler, send what it says.

The same in the main process and in those that answer for it; no framework stands in between. What is wrong with a
request is raised, and the gate makes a problem of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from chronos.model.principal import ANONYMOUS, Principal
from chronos.plugin import PUBLIC, Call, Endpoint, Reply
from chronos.server.calls import check_permission, is_local, read_call
from chronos.server.patience import answered
from chronos.server.problems import HttpProblem
from chronos.server.routing import APPLIED, TOO_LARGE, Routes, body_bound
from chronos.server.uptodate import ReadBarrier, up_to_date

Scope = Any
Receive = Any
Send = Any

JSON = "application/json"
EVENT_STREAM = "text/event-stream"

PASSED_OVER_MAX = 8 * 1024 * 1024
"""Of a body that says to be larger, nothing is read; its connection is closed."""


class Answering:
    """An ASGI application behind the gate.

    Args:
        applied: The index of the last log entry this node has taken in; every answer to a read says it.
        barrier: Returns when this node has what was acknowledged anywhere; None where it always does.
    """

    def __init__(
        self, routes: Routes, *, applied: Callable[[], int], barrier: ReadBarrier | None, body_bytes_max: int
    ) -> None:
        self._routes = routes
        self._applied = applied
        self._barrier = barrier
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint, path = self._routes.endpoint(scope["method"], scope["path"])
        assert endpoint is not None, "the gate has looked"
        scope["chronos.route"] = endpoint.path
        call = await call_of(endpoint, path, scope, receive, self._body_bytes_max)
        barrier = None if _is_of_node(endpoint) or is_local(scope["query_string"]) else self._barrier

        async def ask() -> tuple[Reply, int]:
            # Before the handler reads: what it reads is at least as new as what the answer says.
            index = self._applied()
            return await answered(endpoint, call), index

        reply, index = await up_to_date(ask, barrier, reads=_is_read(endpoint))
        await send_reply(endpoint, reply, receive, send, index=index)


async def call_of(
    endpoint: Endpoint, path: dict[str, str], scope: Scope, receive: Receive, body_bytes_max: int
) -> Call:
    """Return the call that a request makes.

    Args:
        path: The path's parameters.

    Raises:
        Denied: The caller may not; the body, which may be large, is not read then.
        HttpProblem: The body is too large.
        Invalid: Something is not what `endpoint` takes.
    """
    principal: Principal = scope.get("chronos.principal", ANONYMOUS)
    check_permission(endpoint, principal)
    headers: dict[str, str] = scope["chronos.headers"]
    raw = b""
    if endpoint.method != "GET":
        raw = await _body(scope, headers, receive, body_bound(endpoint, body_bytes_max))
    return read_call(
        endpoint, principal=principal, headers=headers, query=scope["query_string"], path=dict(path), raw=raw
    )


async def _body(scope: Scope, headers: dict[str, str], receive: Receive, most: int) -> bytes:
    said = headers.get("content-length", "")
    if said.isdecimal() and (size := int(said[:20])) > most:
        if size <= PASSED_OVER_MAX and "expect" not in headers:
            await _pass_over(scope, receive)
        raise HttpProblem(413, "payload-too-large", TOO_LARGE)
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            # Half of a batch must not be taken for a whole one. Nobody reads this.
            raise HttpProblem(400, "bad-request", "The connection broke off in the middle of the request.")
        pieces.append(message.get("body", b""))
        most -= len(pieces[-1])
        if most < 0:
            raise HttpProblem(413, "payload-too-large", TOO_LARGE)
        if not message.get("more_body", False):
            scope["chronos.read"] = True
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _pass_over(scope: Scope, receive: Receive) -> None:
    """Read a body that is refused, and keep nothing of it: who is cut off in the middle of sending sees no answer."""
    while (message := await receive())["type"] != "http.disconnect":
        if not message.get("more_body", False):
            scope["chronos.read"] = True
            return


async def send_reply(endpoint: Endpoint, reply: Reply, receive: Receive, send: Send, *, index: int) -> None:
    """Send what a handler has answered; a stream until it ends, or the client has left.

    Args:
        index: What an answer to a read is at least as new as.
    """
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()]
    if _is_read(endpoint):
        headers.append((_APPLIED, b"%d" % index))
    kind = reply.content_type
    start = {"type": "http.response.start", "status": reply.status or endpoint.status, "headers": headers}
    if reply.stream is not None:
        headers.append((b"content-type", _typed(EVENT_STREAM if kind == JSON else kind)))
        await send(start)
        await _stream(reply.stream, receive, send)
        return
    raw = b"" if start["status"] == 204 else _encoded(reply)
    headers.append((b"content-type", _typed(kind)))
    headers.append((b"content-length", b"%d" % len(raw)))
    await send(start)
    await send({"type": "http.response.body", "body": raw})


_APPLIED = APPLIED.lower().encode()


def _is_read(endpoint: Endpoint) -> bool:
    return endpoint.method == "GET" and endpoint.permission != PUBLIC


def _is_of_node(endpoint: Endpoint) -> bool:
    return endpoint.of_node or (endpoint.method == "GET" and endpoint.permission == PUBLIC)


def _encoded(reply: Reply) -> bytes:
    return reply.text if reply.text is not None else msgspec.json.encode(reply.value)


def _typed(kind: str) -> bytes:
    if kind.startswith("text/") and "charset=" not in kind:
        kind += "; charset=utf-8"
    return kind.encode("latin-1")


async def _stream(pieces: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    sending = asyncio.create_task(_send_all(pieces, send))
    leaving = asyncio.create_task(_until_left(receive))
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    finally:
        for task in (sending, leaving):
            task.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)


async def _send_all(pieces: AsyncIterator[bytes], send: Send) -> None:
    try:
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:  # an async generator ends what it has begun
            await close()
    await send({"type": "http.response.body", "body": b""})


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
