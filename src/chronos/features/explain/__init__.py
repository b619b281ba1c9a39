"""Why did my job run, or why did it not: the answer to that, for any instant, from what is written down."""

from __future__ import annotations

from chronos.features.explain.model import Settings
from chronos.features.explain.routes import explain_endpoint
from chronos.features.explain.service import Explainer
from chronos.plugin import Host, Place
from chronos.scheduler.evidence import Evidence


def install(host: Host, settings: Settings) -> None:
    """Serve the route. It reads what the core keeps, and keeps nothing itself."""
    if not settings.enabled or host.place is Place.WORKER:
        return
    host.endpoint(explain_endpoint(Explainer(host.jobs, lambda: host.require(Evidence))))
