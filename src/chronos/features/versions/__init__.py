"""Every version of a job: list them, compare two, go back to one."""

from __future__ import annotations

from chronos.features.versions.model import Settings
from chronos.features.versions.routes import Desk, endpoints
from chronos.features.versions.service import Versions
from chronos.plugin import Host, Place


def install(host: Host, settings: Settings) -> None:
    """Serve the routes; the revisions themselves are kept by the core."""
    if not settings.enabled or host.place is Place.WORKER:
        return
    for endpoint in endpoints(Desk(Versions(host.jobs))):
        host.endpoint(endpoint)
