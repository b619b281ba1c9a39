"""The application of an API process: its own routes, and main behind all others."""

from __future__ import annotations

import msgspec

from chronos.errors import ChronosError
from chronos.server.gate import SECURITY_HEADERS, Receive, Scope, Send
from chronos.server.problems import CONTENT_TYPE, describe
from chronos.server.processes.forwarding import Ways


class Edge:
    """An ASGI application."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "the listener speaks nothing else"
        try:
            await self._ways.forward(scope, receive, send)
        except ChronosError as exc:
            await _refuse(exc, send)


async def _refuse(error: ChronosError, send: Send) -> None:
    """Answer what main did not. Nothing of an answer has been sent."""
    status, body, headers = describe(error)
    raw = msgspec.json.encode(body)
    given = {**SECURITY_HEADERS, "Cache-Control": "no-store", "Content-Type": CONTENT_TYPE, **headers}
    # What is left of the request is not read, so the connection cannot be used again.
    given |= {"Content-Length": str(len(raw)), "Connection": "close"}
    pairs = [(name.lower().encode(), value.encode()) for name, value in given.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": raw})
