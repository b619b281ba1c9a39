"""Chronos, as a feature sees it: what comes through the doors of `plugin.py` is collected here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence, Set
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from msgspec import Struct

from chronos.errors import ConfigInvalid, NotLeader, Unavailable
from chronos.model.callback import Heard, Standing
from chronos.model.events import Event, EventType
from chronos.model.job import Job, JobSpec
from chronos.model.principal import Principal
from chronos.plugin import PUBLIC, Action, Admit, Call, Collection, Endpoint, Jobs, Place, Reply, Where
from chronos.server.collections import Documents
from chronos.server.offers import Offers
from chronos.server.subscribers import Subscriber, Subscribers
from chronos.store.truncation import Hold
from chronos.telemetry import Telemetry
from chronos.timing.clock import Chance, Clock

if TYPE_CHECKING:
    from chronos.scheduler.jobs import JobService
    from chronos.store.commandlog import CommandLog
    from chronos.store.queries import Queries

D = TypeVar("D", bound=Struct)


class HostJobs:
    """The job service, for features that are installed before it is there."""

    def __init__(self) -> None:
        self._service: JobService | None = None

    def bind(self, service: JobService) -> None:
        """From now on, ask `service`."""
        self._service = service

    @property
    def _bound(self) -> JobService:
        if self._service is None:
            raise Unavailable("The server is still starting.")
        return self._service

    async def get(self, ref: str, *, namespace: str) -> Job:
        return await self._bound.get(ref, namespace=namespace)

    async def replace(
        self, ref: str, spec: JobSpec, *, namespace: str, revision: int, by: str, comment: str = ""
    ) -> Job:
        changed = await self._bound.replace(ref, spec, namespace=namespace, revision=revision, by=by, comment=comment)
        return changed.job

    async def revisions(self, ref: str, *, namespace: str) -> list[tuple[Job, str]]:
        return await self._bound.revisions(ref, namespace=namespace)

    async def hear(self, heard: Heard) -> Standing:
        return await self._bound.hear(heard)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bound, name)


class ServerHost(Offers):
    """Implements `plugin.Host`. Entered when the machine runs: starts the features' services, then their events.

    Attributes:
        endpoints: Every route declared, in order.
    """

    place = Place.MAIN
    nobody = "No feature offers {name}; name one that does in `features:`."

    def __init__(
        self, log: CommandLog, queries: Queries, *, clock: Clock, chance: Chance, telemetry: Telemetry
    ) -> None:
        super().__init__()
        self.clock = clock
        self.chance = chance
        self.telemetry = telemetry
        self.endpoints: list[Endpoint] = []
        self._log = log
        self._jobs = HostJobs()
        self.jobs: Jobs = self._jobs
        self._documents = Documents(log, queries)
        self._subscribers = Subscribers(log, queries, self._documents.of("cursors"), clock, telemetry)
        self._routes: set[tuple[str, str]] = set()
        self._admits: list[Admit] = []
        self._services: list[AbstractAsyncContextManager[Any]] = []
        self._running = AsyncExitStack()
        self._leads: Callable[[], bool] | None = None
        self._leader: Callable[[], str] = str

    def bind(self, jobs: JobService) -> None:
        """Let `jobs` answer from now on."""
        self._jobs.bind(jobs)

    def serve_while(self, leads: Callable[[], bool], leader: Callable[[], str]) -> None:
        """In a cluster: services and subscribers run where `leads` says so, and the host is entered there."""
        self._leads, self._leader = leads, leader
        self._subscribers.sleep()

    def holds(self) -> list[Hold]:
        """Return what features have not handled yet, for whoever truncates the log."""
        return [Hold(one.durable, partial(getattr, one, "needs")) for one in self._subscribers.durable]

    def endpoint(self, endpoint: Endpoint) -> None:
        key = (endpoint.method, endpoint.path)
        if key in self._routes:
            raise ConfigInvalid(f"The route {endpoint.method} {endpoint.path} is declared twice.")
        if not endpoint.permission:
            raise ConfigInvalid(f"The route {endpoint.method} {endpoint.path} has no permission.")
        self._routes.add(key)
        if endpoint.leader_only and self._leads is not None:
            endpoint = replace(endpoint, handler=self._at_leader(endpoint.handler, self._leads))
        self.endpoints.append(endpoint)

    def _at_leader(
        self, handler: Callable[[Call], Awaitable[Reply]], leads: Callable[[], bool]
    ) -> Callable[[Call], Awaitable[Reply]]:
        async def answer(call: Call) -> Reply:
            if not leads():
                leader = self._leader()
                where = f"node {leader} does" if leader else "nobody does at the moment"
                raise NotLeader(f"Only the leader answers this, and {where}; ask there.", leader=leader)
            return await handler(call)

        return answer

    def permissions(self) -> frozenset[str]:
        asked = (one for endpoint in self.endpoints for one in (endpoint.permission, *endpoint.also))
        return frozenset(one for one in asked if one != PUBLIC)

    def admit(self, hook: Admit) -> None:
        self._admits.append(hook)

    async def ask(self, action: Action, spec: JobSpec, principal: Principal) -> None:
        """Ask every `admit` hook, in order; the first refusal is raised."""
        for hook in self._admits:
            await hook(action, spec, principal)

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
        # One node is every node and the leader.
        self._subscribers.add(Subscriber(frozenset(types), handler, durable=durable, bound=bound, wants=wants))

    def watch(
        self,
        types: Set[EventType],
        listener: Callable[[Sequence[Event]], None],
        *,
        where: Where = Where.EVERY_NODE,
    ) -> None:
        def on_events(events: Sequence[Event]) -> None:
            if where is Where.EVERY_NODE or self._leads is None or self._leads():
                listener(events)

        self._log.subscribe(on_events, of=types)

    def service(self, service: AbstractAsyncContextManager[Any]) -> None:
        self._services.append(service)

    def collection(self, name: str, of: type[D]) -> Collection[D]:
        return self._documents.typed(name, of)

    def names(self) -> Sequence[str]:
        """Return the routes, for the log."""
        return [f"{method} {path}" for method, path in sorted(self._routes)]

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as starting:
            for service in self._services:
                await starting.enter_async_context(service)
            await starting.enter_async_context(self._subscribers)
            self._running = starting.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._leads is not None and not self._leads():
            self._subscribers.sleep()  # what they have not handled is the next leader's
        await self._running.aclose()
        if self._leads is not None:
            self._subscribers.sleep()
