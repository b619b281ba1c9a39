"""What is watched: executions as they happen, and what they print."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from chronos.errors import Overloaded
from chronos.model.events import Event
from chronos.model.execution import Attempt, Execution
from chronos.plugin import Call, Endpoint, Reply
from chronos.server.live import HEARTBEAT_S, parse_mark
from chronos.server.outputs import PIECE_BYTES_MAX
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
        follow: Send what is there, then what comes, until the execution has ended: `output` with every piece a
            program prints, `progress` with what the target of a long job reports, `log` when an attempt is over, `end`
            at the end.
    """

    attempt: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    follow: bool = False


class LogEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one attempt answered or printed, as far as it was kept.

    Attributes:
        progress: How far the attempt's target has said it is, in percent.
        message: What it said last.
        note: Why there may be more than is shown: the node that has it cannot be asked now.
        is_excerpt: There was more. Of an answer, the first KiB is kept, with `store_response: node` 64 KiB; of what
            a program prints, 16 MiB are kept and the first MiB is shown here.
    """

    attempt: int
    text: str
    is_excerpt: bool
    progress: int | None = None
    message: str = ""
    note: str | UnsetType = UNSET


class Progress(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the target of a long job has just reported."""

    attempt: int
    progress: int | None
    message: str


class Output(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a program has just printed; `offset` counts the bytes of the attempt before it."""

    attempt: int
    offset: int
    text: str


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
            return Reply(stream=self._follow(execution, call.query.attempt), headers={"X-Accel-Buffering": "no"})
        attempts = [a for a in execution.attempts if call.query.attempt in (None, a.n)]
        entries = [entry for attempt in attempts if (entry := await self._entry(execution.id, attempt)) is not None]
        return reply(Logs(execution_id=execution.id, logs=entries))

    async def _entry(self, execution_id: str, attempt: Attempt) -> LogEntry | None:
        found = await self._core.keep.read(attempt.node, execution_id, attempt.n)
        printed = found.kept.printed
        if printed:
            is_cut = len(printed) == PIECE_BYTES_MAX
            return LogEntry(attempt=attempt.n, text=printed.decode(errors="replace"), is_excerpt=is_cut)
        body = found.kept.body if attempt.body_ref else None
        text = (body.decode(errors="replace") if body is not None else attempt.excerpt) or attempt.error
        told = progress_of(attempt)
        if not text and told is None and not found.missing:
            return None
        return LogEntry(
            attempt=attempt.n,
            text=text,
            is_excerpt=body is None,
            progress=told.progress if told else None,
            message=told.message if told else "",
            note=found.missing or UNSET,
        )

    async def _printed(self, execution_id: str, attempt: Attempt, seen: dict[int, int]) -> AsyncIterator[bytes]:
        """Yield what the attempt has printed since the last time, in whole characters."""
        offset = seen.get(attempt.n, 0)

        async def read() -> bytes:
            return (await self._core.keep.read(attempt.node, execution_id, attempt.n, offset)).kept.printed

        while piece := whole_characters(await read()):
            output = Output(attempt=attempt.n, offset=offset, text=piece.decode(errors="replace"))
            yield _event("output", output)
            offset = seen[attempt.n] = offset + len(piece)

    async def _follow(self, execution: Execution, only: int | None) -> AsyncIterator[bytes]:
        seen: dict[int, int] = {}
        told: set[int] = set()
        reported: Progress | None = None
        began = quiet_since = self._core.clock.boottime()
        while True:
            for attempt in execution.attempts:
                if attempt.n in told or only not in (None, attempt.n):
                    continue
                async for piece in self._printed(execution.id, attempt, seen):
                    yield piece
                if (now := progress_of(attempt)) not in (None, reported):
                    reported = now
                    yield _event("progress", now)
                if attempt.ended_at_us and (entry := await self._entry(execution.id, attempt)) is not None:
                    told.add(attempt.n)
                    yield _event("log", entry)
            over = self._core.clock.boottime() - began > FOLLOW_S_MAX
            if execution.is_terminal or over or self._core.live.is_full:
                break
            await asyncio.sleep(LOOK_S)
            if self._core.clock.boottime() - quiet_since > HEARTBEAT_S:
                quiet_since = self._core.clock.boottime()
                yield b": heartbeat\n\n"
            newer = await self._core.queries.execution(execution.id)
            execution = newer if isinstance(newer, Execution) else execution
        yield _event("end", {"status": execution.status.value})


def progress_of(attempt: Attempt) -> Progress | None:
    """Return what the target of a long job has said of an attempt; None when it has said nothing."""
    ongoing = attempt.ongoing
    if ongoing is None or (ongoing.progress < 0 and not ongoing.message):
        return None
    percent = ongoing.progress if ongoing.progress >= 0 else None
    return Progress(attempt=attempt.n, progress=percent, message=ongoing.message)


def whole_characters(piece: bytes) -> bytes:
    """Return `piece` without the beginning of a UTF-8 character whose rest has yet to come."""
    for back in range(1, min(3, len(piece)) + 1):
        byte = piece[-back]
        if 0xC0 <= byte < 0xF8:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return piece[:-back] if length > back else piece
        if byte < 0x80:
            break
    return piece


def _event(name: str, data: object) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
