"""The routes without the machine behind them: for describing the API, never for answering."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Any, cast

from chronos.model.events import Event, EventType
from chronos.model.premises import Entrance, Premises
from chronos.server import manifest
from chronos.server.decoding import convert
from chronos.server.host import ServerHost
from chronos.server.openapi import describe
from chronos.server.rest import routes
from chronos.server.rest.core import Core
from chronos.server.settings import Settings
from chronos.telemetry import Telemetry
from chronos.timing.clock import SystemChance, SystemClock


def outline() -> dict[str, Any]:
    """Return the API's description, with every built-in feature at its defaults."""
    host = ServerHost(
        cast("Any", _Silence()), cast("Any", None), clock=SystemClock(), chance=SystemChance(), telemetry=Telemetry()
    )
    host.provide(Entrance, _Entrance())  # type: ignore[type-abstract]
    host.provide(Premises, _Premises())  # type: ignore[type-abstract]
    given = {section: convert({}, of) for section, of in manifest.sections().items()}
    manifest.install(host, Settings(), given)
    core = Core(**dict.fromkeys(Core.__dataclass_fields__, cast("Any", None)))
    return describe([*host.endpoints, *routes.endpoints(core, host.endpoints)])


class _Silence:
    """A log in which nothing happens."""

    def subscribe(self, listener: Callable[[Sequence[Event]], None], *, of: Set[EventType] = frozenset()) -> None: ...


class _Entrance:
    """An address of nobody's."""

    public_url = listener_url = "http://127.0.0.1"


class _Premises:
    """A house without a door."""

    listens_on_loopback = True
    is_insecure_allowed = False

    def key(self, name: str) -> bytes:
        return bytes(32)

    def keep_once(self, name: str, text: str) -> str:
        return text
