"""The routes that an API process answers by itself, with the handlers that main has for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, cast

from chronos.plugin import Call, Endpoint, Reply
from chronos.server.processes.link import Link
from chronos.server.processes.look import Look, Plans
from chronos.server.processes.messages import Who
from chronos.server.rest import page
from chronos.server.rest.calendars import Calendars
from chronos.server.rest.core import Core
from chronos.server.rest.executions import Executions
from chronos.server.rest.health import HealthChecks
from chronos.server.rest.jobs import Jobs
from chronos.server.rest.schedules import Schedules
from chronos.server.rest.streams import Streams
from chronos.store.following import Following
from chronos.timing.clock import Clock

Handler = Callable[[Call], Awaitable[Reply]]

asking: ContextVar[Who] = ContextVar("asking")
"""Who asks what is being answered, and what an answer has to be as new as."""

_HANDLERS: dict[str, Callable[[Core], Handler]] = {
    "list_jobs": lambda core: Jobs(core).search,
    "get_job": lambda core: Jobs(core).get,
    "list_executions": lambda core: Executions(core).search,
    "list_job_executions": lambda core: Executions(core).search,
    "get_execution": lambda core: Executions(core).get,
    "get_job_execution": lambda core: Executions(core).get,
    "list_calendars": lambda core: Calendars(core).search,
    "get_calendar": lambda core: Calendars(core).get,
    "validate_schedule": lambda core: Schedules(core).validate,
    "preview_schedule": lambda core: Schedules(core).preview,
    "watch_executions": lambda core: Streams(core).stream,
    "whoami": lambda core: HealthChecks(core).whoami,
}


class Reads:
    """Makes the endpoints."""

    def __init__(self, files: Following, link: Link, clock: Clock, cursors: bytes) -> None:
        self._files = files
        self._link = link
        self._clock = clock
        self._cursors = cursors
        self._plans = Plans(files)
        nothing: dict[str, Any] = dict.fromkeys(Core.__dataclass_fields__)
        self._base = replace(Core(**nothing), live=cast("Any", link.live))

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints, those of the page among them."""
        core = self._base
        declared = [
            *Jobs(core).endpoints(),
            *Executions(core).endpoints(),
            *Calendars(core).endpoints(),
            *Schedules(core).endpoints(),
            *Streams(core).endpoints(),
            *HealthChecks(core).endpoints(),
        ]
        own = [
            replace(endpoint, handler=self._handler(_HANDLERS[endpoint.operation]))
            for endpoint in declared
            if endpoint.operation in _HANDLERS
        ]
        assert len(own) == len(_HANDLERS), "every route is declared once"
        return [*own, *page.endpoints()]

    def _handler(self, made: Callable[[Core], Handler]) -> Handler:
        async def handle(call: Call) -> Reply:
            who = asking.get()
            await self._files.reach(who.written)
            look = Look(self._files, self._link, who, self._clock, self._cursors)
            if "execution" in call.path:
                await look.prime(call.path["execution"])
            return await made(look.core(self._base, self._plans))(call)

        return handle
