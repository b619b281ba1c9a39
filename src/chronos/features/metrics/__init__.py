"""Prometheus metrics: what the core emits and what executions come to, served at `/metrics`."""

from __future__ import annotations

from chronos.features.metrics.model import Settings
from chronos.features.metrics.routes import metrics_endpoint
from chronos.features.metrics.service import Exporter
from chronos.model.events import EventType
from chronos.plugin import Host, Place, Where


def install(host: Host, settings: Settings) -> None:
    """Collect in the main process, which counters of the others flow to, and answer there."""
    if not settings.prometheus.enabled or host.place is not Place.MAIN:
        return
    exporter = Exporter(settings.max_jobs)
    host.telemetry.add_sink(exporter)
    # Every node folds every event; counted on the leader alone, a sum over nodes is true.
    host.watch({EventType.EXECUTION_FINISHED, EventType.JOB_DELETED}, exporter.on_events, where=Where.LEADER)
    host.endpoint(metrics_endpoint(exporter, host, settings.prometheus))
