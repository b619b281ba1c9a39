"""Coordination: machines take turns at a resource, through leases that end by themselves."""

from __future__ import annotations

from dataclasses import replace

from chronos.features.coordination.model import NodeRecord, Settings, Standing
from chronos.features.coordination.routes import Desk, endpoints
from chronos.features.coordination.service import Coordination
from chronos.plugin import Host, Place

__all__ = ["Settings", "install"]


def install(host: Host, settings: Settings) -> None:
    """Serve the routes from the one process that decides; whoever asks another is passed on to it."""
    if not settings.enabled or host.place is not Place.MAIN:
        return
    coordination = Coordination(
        settings,
        host.collection("coordination-resources", Standing),
        host.collection("coordination-nodes", NodeRecord),
        host.clock,
    )
    host.service(coordination)
    for endpoint in endpoints(Desk(coordination)):
        host.endpoint(replace(endpoint, leader_only=True))
