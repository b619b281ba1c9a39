"""The doors: everything a feature may do to Chronos, on one page.

A feature is a folder with an `install(host, settings)`. It walks through these doors and through no other;
third parties walk through the same ones (entry-point group `chronos.features`). The server and the core do
not know the features' names.

    def install(host: Host, settings: Settings) -> None:
        host.endpoint(Endpoint("GET", "/api/v1/things", list_things, permission="thing:read", …))
        host.on({EventType.EXECUTION_FINISHED}, tell, where=Where.LEADER)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence, Set
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct

from chronos.dispatch.port import AroundDispatch, Dispatcher
from chronos.model.callback import Heard, Standing
from chronos.model.events import Event, EventType
from chronos.model.execution import Execution, Kind
from chronos.model.job import Job, JobSpec
from chronos.model.principal import Principal
from chronos.telemetry import Telemetry
from chronos.timing.clock import Chance, Clock

T = TypeVar("T")
D = TypeVar("D", bound=Struct)


@dataclass(frozen=True)
class Call:
    """One request, decoded and authorised.

    Attributes:
        path: The path's parameters, as text.
        query: The endpoint's `query` struct, or None.
        body: The endpoint's `body` struct, or None.
        idempotency_key: As the client sent it, or None.
        if_match: The revision in `If-Match`, or None; -1 for `*`.
    """

    principal: Principal
    namespace: str
    path: dict[str, str]
    query: Any = None
    body: Any = None
    raw: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    if_match: int | None = None
    route: str = ""


@dataclass(frozen=True)
class Reply:
    """An answer. `value` is encoded as JSON; `text` is sent as it is.

    A `stream` is one of server-sent events, unless `content_type` says what else it is.
    """

    value: Any = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    text: bytes | None = None
    content_type: str = "application/json"
    stream: AsyncIterator[bytes] | None = None


PUBLIC = "public"
"""The permission of a route that needs no caller."""


@dataclass(frozen=True)
class Endpoint:
    """A route of the REST API. The permission is part of the declaration: there is no route without one.

    Attributes:
        path: Absolute, parameters in braces: `/api/v1/jobs/{job}`.
        permission: Like `job:read`; `public` for the few routes that need no caller.
        body: Struct the request's JSON is decoded into, strictly; None refuses a body other than `{}`.
        query: Struct the query string is decoded into, strictly.
        answers: Struct (or list of it) of the success answer, for the OpenAPI document.
        status: The success status.
        errors: Statuses, besides the usual ones, that the operation can answer.
        idempotent_key: Whether `Idempotency-Key` is honoured.
        needs_if_match: Whether `If-Match` is required (428 when missing, 412 when stale).
        links: OpenAPI links: answer field → (operation id, parameter).
        operation: The operation id; derived from the handler's name when empty.
        raw_body: Content type taken undecoded into `Call.raw`, instead of JSON.
        body_bytes_max: The largest body taken here, where that is less than elsewhere; 0 for what the server takes.
        also: Further permissions that the handler asks for, depending on what it is sent.
        of_node: It tells of this node, so it is answered without asking the others, also when there is no quorum.
        leader_only: In a cluster it is answered by the leader, where the feature's services run; others name it.
    """

    method: str
    path: str
    handler: Callable[[Call], Awaitable[Reply]]
    permission: str
    summary: str = ""
    body: Any = None
    query: type[Struct] | None = None
    answers: Any = None
    status: int = 200
    errors: tuple[int, ...] = ()
    idempotent_key: bool = False
    needs_if_match: bool = False
    content_type: str = "application/json"
    tag: str = ""
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    operation: str = ""
    raw_body: str = ""
    body_bytes_max: int = 0
    also: tuple[str, ...] = ()
    leader_only: bool = False
    of_node: bool = False


class Place(StrEnum):
    """Which process `install` runs in."""

    MAIN = "main"
    API = "api"
    WORKER = "worker"


class Where(StrEnum):
    """On which nodes a subscriber is called."""

    EVERY_NODE = "every_node"
    LEADER = "leader"


class Action(StrEnum):
    """What is about to be proposed, for `admit`."""

    CREATE_JOB = "create_job"
    UPDATE_JOB = "update_job"
    DELETE_JOB = "delete_job"
    TRIGGER_JOB = "trigger_job"


Admit = Callable[[Action, JobSpec, Principal], Awaitable[None]]
"""Lets a write through by returning; refuses it by raising `Denied` or `Unprocessable`."""


class Collection(Protocol, Generic[D]):
    """A feature's replicated documents, under its own prefix. Reads are local; writes go through the log."""

    async def get(self, key: str, *, namespace: str = "default") -> D | None: ...
    async def put(self, key: str, value: D, *, by: str, namespace: str = "default", expect: int = -1) -> int:
        """Write and return the new revision; `expect` 0 creates, -1 takes whatever is there.

        Raises:
            VersionConflict: The document is at another revision than `expect`.
        """
        ...

    async def delete(self, key: str, *, by: str, namespace: str = "default") -> bool:
        """Return whether there was such a document."""
        ...

    async def items(self, *, namespace: str | None = None) -> list[tuple[str, D]]:
        """Return every (key, document), by key; None means every namespace."""
        ...


class Jobs(Protocol):
    """The job service, as features may use it."""

    async def get(self, ref: str, *, namespace: str) -> Job: ...
    async def replace(
        self, ref: str, spec: JobSpec, *, namespace: str, revision: int, by: str, comment: str = ""
    ) -> Job: ...
    async def revisions(self, ref: str, *, namespace: str) -> list[tuple[Job, str]]: ...
    def all(self) -> Iterator[Job]:
        """Yield every job of every namespace. There may be a million: keep to what bounds how many are looked at."""
        ...

    def following(self) -> Iterator[Job]:
        """Yield every job that runs when others have run."""
        ...

    async def owe(self, job_id: str, kind: Kind, discriminator: str, *, by: str) -> Execution:
        """Owe one run of a job; the same discriminator is one run, however often it is asked for.

        Raises:
            JobNotFound: The job is gone.
        """
        ...

    async def hear(self, heard: Heard) -> Standing:
        """Take what a target reports of an attempt, and return how the execution stands.

        Raises:
            AttemptEnded: The attempt is over, and came to something else.
            ExecutionNotFound: Nothing is known of it any more.
        """
        ...


class Host(Protocol):
    """Chronos, as a feature sees it.

    Attributes:
        telemetry: Where a feature counts and measures; `gauge_from` registers who says a gauge's value.
    """

    place: Place
    clock: Clock
    chance: Chance
    telemetry: Telemetry
    jobs: Jobs

    def endpoint(self, endpoint: Endpoint) -> None:
        """Serve a route. Raises `ConfigInvalid` when the method and path are taken."""
        ...

    def permissions(self) -> frozenset[str]:
        """Return what routes ask of their callers. Ask when it is needed: other features declare theirs later."""
        ...

    def admit(self, hook: Admit) -> None:
        """Ask `hook` before every write of a job."""
        ...

    def on(
        self,
        types: Set[EventType],
        handler: Callable[[Event], Awaitable[None]],
        *,
        where: Where = Where.EVERY_NODE,
        durable: str = "",
        bound: int = 10_000,
        wants: Callable[[Event], bool] | None = None,
    ) -> None:
        """Call `handler` after commit, one event at a time, in order, from a bounded queue.

        With `durable` (a name for the cursor) the end of an execution and a skip are delivered at least once,
        across crashes: the cursor moves when the handler returns, and an event whose handler raised is tried again
        later. After a crash, or when the queue ran over, `EventType.GAP` comes first; of other events in it nothing
        more is told, so what was remembered of jobs has to be looked up again.
        Without it, events that find the queue full are dropped and counted.

        Args:
            wants: Says at once whether an event is of interest to a handler that has returned from all before it;
                what is not is passed over, and costs next to nothing.
        """
        ...

    def watch(
        self,
        types: Set[EventType],
        listener: Callable[[Sequence[Event]], None],
        *,
        where: Where = Where.EVERY_NODE,
    ) -> None:
        """Call `listener` on the loop with the events of each entry of the log, after commit, none left out.

        For counting: it must return at once, and must not raise.
        """
        ...

    def around_dispatch(self, around: AroundDispatch, *, order: int = 50) -> None:
        """Wrap every delivery; a lower `order` is further outside."""
        ...

    def dispatcher(self, kind: str, dispatcher: Dispatcher) -> None:
        """Deliver targets of type `kind`."""
        ...

    def service(self, service: AbstractAsyncContextManager[Any]) -> None:
        """Enter at start, leave at stop, in order and in reverse."""
        ...

    def collection(self, name: str, of: type[D]) -> Collection[D]:
        """Return the replicated documents called `name`."""
        ...

    def provide(self, protocol: type[T], implementation: T) -> None:
        """Offer a capability to other features."""
        ...

    def require(self, protocol: type[T]) -> T:
        """Return the capability; raises `ConfigInvalid` when no feature provides it."""
        ...
