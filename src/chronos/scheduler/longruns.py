"""Work that goes on after its target has answered 202: what happens when nobody reports.

What is known of it lies in the log, so it outlives this process; the waits here are set anew from the state. They
are measured by boot time: a wall clock that is set while work goes on neither ends it nor lets it go on for ever.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Iterable
from math import inf

import structlog

from chronos.dispatch.port import Cancelled, Delivery, Done, Lost, NoAnswer, Outcome
from chronos.model.events import EventType
from chronos.model.execution import Attempt, Execution
from chronos.scheduler.deliveries import definition, delivery_of, known_answer
from chronos.scheduler.ports import Commands
from chronos.scheduler.settings import SchedulerSettings
from chronos.store.tables import OPEN
from chronos.timing.clock import Clock

log = structlog.get_logger(__name__)

LOOK_S = 1.0
TELLING_MAX = 100
"""Targets that are told to stop at a time."""

_TOO_EARLY = frozenset({EventType.EXECUTION_DECIDED, EventType.EXECUTION_STARTED})
"""Nothing has been accepted by then."""

_FINISHED = EventType.EXECUTION_FINISHED

TellCancelled = Callable[[Delivery], Awaitable[None]]


class _Watched:
    """An attempt that goes on. Times are seconds of boot time; infinity means never.

    Attributes:
        queued: When it is looked at next.
    """

    __slots__ = ("deadline", "heartbeat_s", "n", "queued", "silence", "stop")

    def __init__(self, n: int, deadline: float, heartbeat_s: float) -> None:
        self.n = n
        self.deadline = deadline
        self.heartbeat_s = heartbeat_s
        self.silence = inf
        self.stop = inf
        self.queued = inf

    @property
    def next(self) -> float:
        return min(self.deadline, self.silence, self.stop)


class LongRuns:
    """Keeps watch over accepted attempts, and ends what has run out of time.

    Args:
        settle: Takes the end of an attempt, later.
        tell_cancelled: Tells a target to stop.
    """

    def __init__(
        self,
        commands: Commands,
        clock: Clock,
        settings: SchedulerSettings,
        *,
        settle: Callable[[list[Done]], None],
        tell_cancelled: TellCancelled | None = None,
    ) -> None:
        self._commands = commands
        self._clock = clock
        self._settings = settings
        self._settle = settle
        self._tell_cancelled = tell_cancelled
        self._watched: dict[str, _Watched] = {}
        self._heap: list[tuple[float, str]] = []
        self._wake = asyncio.Event()
        self._room = asyncio.Semaphore(TELLING_MAX)
        self._telling: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._watched)

    # What happens, noted.

    def begin(self, open_executions: Iterable[Execution]) -> None:
        """Watch what goes on since an earlier life; silence counts from now, for nobody could be heard meanwhile."""
        for execution in open_executions:
            attempt = execution.running_attempt
            if attempt is not None and attempt.is_accepted:
                self._watch(execution, attempt)

    def note(self, kind: EventType, execution: Execution) -> None:
        """Take in what has happened to an execution."""
        if (kind is _FINISHED and not self._watched) or kind in _TOO_EARLY:
            return
        attempt = execution.running_attempt
        if attempt is None or not attempt.is_accepted:
            self._watched.pop(execution.id, None)
        elif kind in (EventType.EXECUTION_PROGRESS, EventType.EXECUTION_CANCELLING):
            self._watch(execution, attempt)

    def note_alive(self, execution_id: str) -> None:
        """Something was heard of an execution."""
        watched = self._watched.get(execution_id)
        if watched is not None and watched.heartbeat_s:
            watched.silence = self._clock.boottime() + watched.heartbeat_s

    def _watch(self, execution: Execution, attempt: Attempt) -> None:
        ongoing = attempt.ongoing
        assert ongoing is not None
        known = self._watched.get(execution.id)
        if known is None or known.n != attempt.n:
            left_s = max(0.0, ongoing.deadline_us / 1e6 - self._clock.time())
            known = _Watched(attempt.n, self._clock.boottime() + left_s, ongoing.heartbeat_us / 1e6)
            self._watched[execution.id] = known
        self.note_alive(execution.id)
        if execution.cancel_requested and known.stop == inf:
            known.stop = self._clock.boottime() + self._grace_s(execution)
            self._tell(execution)
        self._queue(execution.id, known)

    def _queue(self, key: str, watched: _Watched) -> None:
        """See to it that it is looked at in time; what comes earlier than needed is put back then."""
        if watched.next < watched.queued:
            watched.queued = watched.next
            heapq.heappush(self._heap, (watched.queued, key))
            self._wake.set()

    def _grace_s(self, execution: Execution) -> float:
        delivery = self._delivery(execution)
        return delivery.cancel_grace_us / 1e6 if delivery is not None else 0.0

    # The turns.

    async def run(self) -> None:
        """End what has run out of time, for as long as the node lives."""
        try:
            while True:
                self._wake.clear()
                self._look()
                await self._rest()
        finally:
            for task in self._telling:
                task.cancel()

    async def _rest(self) -> None:
        seconds = min(LOOK_S, max(0.001, self._heap[0][0] - self._clock.boottime())) if self._heap else None
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _look(self) -> None:
        now = self._clock.boottime()
        while self._heap and self._heap[0][0] <= now:
            at, key = heapq.heappop(self._heap)
            watched = self._watched.get(key)
            if watched is None or watched.queued != at:
                continue  # it has ended, or is looked at earlier
            watched.queued = inf
            if watched.next > now:
                self._queue(key, watched)
            else:
                del self._watched[key]
                self._lapse(key, watched, now)

    def _lapse(self, key: str, watched: _Watched, now: float) -> None:
        execution = self._commands.view.get(OPEN, key)
        attempt = execution.running_attempt if execution is not None else None
        if execution is None or attempt is None or attempt.n != watched.n:
            return
        if execution.cancel_requested:
            self._end(execution, attempt, Cancelled(known_answer(attempt)))
            return
        self._tell(execution)
        if watched.deadline <= now:
            why = "no result was reported before the deadline"
            self._end(execution, attempt, NoAnswer(why, "deadline", answer=known_answer(attempt)))
        else:
            self._end(execution, attempt, Lost(f"nothing was heard of it for {watched.heartbeat_s:g} s"))

    def _end(self, execution: Execution, attempt: Attempt, outcome: Outcome) -> None:
        self._settle([Done(execution.id, attempt.n, outcome, attempt.started_at_us, int(self._clock.time() * 1e6))])

    # Telling a target to stop.

    def _tell(self, execution: Execution) -> None:
        """Tell the target, aside: the grace runs whether it hears or not."""
        delivery = self._delivery(execution)
        if delivery is None or self._tell_cancelled is None:
            return
        task = asyncio.create_task(self._told(delivery, self._tell_cancelled))
        self._telling.add(task)
        task.add_done_callback(self._note_told)

    async def _told(self, delivery: Delivery, tell: TellCancelled) -> None:
        async with self._room:
            await tell(delivery)

    def _note_told(self, task: asyncio.Task[None]) -> None:
        self._telling.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.error("telling a target to stop failed inside Chronos", exc_info=failure)

    def _delivery(self, execution: Execution) -> Delivery | None:
        job = definition(self._commands.view, execution)
        return delivery_of(execution, job, self._settings) if job is not None else None
