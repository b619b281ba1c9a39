"""A heartbeat: a server that is dead cannot say so, so one that schedules says that it does."""

from __future__ import annotations

from chronos.dispatch.router import Router
from chronos.features.heartbeat.model import Settings
from chronos.features.heartbeat.routes import heartbeat_endpoint
from chronos.features.heartbeat.service import Beating
from chronos.plugin import Host, Place
from chronos.scheduler.pulse import Pulse

__all__ = ["Settings", "install"]


def install(host: Host, settings: Settings) -> None:
    """Ping from the process that plans, the way deliveries go: guard, secrets, one deadline.

    Raises:
        ConfigInvalid: The settings cannot work.
    """
    settings.check()
    if host.place is not Place.MAIN:
        return
    beating = Beating(
        settings,
        pulse=lambda: host.require(Pulse),
        deliver=lambda: host.require(Router).deliver,
        clock=host.clock,
        telemetry=host.telemetry,
    )
    host.service(beating)
    host.endpoint(heartbeat_endpoint(beating))
