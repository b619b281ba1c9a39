"""The application of an API process: its own routes behind a gate of its own, and main behind all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import msgspec

from chronos.errors import ChronosError, FormatUnreadable, LogFailed, StateDamaged
from chronos.model.principal import ANONYMOUS, Principal
from chronos.plugin import PUBLIC, Endpoint, Reply
from chronos.server.answering import call_of, send_reply
from chronos.server.gate import SECURITY_HEADERS, Gate, Receive, Scope, Send, host_of
from chronos.server.patience import answered
from chronos.server.problems import CONTENT_TYPE, describe
from chronos.server.processes.forwarding import Ways
from chronos.server.processes.link import Link
from chronos.server.processes.messages import Brief, Who
from chronos.server.processes.reads import asking
from chronos.server.routing import Routes
from chronos.store.following import Behind
from chronos.telemetry import Telemetry
from chronos.timing.clock import Chance, Clock

NOT_HERE = (Behind, FormatUnreadable, LogFailed, StateDamaged)
"""What the files cannot tell, main is asked."""


class Edge:
    """An ASGI application.

    Args:
        own: The endpoints that this process answers by itself.
    """

    def __init__(
        self,
        ways: Ways,
        link: Link,
        brief: Brief,
        own: Sequence[Endpoint],
        *,
        clock: Clock,
        chance: Chance,
        telemetry: Telemetry,
    ) -> None:
        self._ways = ways
        self._link = link
        self._body_bytes_max = brief.http.max_body_bytes
        by_route = {(endpoint.method, endpoint.path): endpoint for endpoint in own}
        self._own = {route: endpoint for route, endpoint in by_route.items() if route in set(brief.routes)}
        # All routes are known here, so that no pattern of ours takes an address that is main's.
        self._routes = Routes([self._own.get(route) or _elsewhere(*route) for route in brief.routes])
        self._gate = Gate(
            self._answer,
            authenticate=self._recognise,
            is_public=self._routes.is_public,
            allowed_methods=self._routes.methods,
            content_type=self._routes.content_type,
            hosts=frozenset(name.lower() for name in (*brief.hosts, host_of(brief.address)) if name),
            clock=clock,
            chance=chance,
            telemetry=telemetry,
            is_draining=lambda: link.is_draining,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "the listener speaks nothing else"
        try:
            if self._is_ours(scope):
                await self._gate(scope, receive, send)
            else:
                await self._ways.forward(scope, receive, send)
        except ChronosError as exc:
            await _refuse(exc, send)

    def _is_ours(self, scope: Scope) -> bool:
        """Whether the route is one that is answered here."""
        endpoint, _ = self._routes.endpoint(scope["method"], scope["path"])
        return endpoint is not None and (endpoint.method, endpoint.path) in self._own

    async def _recognise(self, headers: Mapping[str, str]) -> Principal:
        """Return who asks, as main says it; raise what main has raised."""
        who = await self._link.who(list(headers.items()))
        asking.set(who)
        if who.refusal is not None and who.refusal[0] in _kinds():
            slug, message, facts = who.refusal
            raise _kinds()[slug](message, **facts)
        return who.principal or ANONYMOUS

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that has passed the gate."""
        endpoint, path = self._routes.endpoint(scope["method"], scope["path"])
        assert endpoint is not None, "the gate has looked"
        scope["chronos.route"] = endpoint.path
        if endpoint.permission != PUBLIC and not _is_told_here(asking.get()):
            await self._pass_on(scope, receive, send)
            return
        call = await call_of(endpoint, path, scope, receive, self._body_bytes_max)
        try:
            reply = await answered(endpoint, call)
        except NOT_HERE:
            await self._pass_on(scope, receive, send, body=call.raw)
        else:
            index = 0 if endpoint.permission == PUBLIC else asking.get().applied
            await send_reply(endpoint, reply, receive, send, index=index)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, *, body: bytes | None = None) -> None:
        scope["chronos.counted"] = True  # by main
        await self._ways.forward(scope, receive, send, body=body)


def _elsewhere(method: str, path: str) -> Endpoint:
    async def unreachable(_: object) -> Reply:
        raise AssertionError("main answers this route")

    return Endpoint(method, path, unreachable, permission="elsewhere")


def _is_told_here(who: Who) -> bool:
    """Whether main has said who asks, and the files can be read. An error that is not known here is main's to tell."""
    return who.readable and who.principal is not None


@cache
def _kinds() -> dict[str, type[ChronosError]]:
    """Return the errors that are known here, by their slugs."""
    kinds: list[type[ChronosError]] = [ChronosError]
    for kind in kinds:  # grows while it is walked
        kinds.extend(kind.__subclasses__())
    return {kind.slug: kind for kind in kinds}


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
