"""History as a file: for whoever keeps it longer, reads it elsewhere, or verifies it without the server."""

from __future__ import annotations

from chronos.features.export.model import Settings
from chronos.features.export.routes import export_endpoints
from chronos.plugin import Host, Place
from chronos.store.exporting import Exporter


def install(host: Host, settings: Settings) -> None:
    """Serve the routes. They read what the core keeps, and keep nothing themselves."""
    if not settings.enabled or host.place is Place.WORKER:
        return
    for endpoint in export_endpoints(host.jobs, lambda: host.require(Exporter), settings.at_once):
        host.endpoint(endpoint)
