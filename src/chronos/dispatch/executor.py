"""Runs attempts in this process: holds each until its time, starts them by priority, reports what they came to."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum
from itertools import count
from types import TracebackType
from typing import Self

from msgspec import Struct

from chronos.dispatch.hosts import host_of
from chronos.dispatch.port import (
    Cancelled,
    Deliver,
    Delivery,
    Done,
    Lost,
    NoAnswer,
    NotSent,
    OnDone,
    Outcome,
)
from chronos.failpoints import reach
from chronos.model.execution import NOT_WAITED, Waited
from chronos.telemetry import Telemetry
from chronos.timing.clock import Clock

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 1.0
"""The longest nap before a due time: a wall clock that was set in between is noticed within it."""

NAP_S = 0.001
"""The shortest nap: what comes due within it starts together, up to so much late. Below half a millisecond uvloop
does not sleep at all, but comes back at once, again and again, until the time is there."""

AGEING_US = 10_000_000
"""Waiting this long is worth one level of priority."""

CUT_S = 15.0
"""How long a drain waits for attempts it has stopped, before it stops them again."""

TellCancelled = Callable[[Delivery], Awaitable[None]]


class ExecutorSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much runs and waits at a time.

    Attributes:
        max_concurrent: Attempts running at a time.
        max_held: Attempts held or running; what comes beyond is reported as `NotSent("capacity")`.
        per_host_max: Attempts running at a time per namespace and host; the others of that host stand in line.
    """

    max_concurrent: int = 10_000
    max_held: int = 200_000
    per_host_max: int = 1_000


class _Stage(StrEnum):
    HELD = "held"
    RUNNING = "running"
    DROPPED = "dropped"


class _Held:
    """An attempt on its way. Only the loop's thread touches it."""

    __slots__ = ("begun", "delivery", "due_us", "number", "place", "queued", "stage", "stop", "task", "tell")

    def __init__(self, delivery: Delivery, number: int, now_us: int) -> None:
        self.delivery = delivery
        self.number = number
        self.stage = _Stage.HELD
        self.due_us = max(delivery.not_before_us, now_us)
        host = host_of(delivery.target)
        self.place = (delivery.namespace, host) if host is not None else None
        self.queued = False
        self.begun = False
        self.task: asyncio.Task[None] | None = None
        self.stop: Outcome | None = None
        self.tell = False


_Host = tuple[str, str]
_Place = tuple[int, int, _Held]
"""What a place in line is sorted by (due time less the worth of its priority, number), and who stands there."""


class LocalExecutor:
    """The `Executor` of one process.

    Args:
        deliver: Usually `Router.deliver`.
        on_done: Called on the loop with every batch of ended attempts; must not raise.
        tell_cancelled: Called for a cancelled attempt that had begun; usually `Router.tell_cancelled`.
    """

    def __init__(
        self,
        deliver: Deliver,
        on_done: OnDone,
        clock: Clock,
        settings: ExecutorSettings | None = None,
        *,
        tell_cancelled: TellCancelled | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._deliver = deliver
        self._on_done = on_done
        self._clock = clock
        self._settings = settings or ExecutorSettings()
        self._tell_cancelled = tell_cancelled
        self._telemetry = telemetry or Telemetry()
        self._attempts: dict[str, list[_Held]] = {}
        self._count = 0
        self._running = 0
        self._later: list[tuple[int, int, _Held]] = []
        self._due: list[_Place] = []
        self._at: dict[_Host, int] = {}
        self._lines: dict[_Host, list[_Place]] = {}
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_us = 0
        self._done: list[Done] = []
        self._flush_asked = False
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_open = False

    async def __aenter__(self) -> Self:
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_open:
            self._is_open = False
            await self.drain(0)

    def submit(self, deliveries: list[Delivery]) -> None:
        """Take over `deliveries`; each is reported once. See `Executor.submit`."""
        for delivery in deliveries:
            if self._draining or not self._is_open:
                self._report(delivery, NotSent("drain"), self._now_us(), Waited())
            elif self._count >= self._settings.max_held:
                self._report(delivery, NotSent("capacity", retry_after_s=1.0), self._now_us(), Waited())
            else:
                self._hold(delivery)
        if not self._draining:
            self._turn()

    async def recall(self, execution_ids: list[str]) -> dict[str, str]:
        """Return `dropped`, `sent` or `unknown` for each id. See `Executor.recall`.

        A running attempt counts as sent, even if its first byte is still to leave; what is held beside it, a later
        attempt of the same execution, comes back as `NotSent("recalled")`.
        """
        answers: dict[str, str] = {}
        for execution_id in execution_ids:
            attempts = list(self._attempts.get(execution_id, ()))
            sent = any(held.stage is _Stage.RUNNING for held in attempts)
            for held in attempts:
                if self._drop(held) and sent:
                    self._report(held.delivery, NotSent("recalled"), self._now_us(), Waited())
            answers[execution_id] = "sent" if sent else "dropped" if attempts else "unknown"
        return answers

    async def cancel(self, execution_ids: list[str], *, cancel_url: bool = True) -> None:
        """Stop what runs under these ids. See `Executor.cancel`. What was still held becomes `NotSent("recalled")`."""
        for execution_id in execution_ids:
            for held in list(self._attempts.get(execution_id, ())):
                if self._drop(held):
                    self._report(held.delivery, NotSent("recalled"), self._now_us(), Waited())
                else:
                    self._stop(held, Cancelled(), tell=cancel_url)

    def in_flight(self) -> int:
        """How many attempts are held or running."""
        return self._count

    @property
    def running(self) -> int:
        """How many attempts are under way: handed to their dispatcher, and not yet back."""
        return self._running

    async def drain(self, seconds: float) -> None:
        """Take nothing new, give back what is held, wait for what runs, cut the rest. See `Executor.drain`."""
        self._draining = True
        reach("drain.before")
        for held in [held for attempts in self._attempts.values() for held in attempts]:
            if self._drop(held):
                self._report(held.delivery, NotSent("drain"), self._now_us(), Waited())
        self._cancel_timer()
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            for attempts in self._attempts.values():
                for held in attempts:
                    self._stop(held, Lost("drain"), tell=False)
            await self._cut()
        self._flush()

    async def _cut(self) -> None:
        """Wait for what was stopped, a process in its grace for instance; what takes too long is stopped again."""
        try:
            async with asyncio.timeout(CUT_S):
                await self._idle.wait()
        except TimeoutError:
            for held in [held for attempts in self._attempts.values() for held in attempts]:
                if held.task is not None:
                    held.task.cancel()
            await self._idle.wait()  # dispatchers let a second cancellation through at once

    def _hold(self, delivery: Delivery) -> None:
        held = _Held(delivery, next(self._numbers), self._now_us())
        self._attempts.setdefault(delivery.execution_id, []).append(held)
        self._count += 1
        self._idle.clear()
        heapq.heappush(self._later, (held.due_us, held.number, held))

    def _forget(self, held: _Held) -> None:
        attempts = self._attempts[held.delivery.execution_id]
        attempts.remove(held)
        if not attempts:
            del self._attempts[held.delivery.execution_id]
        self._count -= 1
        if not self._count:
            self._idle.set()

    def _drop(self, held: _Held) -> bool:
        """Take back an attempt that has not begun. Returns whether it had not."""
        if held.stage is not _Stage.HELD:
            return False
        held.stage = _Stage.DROPPED  # its place in the heap is passed over when its time comes
        self._forget(held)
        return True

    def _stop(self, held: _Held, outcome: Outcome, *, tell: bool) -> None:
        if held.stop is None and held.task is not None:
            held.stop, held.tell = outcome, tell
            # A task cancelled before its first step would never run, hence never report.
            if held.begun:
                held.task.cancel()

    def _turn(self) -> None:
        """Start what is due as far as there is capacity, and set the timer for what comes next."""
        now_us = self._now_us()
        while self._later and self._later[0][0] <= now_us:
            due_us, number, held = heapq.heappop(self._later)
            # Ageing is the same for all, so that the order among those who wait never changes.
            heapq.heappush(self._due, (due_us - held.delivery.priority * AGEING_US, number, held))
        while self._due and self._running < self._settings.max_concurrent:
            place = heapq.heappop(self._due)
            held = place[2]
            if held.stage is _Stage.HELD and self._may_go(place):
                self._start(held, now_us)
        self._set_timer(now_us)

    def _may_go(self, place: _Place) -> bool:
        """Whether there is room at its host; if not, it stands in line there. Bounded by `max_held`."""
        held = place[2]
        if held.place is None:
            return True
        running = self._at.get(held.place, 0)
        if running >= self._settings.per_host_max:
            held.queued = True
            heapq.heappush(self._lines.setdefault(held.place, []), place)
            return False
        self._at[held.place] = running + 1
        return True

    def _leave_host(self, host: _Host) -> None:
        """One attempt fewer runs at `host`: the first in its line comes next."""
        left = self._at[host] - 1
        if left:
            self._at[host] = left
        else:
            del self._at[host]
        line = self._lines.get(host)
        while line:
            place = heapq.heappop(line)
            if place[2].stage is _Stage.HELD:
                heapq.heappush(self._due, place)
                break
        if line is not None and not line:
            del self._lines[host]

    def _set_timer(self, now_us: int) -> None:
        while self._later and self._later[0][2].stage is _Stage.DROPPED:
            heapq.heappop(self._later)
        next_us = self._later[0][0] if self._later else 0
        if self._timer is not None and next_us == self._timer_us:
            return
        self._cancel_timer()
        if self._later:
            delay_s = min(max((next_us - now_us) / 1e6, NAP_S), LOOK_AGAIN_S)
            self._timer_us = next_us
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        self._timer = None  # timers may fire early, so this may set it again
        self._turn()

    def _start(self, held: _Held, now_us: int) -> None:
        held.stage = _Stage.RUNNING
        self._running += 1
        held.task = asyncio.get_running_loop().create_task(self._run(held, now_us))

    async def _run(self, held: _Held, started_us: int) -> None:
        delivery = held.delivery
        late_ms = (started_us - held.due_us) // 1_000
        waited = NOT_WAITED
        if late_ms > 0:
            waited = Waited(host_cap=late_ms) if held.queued else Waited(capacity=late_ms)
        outcome: Outcome = Lost("stopped")
        try:
            outcome = await self._outcome(held)
        finally:
            self._running -= 1
            self._forget(held)
            if held.place is not None:
                self._leave_host(held.place)
            self._report(delivery, outcome, started_us, waited)
            if self._due and not self._draining:
                self._turn()

    async def _outcome(self, held: _Held) -> Outcome:
        held.begun = True
        if held.stop is not None:
            return NotSent("drain" if isinstance(held.stop, Lost) else "recalled")
        self._note_lateness(held.delivery)
        try:
            return await self._deliver(held.delivery)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if held.stop is None or task is None:
                raise
            while task.uncancel() > 0:  # stopped twice, by a cancel and a drain: still one end
                pass
            if held.tell and self._tell_cancelled is not None:
                await self._tell(held.delivery, self._tell_cancelled)
            return held.stop
        except Exception:
            # The edge where one attempt's turn ends: a bug in one dispatcher must not stop every other attempt.
            log.exception("attempt %s of %s failed inside Chronos", held.delivery.attempt, held.delivery.execution_id)
            return NoAnswer("Chronos failed while delivering; its log has the details", "internal")

    def _note_lateness(self, delivery: Delivery) -> None:
        due_us = delivery.due_us or delivery.not_before_us
        if due_us:
            self._telemetry.observe("start_lateness_seconds", max(0, self._now_us() - due_us) / 1e6)

    async def _tell(self, delivery: Delivery, tell: TellCancelled) -> None:
        try:
            await tell(delivery)
        except Exception:
            log.exception("telling the target of %s to stop failed inside Chronos", delivery.execution_id)

    def _report(self, delivery: Delivery, outcome: Outcome, started_us: int, waited: Waited) -> None:
        ended_us = max(started_us, self._now_us())
        self._done.append(Done(delivery.execution_id, delivery.attempt, outcome, started_us, ended_us, waited))
        if not self._flush_asked:
            self._flush_asked = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_asked = False
        if self._done:
            reach("dispatch.answered")
            batch, self._done = self._done, []
            self._on_done(batch)

    def _now_us(self) -> int:
        return int(self._clock.time() * 1_000_000)
