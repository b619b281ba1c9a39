"""What is watched: executions as they happen, and what they print."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from chronos.errors import Overloaded
from chronos.model.events import Event
from chronos.model.execution import Execution
from chronos.plugin import Call, Endpoint, Reply
from chronos.server.live import parse_mark
from chronos.server.rest.core import Core, reply
from chronos.server.rest.executions import find

TAG = "executions"
FOLLOW_S_MAX = 3_600.0
LOOK_S = 1.0
EVENT_STREAM = "text/event-stream"


class StreamQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which executions to watch: one job's, or all of the namespace."""

    job: Annotated[str, Meta(max_length=200)] | None = None


class LogsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the log.

    Attributes:
        attempt: Only this one; all when absent.
        follow: Send what is there, then what comes, until the execution has ended.
    """

    attempt: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    follow: bool = False


class LogEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one attempt answered or printed, as far as it was kept.

    Attributes:
        is_excerpt: Only the first KiB was kept; `store_response: node` keeps 64 KiB.
    """

    attempt: int
    text: str
    is_excerpt: bool


class Logs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The logs of an execution, by attempt."""

    execution_id: str
    logs: list[LogEntry]


class Streams:
    """The handlers of the event stream and the logs."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "GET",
                "/api/v1/executions/stream",
                self.stream,
                "execution:read",
                "Watch executions as server-sent events; `Last-Event-ID` goes on where a stream broke off.",
                query=StreamQuery,
                content_type=EVENT_STREAM,
                errors=(404, 503),
                tag=TAG,
                operation="watch_executions",
            ),
            Endpoint(
                "GET",
                "/api/v1/executions/{execution}/logs",
                self.logs,
                "execution:read",
                "Read what an execution's attempts answered or printed.",
                query=LogsQuery,
                answers=Logs,
                errors=(404,),
                tag=TAG,
                operation="get_execution_logs",
            ),
        ]

    async def stream(self, call: Call) -> Reply:
        if self._core.live.is_full:
            raise Overloaded("Too many clients watch already; read the lists instead.", retry_after=10)
        job_id = ""
        if call.query.job:
            job_id = (await self._core.jobs.get(call.query.job, namespace=call.namespace)).id

        def wanted(event: Event) -> bool:
            return event.namespace == call.namespace and (not job_id or event.job_id == job_id)

        after = parse_mark(call.headers.get("last-event-id", ""))
        return Reply(stream=self._core.live.watch(wanted, after=after), headers={"X-Accel-Buffering": "no"})

    async def logs(self, call: Call) -> Reply:
        execution = await find(self._core, call)
        if not isinstance(execution, Execution):
            return reply(Logs(execution_id=call.path["execution"], logs=[]))
        if call.query.follow:
            return Reply(stream=self._follow(execution), headers={"X-Accel-Buffering": "no"})
        entries = self._entries(execution)
        if call.query.attempt is not None:
            entries = [entry for entry in entries if entry.attempt == call.query.attempt]
        return reply(Logs(execution_id=execution.id, logs=entries))

    def _entries(self, execution: Execution) -> list[LogEntry]:
        found = []
        for attempt in execution.attempts:
            body = self._core.bodies.read(execution.id, attempt.n) if attempt.body_ref else None
            text = body.decode(errors="replace") if body is not None else attempt.excerpt
            if text or attempt.error:
                found.append(LogEntry(attempt=attempt.n, text=text or attempt.error, is_excerpt=body is None))
        return found

    async def _follow(self, execution: Execution) -> AsyncIterator[bytes]:
        sent = 0
        began = self._core.clock.boottime()
        while True:
            entries = self._entries(execution)
            for entry in entries[sent:]:
                yield b"event: log\ndata: " + msgspec.json.encode(entry) + b"\n\n"
            sent = max(sent, len(entries))
            over = self._core.clock.boottime() - began > FOLLOW_S_MAX
            if execution.is_terminal or over or self._core.live.is_full:
                break
            await asyncio.sleep(LOOK_S)
            newer = await self._core.queries.execution(execution.id)
            execution = newer if isinstance(newer, Execution) else execution
        yield b"event: end\ndata: " + msgspec.json.encode({"status": execution.status.value}) + b"\n\n"
