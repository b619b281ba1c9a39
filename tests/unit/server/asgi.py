"""Requests without sockets: calls an ASGI application and returns what it answered."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from chronos.model.principal import Principal
from chronos.plugin import Endpoint
from chronos.server.gate import Asgi
from chronos.server.web import build
from chronos.telemetry import Telemetry
from chronos.timing.clock import SeededChance

EVERYBODY = Principal(id="anonymous", permissions=frozenset({"*"}))


class StillClock:
    """A clock that stands."""

    def __init__(self, at: float = 1_800_000_000.0) -> None:
        self.at = at

    def time(self) -> float:
        return self.at

    def boottime(self) -> float:
        return self.at


@dataclass
class Answered:
    """An answer."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


async def everybody(_: Mapping[str, str]) -> Principal:
    return EVERYBODY


def application(endpoints: Sequence[Endpoint], **more: Any) -> Asgi:
    """Return an application that lets everybody in."""
    given: dict[str, Any] = {
        "authenticate": everybody,
        "allowed_hosts": ["chronos.example"],
        "address": "127.0.0.1",
        "clock": StillClock(),
        "chance": SeededChance(random.Random(1)),
        "telemetry": Telemetry(),
    }
    return build(endpoints, **{**given, **more})


async def ask(
    app: Asgi,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    headers: dict[str, str] | None = None,
    raw_path: bytes | None = None,
    pieces: list[bytes] | None = None,
    breaks_off: bool = False,
) -> Answered:
    """Make one request. `headers` with an empty value leave the default one out.

    Args:
        breaks_off: Whether the client leaves before the body is whole.
    """
    given = {"host": "127.0.0.1:8080", **({"content-type": "application/json"} if method != "GET" else {})}
    given |= {name.lower(): value for name, value in (headers or {}).items()}
    path, _, query = path.partition("?")
    waiting = list(pieces) if pieces is not None else [body]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": raw_path or path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items() if value],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8080),
        "state": {},
    }
    answered = Answered()

    async def receive() -> dict[str, Any]:
        if not waiting:
            return {"type": "http.disconnect"}
        piece = waiting.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(waiting) or breaks_off}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answered.status = message["status"]
            answered.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            answered.body += message.get("body", b"")

    await app(scope, receive, send)
    return answered
