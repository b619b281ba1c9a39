"""`GET /api/v1/heartbeat`."""

from __future__ import annotations

from chronos.features.heartbeat.model import Heartbeat
from chronos.features.heartbeat.service import Beating
from chronos.plugin import Call, Endpoint, Reply


def heartbeat_endpoint(beating: Beating) -> Endpoint:
    """Return the route."""

    async def get_heartbeat(_: Call) -> Reply:
        return Reply(beating.status())

    return Endpoint(
        "GET",
        "/api/v1/heartbeat",
        get_heartbeat,
        permission="cluster:read",
        summary="Say whether planning goes on, and whether somebody outside knows it.",
        answers=Heartbeat,
        tag="server",
        operation="get_heartbeat",
    )
