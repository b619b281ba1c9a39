"""What targets report of work that goes on: progress, and the result.

A report is an answer's second half, so it is bounded, redacted and settled like one. Whoever repeats a report
changes nothing; whoever reports on an attempt that is over leaves a note.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from zlib import crc32

import structlog
from msgspec.structs import replace

from chronos.dispatch.http.answer import BodyReader, printable
from chronos.dispatch.port import Answer, Delivered, Delivery, Done, Outcome, Refused
from chronos.dispatch.redaction import Redactor
from chronos.errors import AttemptEnded, ChronosError, ExecutionNotFound
from chronos.model.callback import Heard, Standing
from chronos.model.execution import Attempt, AttemptStatus, Execution, RangeRecord, Status
from chronos.model.target import HttpTarget, StoreResponse
from chronos.scheduler.deliveries import definition, delivery_of, known_answer
from chronos.scheduler.ports import Commands
from chronos.scheduler.settings import SchedulerSettings
from chronos.store.commands import Report
from chronos.store.tables import OPEN
from chronos.timing.clock import Clock

log = structlog.get_logger(__name__)

EVERY_S = 1.0
"""How often the progress of one execution is written, at most: what comes sooner is kept and written then."""

PROGRESS_CHARS_MAX = 256

TURNS = 64
"""Results of different executions do not wait for each other, as far as they fall on different turns."""

Find = Callable[[str], Awaitable[Execution | RangeRecord | None]]
FindRedactor = Callable[[Delivery], Awaitable[Redactor | None]]
"""Returns what takes the secrets of a delivery out of texts; None when they cannot be had."""

_NOT_KEPT = "what it reported was not kept: the job's secrets cannot be read, so it could not be redacted"


class Reports:
    """Takes what targets report.

    Args:
        settle: Settles the end of an attempt, and returns when that is durable.
        find: Finds the record of an execution, open or ended.
        note_alive: Told the execution's id of every report on an attempt that runs.
    """

    def __init__(
        self,
        commands: Commands,
        clock: Clock,
        settings: SchedulerSettings,
        *,
        settle: Callable[[Done], Awaitable[None]],
        find: Find,
        note_alive: Callable[[str], None],
        redactor: FindRedactor | None = None,
    ) -> None:
        self._commands = commands
        self._clock = clock
        self._settings = settings
        self._settle = settle
        self._find = find
        self._note_alive = note_alive
        self._redactor = redactor
        self._written: dict[str, float] = {}
        self._held: dict[str, Heard] = {}
        self._wake = asyncio.Event()
        self._turns = [asyncio.Lock() for _ in range(TURNS)]

    async def hear(self, heard: Heard) -> Standing:
        """Take a report; return how the execution stands. A result is durable by then.

        Raises:
            AttemptEnded: The attempt is over and came to something else; a result is noted, once.
            ExecutionNotFound: Nothing is known of it any more.
            ChronosError: It could not be written; the same report may be sent again.
        """
        if heard.success is None:
            return await self._take_progress(heard)
        async with self._turns[crc32(heard.execution_id.encode()) % TURNS]:
            return await self._take_result(heard)

    async def run(self) -> None:
        """Write progress that was held back, for as long as the node lives."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(EVERY_S)
            held, self._held = self._held, {}
            now = self._clock.boottime()
            recent = {key: at for key, at in self._written.items() if now - at < EVERY_S}
            self._written = recent | dict.fromkeys(held, now)
            if recent:
                self._wake.set()
            for heard in held.values():
                await self._write_held(heard)

    # Progress.

    async def _take_progress(self, heard: Heard) -> Standing:
        execution, _ = self._running(heard)
        if execution is None:
            return await self._over(heard)
        self._note_alive(execution.id)
        now = self._clock.boottime()
        if now - self._written.get(execution.id, -inf) < EVERY_S:
            self._held[execution.id] = _newer(heard, self._held.get(execution.id))
            self._wake.set()
        else:
            self._written[execution.id] = now
            self._wake.set()  # what is remembered is forgotten on the next turn
            try:
                await self._write(execution, heard)
            except AttemptEnded:
                return await self._over(heard)
        return _standing(execution)

    async def _write(self, execution: Execution, heard: Heard) -> None:
        message = (await self._plain(execution, heard.message))[:PROGRESS_CHARS_MAX]
        await self._commands.propose(Report(execution.id, heard.attempt, heard.progress, message))

    async def _write_held(self, heard: Heard) -> None:
        execution, _ = self._running(heard)
        if execution is None:
            return
        try:
            await self._write(execution, heard)
        except ChronosError as error:  # the next report says it anew
            log.info("progress is not kept", execution=heard.execution_id, reason=str(error))

    async def _plain(self, execution: Execution, message: str) -> str:
        redactor = await self._redactor_of(execution) if message else None
        return _shown(message, redactor) if redactor is not None else ""

    # The result.

    async def _take_result(self, heard: Heard) -> Standing:
        execution, attempt = self._running(heard)
        if execution is None or attempt is None:
            return await self._note_late(heard)
        if (held := self._held.pop(heard.execution_id, None)) is not None:
            await self._write_held(held)
        outcome = await self._outcome(execution, attempt, heard)
        now_us = int(self._clock.time() * 1_000_000)
        began_us = attempt.started_at_us or min(attempt.not_before_us, now_us)
        await self._settle(Done(heard.execution_id, heard.attempt, outcome, began_us, now_us))
        return await self._over(heard)

    async def _note_late(self, heard: Heard) -> Standing:
        found = await self._find(heard.execution_id)
        if isinstance(found, Execution) and not _has(found, heard) and not _is_noted(found, heard):
            now_us = int(self._clock.time() * 1_000_000)
            outcome = Delivered() if heard.success else Refused("", "reported")
            await self._settle(Done(heard.execution_id, heard.attempt, outcome, now_us, now_us))
        return await self._over(heard)

    async def _outcome(self, execution: Execution, attempt: Attempt, heard: Heard) -> Outcome:
        answer, message = known_answer(attempt), ""
        if heard.output or heard.message:
            redactor = await self._redactor_of(execution)
            if redactor is None:
                answer = replace(answer, notes=(*answer.notes, _NOT_KEPT))
            else:
                message = _shown(heard.message, redactor)
                answer = self._with_output(execution, answer, heard.output, redactor)
        if heard.success:
            return Delivered(answer)
        why = message or "the target reported a failure"
        return Refused(why, "reported", answer=answer, permanent=not heard.retry)

    def _with_output(self, execution: Execution, known: Answer, output: str, redactor: Redactor) -> Answer:
        if not output:
            return known
        job = definition(self._commands.view, execution)
        target = job.target if job is not None else None
        store = target.store_response if isinstance(target, HttpTarget) else StoreResponse.EXCERPT
        body = BodyReader("")
        body.feed(output.encode("utf-8", "replace"))
        answer = body.answer(known.status_code or 0, store, redactor)
        return replace(answer, status_code=known.status_code, notes=(*known.notes, *answer.notes))

    # What is known.

    def _running(self, heard: Heard) -> tuple[Execution | None, Attempt | None]:
        execution = self._commands.view.get(OPEN, heard.execution_id)
        attempt = execution.running_attempt if execution is not None else None
        if attempt is None or attempt.n != heard.attempt:
            return None, None
        return execution, attempt

    async def _over(self, heard: Heard) -> Standing:
        """Return how an execution stands whose attempt has come to what was heard; raise if to something else."""
        found = await self._find(heard.execution_id)
        if not isinstance(found, Execution):
            raise ExecutionNotFound(f"Nothing is known of execution {heard.execution_id} any more.")
        if _has(found, heard):
            return _standing(found)
        raise AttemptEnded(
            f"Attempt {heard.attempt} of {found.id} is over; the execution is {found.status.value}. Stop the work.",
            execution_id=found.id,
            execution_status=found.status.value,
            cancelled=found.status is Status.CANCELLED,
        )

    async def _redactor_of(self, execution: Execution) -> Redactor | None:
        job = definition(self._commands.view, execution)
        if job is None or self._redactor is None:
            return None
        return await self._redactor(delivery_of(execution, job, self._settings))


def _standing(execution: Execution) -> Standing:
    stop = execution.cancel_requested and not execution.is_terminal
    return Standing(execution_id=execution.id, status=execution.status.value, cancelled=stop)


def _shown(message: str, redactor: Redactor) -> str:
    return printable(redactor.text(message).encode())


def _newer(heard: Heard, before: Heard | None) -> Heard:
    """Return `heard` with what it leaves open and an earlier report of the same attempt said."""
    if before is None or before.attempt != heard.attempt:
        return heard
    progress = heard.progress if heard.progress >= 0 else before.progress
    return replace(heard, progress=progress, message=heard.message or before.message)


def _has(found: Execution, heard: Heard) -> bool:
    """Whether the attempt's record says what was heard, because it was heard before."""
    if heard.success is None:
        return False
    mine = [attempt for attempt in found.attempts if attempt.n == heard.attempt]
    if heard.success:
        return any(attempt.status is AttemptStatus.SUCCESS for attempt in mine)
    return any(attempt.error_class == "reported" for attempt in mine)


def _is_noted(found: Execution, heard: Heard) -> bool:
    said = AttemptStatus.SUCCESS if heard.success else AttemptStatus.FAILED
    note = f"late_result: attempt {heard.attempt} {said.value}"
    return any(known.startswith(note) for known in found.notes)
