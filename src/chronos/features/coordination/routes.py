"""The routes under `/api/v1/coordination`."""

from __future__ import annotations

import re

from chronos.errors import Unprocessable
from chronos.features.coordination.model import (
    NAME_PATTERN,
    ClusterState,
    Lease,
    LeaseAsked,
    LeaseNamed,
    LeaseReturned,
    Node,
    NodeAsked,
    NodeGone,
)
from chronos.features.coordination.service import Coordination
from chronos.plugin import Call, Endpoint, Reply

_BASE = "/api/v1/coordination"
_LEASE = f"{_BASE}/resources/{{resource}}/lease"
_TAG = "coordination"
_NAME = re.compile(NAME_PATTERN)


class Desk:
    """Answers for the feature."""

    def __init__(self, coordination: Coordination) -> None:
        self._coordination = coordination

    async def state(self, call: Call) -> Reply:
        return Reply(self._coordination.state(call.namespace))

    async def register(self, call: Call) -> Reply:
        node = await self._coordination.register(call.namespace, _named(call, "node"), call.body, call.principal.id)
        return Reply(node)

    async def leave(self, call: Call) -> Reply:
        await self._coordination.leave(call.namespace, call.path["node"], call.principal.id)
        return Reply(NodeGone(node=call.path["node"]))

    async def ask(self, call: Call) -> Reply:
        resource = _named(call, "resource")
        return Reply(await self._coordination.ask(call.namespace, resource, call.body, call.principal.id))

    async def renew(self, call: Call) -> Reply:
        resource = call.path["resource"]
        return Reply(await self._coordination.renew(call.namespace, resource, call.body, call.principal.id))

    async def give_back(self, call: Call) -> Reply:
        resource = call.path["resource"]
        return Reply(await self._coordination.give_back(call.namespace, resource, call.body, call.principal.id))


def endpoints(desk: Desk) -> list[Endpoint]:
    """Return the feature's routes."""
    return [
        Endpoint(
            "GET",
            _BASE,
            desk.state,
            permission="coordination:read",
            summary="Who takes turns here, who has which resource, since when, and who waits.",
            answers=ClusterState,
            tag=_TAG,
            operation="get_coordination",
        ),
        Endpoint(
            "PUT",
            f"{_BASE}/nodes/{{node}}",
            desk.register,
            permission="coordination:lease",
            summary="Register a node, or change what is known of it.",
            body=NodeAsked,
            answers=Node,
            errors=(403, 422),
            tag=_TAG,
            operation="register_node",
        ),
        Endpoint(
            "DELETE",
            f"{_BASE}/nodes/{{node}}",
            desk.leave,
            permission="coordination:lease",
            summary="Forget a node; what it has is free.",
            answers=NodeGone,
            errors=(403, 404),
            tag=_TAG,
            operation="remove_node",
        ),
        *_lease_endpoints(desk),
    ]


def _lease_endpoints(desk: Desk) -> list[Endpoint]:
    return [
        Endpoint(
            "POST",
            _LEASE,
            desk.ask,
            permission="coordination:lease",
            summary="Ask for a resource: a lease with a fencing token, or a place in the line.",
            body=LeaseAsked,
            answers=Lease,
            errors=(403, 404, 422),
            tag=_TAG,
            operation="request_lease",
        ),
        Endpoint(
            "POST",
            f"{_LEASE}/renew",
            desk.renew,
            permission="coordination:lease",
            summary="Let a lease last from now on as long as it may.",
            body=LeaseNamed,
            answers=Lease,
            errors=(403, 404, 409, 422),
            tag=_TAG,
            operation="renew_lease",
        ),
        Endpoint(
            "POST",
            f"{_LEASE}/release",
            desk.give_back,
            permission="coordination:lease",
            summary="Give a resource back before its lease ends.",
            body=LeaseNamed,
            answers=LeaseReturned,
            errors=(403, 404, 409, 422),
            tag=_TAG,
            operation="release_lease",
        ),
    ]


def _named(call: Call, what: str) -> str:
    name = call.path[what]
    if not _NAME.fullmatch(name):
        raise Unprocessable(
            f"`{what}` is a name of letters, digits, `.`, `_`, `:` and `-` that begins with a letter or a digit, "
            "at most 100 characters.",
            field=what,
        )
    return name
