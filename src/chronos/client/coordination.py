"""Turns at a resource: the operations of the coordinator, and their answers as far as a node needs them."""

from __future__ import annotations

from msgspec import Struct

from chronos.client.operation import Operation, json_of, path_of

_LEASE = "lease"


class LeaseAnswer(Struct, frozen=True, kw_only=True):
    """What came of asking: a token, or after how long to ask again."""

    granted: bool
    token: int = 0
    ends_in_ms: int = 0
    holder: str = ""
    place: int = 0
    ask_again_ms: int = 0


class NodeAnswer(Struct, frozen=True, kw_only=True):
    """The node that was meant."""

    node: str


class ReturnedAnswer(Struct, frozen=True, kw_only=True):
    """The lease that was given back."""

    token: int


def register_node(node: str) -> Operation[NodeAnswer]:
    return Operation("PUT", path_of("coordination", "nodes", node), NodeAnswer, body=b"{}")


def remove_node(node: str) -> Operation[NodeAnswer]:
    return Operation("DELETE", path_of("coordination", "nodes", node), NodeAnswer)


def request_lease(resource: str, node: str, request: str, *, ttl: str) -> Operation[LeaseAnswer]:
    body = json_of({"node": node, "request": request, "ttl": ttl})
    return Operation("POST", _path(resource), LeaseAnswer, body=body)


def renew_lease(resource: str, node: str, token: int) -> Operation[LeaseAnswer]:
    return Operation("POST", _path(resource, "renew"), LeaseAnswer, body=json_of({"node": node, "token": token}))


def release_lease(resource: str, node: str, token: int) -> Operation[ReturnedAnswer]:
    return Operation("POST", _path(resource, "release"), ReturnedAnswer, body=json_of({"node": node, "token": token}))


def _path(resource: str, *rest: str) -> str:
    return path_of("coordination", "resources", resource, _LEASE, *rest)
