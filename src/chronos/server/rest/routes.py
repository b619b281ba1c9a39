"""Every route of the server itself. Those of the features come through the host."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import msgspec

from chronos.plugin import Call, Endpoint, Reply
from chronos.server.openapi import describe
from chronos.server.rest import page
from chronos.server.rest.backups import BackupHandlers
from chronos.server.rest.calendars import Calendars
from chronos.server.rest.core import Core
from chronos.server.rest.executions import Executions
from chronos.server.rest.health import HealthChecks
from chronos.server.rest.job_actions import JobActions
from chronos.server.rest.jobs import Jobs
from chronos.server.rest.members import Membership
from chronos.server.rest.operations import Operations
from chronos.server.rest.schedules import Schedules
from chronos.server.rest.statistics import Statistics
from chronos.server.rest.streams import Streams


def endpoints(core: Core, features: Sequence[Endpoint]) -> list[Endpoint]:
    """Return the server's own routes.

    Args:
        features: The routes that features have declared, for the API's description.
    """
    own = [
        *HealthChecks(core).endpoints(),
        *Jobs(core).endpoints(),
        *JobActions(core).endpoints(),
        *Executions(core).endpoints(),
        *Streams(core).endpoints(),
        *Schedules(core).endpoints(),
        *Calendars(core).endpoints(),
        *Operations(core).endpoints(),
        *Membership(core).endpoints(),
        *BackupHandlers(core).endpoints(),
        *Statistics(core).endpoints(),
        *page.endpoints(),
    ]
    return [*own, _description([*own, *features])]


def _description(described: list[Endpoint]) -> Endpoint:
    @cache
    def document() -> bytes:
        return msgspec.json.encode(describe([*described, endpoint]))

    async def serve(_: Call) -> Reply:
        return Reply(text=document())

    endpoint = Endpoint(
        "GET",
        "/openapi.json",
        serve,
        "self:read",
        "This description.",
        answers=dict,
        tag="server",
        operation="get_openapi",
    )
    return endpoint
