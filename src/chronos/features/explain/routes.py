"""`GET /api/v1/jobs/{job}/explain`."""

from __future__ import annotations

from chronos.features.explain.model import ExplainQuery, Explanation
from chronos.features.explain.service import Explainer
from chronos.plugin import Call, Endpoint, Reply


def explain_endpoint(explainer: Explainer) -> Endpoint:
    """Return the route."""

    async def explain_job(call: Call) -> Reply:
        query: ExplainQuery = call.query
        return Reply(await explainer.explain(call.path["job"], call.namespace, query.at))

    return Endpoint(
        "GET",
        "/api/v1/jobs/{job}/explain",
        explain_job,
        permission="execution:read",
        summary="Say why a job ran at an instant, or why it did not; also of a deleted job, and of the future.",
        query=ExplainQuery,
        answers=Explanation,
        errors=(404,),
        tag="executions",
        operation="explain_job",
    )
