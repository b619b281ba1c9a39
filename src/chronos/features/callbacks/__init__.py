"""Long jobs: a target answers 202, and reports progress and result later at an address that only it has."""

from __future__ import annotations

from chronos.dispatch.port import Around
from chronos.features.callbacks.model import Settings
from chronos.features.callbacks.routes import callback_endpoint
from chronos.features.callbacks.service import Callbacks, refuse_all
from chronos.model.premises import Entrance, Premises
from chronos.plugin import Host, Place

CALLBACK_ORDER = 80
"""Inside of what resolves references: where the target is decides whether it can reach us."""


def install(host: Host, settings: Settings) -> None:
    """Give every such attempt its address, and take what comes back there."""
    if not settings.enabled:
        host.admit(refuse_all)
        return
    premises = host.require(Premises)  # type: ignore[type-abstract]  # capabilities are looked up by Protocol
    entrance = host.require(Entrance)  # type: ignore[type-abstract]
    callbacks = Callbacks(premises.key("callbacks"), entrance, host.clock)
    host.around_dispatch(Around(callbacks.around, callbacks.concerns, by_target=True), order=CALLBACK_ORDER)
    if host.place is not Place.WORKER:
        host.admit(callbacks.admit)
        host.endpoint(callback_endpoint(callbacks, host.jobs, host.telemetry))
