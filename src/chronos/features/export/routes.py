"""`GET /api/v1/export` and `GET /api/v1/executions/export`."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from typing import Any

from chronos.errors import Overloaded, Unprocessable
from chronos.features.export.model import ExecutionsExportQuery, ExportQuery
from chronos.plugin import Call, Endpoint, Jobs, Reply
from chronos.store.exporting import Exporter, Wanted

NDJSON = "application/x-ndjson"


def export_endpoints(jobs: Jobs, exporter: Callable[[], Exporter], at_once: int) -> list[Endpoint]:
    """Return the routes."""
    under_way: set[object] = set()

    async def everything(call: Call) -> Reply:
        return answer(call, Wanted(**_span(call.query)))

    async def executions(call: Call) -> Reply:
        query: ExecutionsExportQuery = call.query
        job_id = (await jobs.get(query.job, namespace=call.namespace)).id if query.job else ""
        return answer(call, Wanted(namespace=call.namespace, job_id=job_id, proof=query.proof, **_span(query)))

    def answer(call: Call, wanted: Wanted) -> Reply:
        if len(under_way) >= at_once:
            raise Overloaded("Other exports are being written; try again when they are done.", retry_after=30)
        pieces = exporter().begin(wanted, call.query.cursor or "")
        return Reply(stream=_counted(pieces, under_way), content_type=NDJSON)

    return [
        Endpoint(
            "GET",
            "/api/v1/export",
            everything,
            permission="history:export",
            summary="Write all there is of all namespaces, with all that verifying it needs, as NDJSON.",
            query=ExportQuery,
            content_type=NDJSON,
            errors=(422, 503),
            tag="history",
            operation="export_history",
        ),
        Endpoint(
            "GET",
            "/api/v1/executions/export",
            executions,
            permission="execution:read",
            summary="Write the executions of a namespace that have ended, and those that have not, as NDJSON.",
            query=ExecutionsExportQuery,
            content_type=NDJSON,
            errors=(404, 422, 503),
            tag="executions",
            operation="export_executions",
        ),
    ]


def _span(query: ExportQuery) -> dict[str, Any]:
    if query.since and query.until and query.since >= query.until:
        raise Unprocessable("`until` has to lie after `since`.", field="until")
    span = {}
    if query.since:
        span["since_s"] = max(0, math.ceil(query.since.timestamp()))
    if query.until:
        span["until_s"] = max(0, math.ceil(query.until.timestamp()) - 1)
    return span


async def _counted(pieces: AsyncIterator[bytes], under_way: set[object]) -> AsyncIterator[bytes]:
    """Yield the pieces; while somebody takes them, one export is under way."""
    token = object()
    under_way.add(token)
    try:
        async for piece in pieces:
            yield piece
    finally:
        under_way.discard(token)
