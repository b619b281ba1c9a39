"""A worker's part of the machine, and what main hands over for it: settings, keys, ports; never by argument or
environment, which others can read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence, Set
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import Struct

from chronos.dispatch.egress import EgressGuard
from chronos.dispatch.http.dispatcher import HttpDispatcher
from chronos.dispatch.right import RightToSend
from chronos.dispatch.router import Router
from chronos.dispatch.workers.serve import Tools
from chronos.errors import ConfigInvalid, Unavailable
from chronos.model.events import Event, EventType
from chronos.model.premises import Entrance, Premises
from chronos.plugin import Admit, Collection, Endpoint, Jobs, Place
from chronos.server import manifest
from chronos.server.exits import breakers_of, egress_of, hosts_of, http_of, wrap
from chronos.server.offers import Offers
from chronos.server.settings import Settings
from chronos.telemetry import Telemetry
from chronos.timing.clock import Chance, Clock, SystemChance

D = TypeVar("D", bound=Struct)

KEYS = ("credentials", "callbacks")
"""The keys that leave main: of what happens to a delivery on its way out."""


class Handover(Struct, frozen=True):
    """What a worker is given.

    Attributes:
        sections: The features' settings, by section, as plain data.
        features: Who is installed in main; a worker without one of them would deliver otherwise than main does.
        ports: Chronos' own, which no target may be on.
        share: How many workers there are.
    """

    settings: Settings
    sections: dict[str, Any]
    features: list[str]
    keys: dict[str, bytes]
    ports: list[int]
    on_loopback: bool
    is_insecure_allowed: bool
    public_url: str
    listener_url: str
    share: int


def handed(handover: bytes) -> Handover:
    """Return what main has handed over."""
    return msgspec.msgpack.decode(handover, type=Handover)


def plain(sections: dict[str, Any]) -> dict[str, Any]:
    """Return the features' settings as plain data."""
    return {name: msgspec.to_builtins(section) for name, section in sections.items()}


class _HandedPremises:
    """Implements `Premises` with what was handed over."""

    def __init__(self, given: Handover) -> None:
        self._given = given

    @property
    def listens_on_loopback(self) -> bool:
        return self._given.on_loopback

    @property
    def is_insecure_allowed(self) -> bool:
        return self._given.is_insecure_allowed

    def key(self, name: str) -> bytes:
        if name not in self._given.keys:
            raise ConfigInvalid(f"The key `{name}` stays in the main process; a worker has {', '.join(KEYS)}.")
        return self._given.keys[name]

    def keep_once(self, name: str, text: str) -> NoReturn:
        raise ConfigInvalid(f"The file `{name}` is kept by the main process; a worker has none.")


class _HandedEntrance:
    """Implements `Entrance` with what was handed over."""

    def __init__(self, given: Handover) -> None:
        self.public_url = given.public_url
        self.listener_url = given.listener_url


class _NoJobs:
    """The job service of a process that has none."""

    def __getattr__(self, name: str) -> NoReturn:
        raise Unavailable("Jobs are asked for in the main process; this is a worker (`host.place`).")


class WorkerHost(Offers):
    """Implements `plugin.Host` in a worker: takes what wraps and delivers.

    Routes, subscriptions, hooks on writes and services belong to other processes: they are taken there, and
    passed over here. Documents and jobs can be had in main only, and asking for them is refused.
    """

    place = Place.WORKER
    nobody = "Nobody offers {name} in a worker process (`host.place`)."

    def __init__(self, clock: Clock, chance: Chance, telemetry: Telemetry) -> None:
        super().__init__()
        self.clock = clock
        self.chance = chance
        self.telemetry = telemetry
        self.jobs: Jobs = _NoJobs()

    def collection(self, name: str, of: type[D]) -> Collection[D]:
        raise ConfigInvalid(f"The documents `{name}` are kept in the main process; this is a worker (`host.place`).")

    def endpoint(self, endpoint: Endpoint) -> None:
        """Served where requests come in."""

    def admit(self, hook: Admit) -> None:
        """Asked where jobs are written."""

    def permissions(self) -> frozenset[str]:
        return frozenset()

    def on(self, types: Set[EventType], handler: Callable[[Event], Awaitable[None]], **_: Any) -> None:
        """Called where the log is folded."""

    def watch(self, types: Set[EventType], listener: Callable[[Sequence[Event]], None], **_: Any) -> None:
        """Called where the log is folded."""

    def service(self, service: AbstractAsyncContextManager[Any]) -> None:
        """Runs in the main process."""


@asynccontextmanager
async def equip(
    handover: bytes, clock: Clock, telemetry: Telemetry, right: RightToSend | None = None
) -> AsyncIterator[Tools]:
    """Make what a worker delivers with; close it at the end.

    Raises:
        ConfigInvalid: A feature that wraps deliveries in main cannot do so here.
    """
    given = handed(handover)
    host = WorkerHost(clock, SystemChance(), telemetry)
    premises = _HandedPremises(given)
    host.provide(Premises, premises)  # type: ignore[type-abstract]  # capabilities are looked up by Protocol
    host.provide(Entrance, _HandedEntrance(given))  # type: ignore[type-abstract]  # a Protocol, too
    wrap(host, premises, given.settings)
    egress = egress_of(given.settings, on_loopback=given.on_loopback)
    guard = EgressGuard(egress, own_ports=given.ports, right=right)
    host.provide(EgressGuard, guard)
    _install(host, given)
    dispatchers = {"http": HttpDispatcher(guard, clock, http_of(given.settings, share=given.share)), **host.dispatchers}
    breakers = breakers_of(given.settings)
    router = Router(dispatchers, clock, around=host.arounds, breakers=breakers, settings=hosts_of(given.settings))
    async with router:
        yield Tools(router.deliver, router.tell_cancelled, breakers, router.begin, router.expect)


def _install(host: WorkerHost, given: Handover) -> None:
    types = manifest.sections()
    sections = {name: msgspec.convert(section, types[name]) for name, section in given.sections.items()}
    installed = manifest.install(host, given.settings, sections)
    missing = sorted(set(given.features) - set(installed))
    if missing:
        raise ConfigInvalid(
            f"The feature {missing[0]} cannot be installed in a worker process; the log says why. "
            "Set `dispatcher.workers: 0`, or leave it out of `features:`."
        )
