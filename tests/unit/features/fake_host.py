"""A `plugin.Host` in memory: what features are tested against."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence, Set
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from chronos.dispatch.port import AroundDispatch, Dispatcher
from chronos.errors import ChronosError, ConfigInvalid, JobNotFound, VersionConflict
from chronos.model.callback import Heard, Standing
from chronos.model.events import Event, EventType
from chronos.model.execution import Execution, Kind
from chronos.model.job import Job, JobSpec
from chronos.model.principal import Principal
from chronos.plugin import Admit, Call, Collection, Endpoint, Jobs, Place, Reply, Where
from chronos.telemetry import Telemetry
from chronos.testing import VirtualClock
from chronos.timing.clock import Chance, Clock, SeededChance

T = TypeVar("T")
D = TypeVar("D", bound=Struct)

EPOCH_S = 1_735_689_600  # 2025-01-01T00:00:00Z


def a_job(name: str = "nightly", *, job_id: str = "J1", revision: int = 1, **spec: Any) -> Job:
    """Return a stored job; `spec` are fields of its `JobSpec`."""
    given: dict[str, Any] = {"schedule": "0 2 * * *", "webhook": {"url": "http://127.0.0.1:9/hook"}, "name": name}
    whole = msgspec.convert(given | spec, JobSpec).normal()
    at = (EPOCH_S + revision) * 1_000_000
    return Job(id=job_id, spec=whole, revision=revision, created_at_us=EPOCH_S * 1_000_000, updated_at_us=at)


class FakeCollection:
    """Documents in a dict, with revisions. Encodes and decodes, so that what cannot be stored is found."""

    def __init__(self, of: type[Any]) -> None:
        self._encode = msgspec.msgpack.encode
        self._decoder = msgspec.msgpack.Decoder(of)
        self.documents: dict[tuple[str, str], tuple[bytes, int]] = {}
        self.writes = 0

    async def get(self, key: str, *, namespace: str = "default") -> Any:
        found = self.documents.get((namespace, key))
        return None if found is None else self._decoder.decode(found[0])

    async def put(self, key: str, value: Any, *, by: str, namespace: str = "default", expect: int = -1) -> int:
        assert by
        at = self.documents.get((namespace, key), (b"", 0))[1]
        if expect not in (-1, at):
            raise VersionConflict(f"{key} is at {at}")
        self.documents[namespace, key] = (self._encode(value), at + 1)
        self.writes += 1
        return at + 1

    async def delete(self, key: str, *, by: str, namespace: str = "default") -> bool:
        assert by
        self.writes += 1
        return self.documents.pop((namespace, key), None) is not None

    async def items(self, *, namespace: str | None = None) -> list[tuple[str, Any]]:
        return [
            (key, self._decoder.decode(raw))
            for (space, key), (raw, _) in sorted(self.documents.items())
            if namespace in (None, space)
        ]


class FakeJobs:
    """Jobs and their revisions, in a dict."""

    def __init__(self) -> None:
        self.history: dict[str, list[tuple[Job, str]]] = defaultdict(list)
        self.heard: list[Heard] = []

    def add(self, job: Job, comment: str = "") -> Job:
        self.history[job.id].append((job, comment))
        return job

    def remove(self, job_id: str) -> None:
        del self.history[job_id]

    def _find(self, ref: str, namespace: str) -> list[tuple[Job, str]]:
        for revisions in self.history.values():
            job = revisions[-1][0]
            if ref in (job.id, job.name) and job.namespace == namespace:
                return revisions
        raise JobNotFound(f"There is no job {ref!r} in namespace {namespace!r}.")

    async def get(self, ref: str, *, namespace: str) -> Job:
        return self._find(ref, namespace)[-1][0]

    async def replace(
        self, ref: str, spec: JobSpec, *, namespace: str, revision: int, by: str, comment: str = ""
    ) -> Job:
        revisions = self._find(ref, namespace)
        now = revisions[-1][0]
        if revision not in (-1, now.revision):
            raise VersionConflict(f"The job is at version {now.revision}.")
        changed = replace(
            now, spec=spec, revision=now.revision + 1, updated_by=by, updated_at_us=now.updated_at_us + 1_000_000
        )
        revisions.append((changed, comment))
        return changed

    async def revisions(self, ref: str, *, namespace: str) -> list[tuple[Job, str]]:
        return list(self._find(ref, namespace))

    def all(self) -> Iterator[Job]:
        return (revisions[-1][0] for revisions in self.history.values())

    def following(self) -> Iterator[Job]:
        return (job for job in self.all() if job.spec.dependencies is not None)

    async def owe(self, job_id: str, kind: Kind, discriminator: str, *, by: str) -> Execution:
        raise NotImplementedError

    async def hear(self, heard: Heard) -> Standing:
        self.heard.append(heard)
        return Standing(execution_id=heard.execution_id, status="running")


@dataclass
class Subscription:
    types: Set[EventType]
    handler: Callable[[Event], Awaitable[None]]
    where: Where
    durable: str
    bound: int
    cursor: int = 0
    wants: Callable[[Event], bool] | None = None


@dataclass
class Watching:
    types: Set[EventType]
    listener: Callable[[Sequence[Event]], None]
    where: Where


class FakeHost:
    """Everything a feature asks for, kept where a test can look at it."""

    def __init__(self, place: Place = Place.MAIN, *, clock: VirtualClock | None = None) -> None:
        self.place = place
        self.virtual = clock or VirtualClock()
        self.clock: Clock = self.virtual
        self.chance: Chance = SeededChance(random.Random(7))
        self.telemetry = Telemetry()
        self.job_service = FakeJobs()
        self.jobs: Jobs = self.job_service
        self.endpoints: dict[tuple[str, str], Endpoint] = {}
        self.admits: list[Admit] = []
        self.subscriptions: list[Subscription] = []
        self.watchers: list[Watching] = []
        self.services: list[AbstractAsyncContextManager[Any]] = []
        self.collections: dict[str, FakeCollection] = {}
        self.capabilities: dict[type[Any], Any] = {}
        self.log: list[Event] = []
        self._stack = AsyncExitStack()

    def endpoint(self, endpoint: Endpoint) -> None:
        route = (endpoint.method, endpoint.path)
        if route in self.endpoints:
            raise ConfigInvalid(f"{route} is taken")
        self.endpoints[route] = endpoint

    def permissions(self) -> frozenset[str]:
        return frozenset(endpoint.permission for endpoint in self.endpoints.values())

    def admit(self, hook: Admit) -> None:
        self.admits.append(hook)

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
        self.subscriptions.append(Subscription(types, handler, where, durable, bound, wants=wants))

    def watch(
        self,
        types: Set[EventType],
        listener: Callable[[Sequence[Event]], None],
        *,
        where: Where = Where.EVERY_NODE,
    ) -> None:
        self.watchers.append(Watching(types, listener, where))

    def around_dispatch(self, around: AroundDispatch, *, order: int = 50) -> None:
        raise NotImplementedError

    def dispatcher(self, kind: str, dispatcher: Dispatcher) -> None:
        raise NotImplementedError

    def service(self, service: AbstractAsyncContextManager[Any]) -> None:
        self.services.append(service)

    def collection(self, name: str, of: type[D]) -> Collection[D]:
        return self.collections.setdefault(name, FakeCollection(of))

    def provide(self, protocol: type[T], implementation: T) -> None:
        self.capabilities[protocol] = implementation

    def require(self, protocol: type[T]) -> T:
        if protocol not in self.capabilities:
            raise ConfigInvalid(f"no feature provides {protocol.__name__}")
        found: T = self.capabilities[protocol]
        return found

    # What a test does with it.

    async def __aenter__(self) -> FakeHost:
        for service in self.services:
            await self._stack.enter_async_context(service)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def emit(self, kind: EventType, **facts: Any) -> Event:
        """Make something true and tell everybody. What a durable handler raises is swallowed: it is asked again."""
        index = facts.pop("index", len(self.log) + 1)
        time_us = facts.pop("time_us", round(self.clock.time() * 1_000_000))
        event = Event(type=kind, index=index, seq=0, time_us=time_us, **facts)
        self.log.append(event)
        for watching in self.watchers:
            if kind in watching.types:
                watching.listener([event])
        for subscription in self.subscriptions:
            if subscription.durable:
                await self._catch_up(subscription)
            elif kind in subscription.types:
                await subscription.handler(event)
        return event

    async def redeliver(self, durable: str, *, back: int = 1) -> None:
        """Deliver the last `back` events of the log again, as after a crash before the cursor moved."""
        for subscription in self.subscriptions:
            if subscription.durable == durable:
                subscription.cursor = max(0, len(self.log) - back)
                await self._catch_up(subscription)

    async def _catch_up(self, subscription: Subscription) -> None:
        while subscription.cursor < len(self.log):
            event = self.log[subscription.cursor]
            if event.type in subscription.types:
                try:
                    await subscription.handler(event)
                except ChronosError:
                    return
            subscription.cursor += 1

    async def call(
        self,
        method: str,
        path: str,
        *,
        path_values: dict[str, str] | None = None,
        query: Any = None,
        body: Any = None,
        if_match: int | None = None,
        namespace: str = "default",
    ) -> Reply:
        """Ask an endpoint as somebody who may do everything."""
        endpoint = self.endpoints[method, path]
        if query is None and endpoint.query is not None:
            query = endpoint.query()
        principal = Principal(id="key:ada", name="ada", permissions=frozenset({"*"}))
        return await endpoint.handler(
            Call(principal, namespace, path_values or {}, query=query, body=body, if_match=if_match)
        )
