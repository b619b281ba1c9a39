"""Where Prometheus comes to read."""

from __future__ import annotations

import asyncio

from chronos.features.metrics.model import Prometheus
from chronos.features.metrics.service import Exporter
from chronos.plugin import Call, Endpoint, Host, Reply
from chronos.scheduler.successes import Successes

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_endpoint(exporter: Exporter, host: Host, settings: Prometheus) -> Endpoint:
    """Return the route that serves `exporter`'s page, with the gauges as they are when it is read."""

    async def read_metrics(_: Call) -> Reply:
        host.telemetry.sample()
        await exporter.ages.look(host.require(Successes), int(host.clock.time() * 1_000_000))
        # A page of a thousand jobs takes a tenth of a second: too long for the loop that fires them.
        page = await asyncio.to_thread(exporter.page)
        return Reply(text=page, content_type=CONTENT_TYPE)

    return Endpoint(
        "GET",
        settings.path,
        read_metrics,
        permission="public" if settings.public else "metrics:read",
        summary="Metrics in Prometheus' text format.",
        content_type=CONTENT_TYPE,
        tag="metrics",
        operation="read_metrics",
        of_node=True,
    )
