"""What can be set, what is kept, and what goes over the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct, field

from chronos.model.limits import DurationText

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$"
TTL_MIN_S, TTL_MAX_S = 1, 3_600
TOKEN_MAX = 2**53 - 1
"""The largest whole number that every reader of JSON keeps as it is."""

Name = Annotated[str, Meta(pattern=NAME_PATTERN, max_length=100)]
Request = Annotated[str, Meta(min_length=1, max_length=64)]
Token = Annotated[int, Meta(ge=1, le=TOKEN_MAX)]
Count = Annotated[int, Meta(ge=1, le=100_000)]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether machines can take turns here.

    Attributes:
        enabled: Whether the routes are there.
        nodes_max: How many nodes may be registered, 1 to 100,000.
        resources_max: How many resources may be known, 1 to 100,000.
    """

    enabled: bool = True
    nodes_max: Count = 1_000
    resources_max: Count = 1_000


class NodeRecord(Struct, frozen=True, kw_only=True):
    """A node as it is kept. `by`: the principal that it belongs to."""

    namespace: str
    by: str
    registered_at_us: int
    location: str = ""
    tags: list[str] = field(default_factory=list)


class Standing(Struct, frozen=True, kw_only=True):
    """How a resource stands, as it is kept. When a lease ends is not: after a start it lasts as long as it may.

    Attributes:
        token: The highest that was given out for it; 0 before the first.
        node: Who had it last.
        request: Which of the node's requests it was given for.
        is_free: It was given back.
    """

    namespace: str = "default"
    token: int = 0
    node: str = ""
    request: str = ""
    ttl_us: int = 0
    granted_at_us: int = 0
    is_free: bool = True


class NodeAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node that wants to take part.

    Attributes:
        location: Where it stands, for people.
        tags: What it is good for, for people.
    """

    location: Annotated[str, Meta(max_length=200)] = ""
    tags: Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(max_length=32)] = field(
        default_factory=list
    )


class Node(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node that takes part.

    Attributes:
        seen_at: When it last asked for anything; after a start of the server not before that.
    """

    node: str
    location: str
    tags: list[str]
    registered_at: datetime
    seen_at: datetime


class NodeGone(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The node that takes part no longer."""

    node: str


class LeaseAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node that wants the resource. Asked again until it is granted, it keeps its place in the line.

    Attributes:
        request: Drawn by the node for each of its turns: asked twice for the same one, the same lease is the answer.
        ttl: How long the lease lasts without being renewed, 1 s to 1 h.
        priority: Higher goes first; of the same, who has come first.
    """

    node: Name
    request: Request
    ttl: DurationText = "15s"
    priority: Annotated[int, Meta(ge=0, le=9)] = 5


class LeaseNamed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The lease that is meant."""

    node: Name
    token: Token


class Lease(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came of asking.

    Attributes:
        granted: Whether the node has the resource now.
        token: With a grant, the fencing token: higher than every one before it. Else 0.
        ends_in_ms: How long the lease lasts from now on: the one that was granted, or the one in the way.
        holder: The node that has the resource; empty when nobody has.
        place: The node's place in the line, from 1; 0 with a grant.
        ask_again_ms: After how long to ask again; 0 with a grant.
    """

    resource: str
    granted: bool
    token: int = 0
    ends_in_ms: int = 0
    holder: str = ""
    place: int = 0
    ask_again_ms: int = 0


class LeaseReturned(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The lease that was given back."""

    resource: str
    token: int


class Resource(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a resource stands.

    Attributes:
        token: The highest that was given out.
        holder: Who has it; empty when nobody has.
        since: Since when the holder has it; null when nobody has.
        waiting: Who waits for it, first in line first.
    """

    resource: str
    token: int
    holder: str = ""
    since: datetime | None = None
    ends_in_ms: int = 0
    waiting: list[str] = field(default_factory=list)


class ClusterState(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who takes part, and who has what, by name."""

    nodes: list[Node]
    resources: list[Resource]
