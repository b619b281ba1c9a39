"""Runs attempts in this process: holds each until its time, starts them by priority, reports what they came to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any, Self

from msgspec import Struct

from chronos.dispatch.held import Attempts, Held, HostLines, Line, Stage, by_priority, crowds_in
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
from chronos.dispatch.right import CUT_OFF, ISOLATED, RightToSend, RightWatch
from chronos.dispatch.underway import Begin, Expect
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

STARTS_MAX, LOOKS_MAX = 64, 512
"""How many begin in one turn, and how many are looked at for it: what they write leaves when the turn is over."""

HELD_BACK_S = 0.05
"""While others wait to begin, ends are told so much later at most: what is due goes first."""

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


class LocalExecutor:
    """The `Executor` of one process.

    Args:
        deliver: Usually `Router.deliver`.
        begin: Usually `Router.begin`; what it begins takes no task.
        expect: Usually `Router.expect`; told of crowds while they are held.
        on_done: Called on the loop with every batch of ended attempts; must not raise.
        tell_cancelled: Called for a cancelled attempt that had begun; usually `Router.tell_cancelled`.
        rest_s: After a turn, what ends within it is seen to together, unless somebody waits for room: a turn for
            each end costs more than the end itself.
        right: This node's right to send; None where it needs none.
    """

    def __init__(
        self,
        deliver: Deliver,
        on_done: OnDone,
        clock: Clock,
        settings: ExecutorSettings | None = None,
        *,
        begin: Begin | None = None,
        expect: Expect | None = None,
        tell_cancelled: TellCancelled | None = None,
        telemetry: Telemetry | None = None,
        rest_s: float = 0.0,
        right: RightToSend | None = None,
    ) -> None:
        self._deliver = deliver
        self._begin = begin
        self._expect = expect
        self._on_done = on_done
        self._clock = clock
        self._settings = settings or ExecutorSettings()
        self._tell_cancelled = tell_cancelled
        self._telemetry = telemetry or Telemetry()
        self._attempts = Attempts()
        self._running = 0
        self._later = Line()
        self._due = Line()
        self._hosts = HostLines(self._settings.per_host_max)
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_us = 0
        self._told: list[Held] = []
        self._done: list[Done] = []
        self._done_since_s = 0.0
        self._goes_on: asyncio.Handle | None = None
        self._late_s: list[float] = []
        self._turn_asked = False
        self._rest_s = rest_s
        self._rest: asyncio.TimerHandle | None = None
        self._right = right
        self._watch = RightWatch(right, self.in_flight, self._be_cut_off) if right is not None else None
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

    def submit(self, deliveries: Sequence[Delivery]) -> None:
        """Take over `deliveries`; each is reported once. See `Executor.submit`."""
        now_us = self._now_us()
        for delivery in deliveries:
            if self._draining or not self._is_open:
                self._give_back(delivery, NotSent("drain"))
            elif self._attempts.count >= self._settings.max_held:
                self._give_back(delivery, NotSent("capacity", retry_after_s=1.0))
            else:
                self._hold(delivery, now_us)
        if self._attempts.count:
            self._idle.clear()
            if self._watch is not None:
                self._watch.begin()
        if self._draining:
            return
        if self._expect is not None:
            for delivery, size in crowds_in(deliveries, now_us):
                self._expect(delivery, size)
        self._turn()

    async def recall(self, execution_ids: list[str]) -> dict[str, str]:
        """Return `dropped`, `sent` or `unknown` for each id. See `Executor.recall`.

        A running attempt counts as sent, even if its first byte is still to leave; what is held beside it, a later
        attempt of the same execution, comes back as `NotSent("recalled")`.
        """
        answers: dict[str, str] = {}
        for execution_id in execution_ids:
            attempts = self._attempts.of(execution_id)
            sent = any(held.stage is Stage.RUNNING for held in attempts)
            for held in attempts:
                if self._drop(held) and sent:
                    self._give_back(held.delivery, NotSent("recalled"))
            answers[execution_id] = "sent" if sent else "dropped" if attempts else "unknown"
        return answers

    async def cancel(self, execution_ids: list[str], *, cancel_url: bool = True) -> None:
        """Stop what runs under these ids. See `Executor.cancel`. What was still held becomes `NotSent("recalled")`."""
        for execution_id in execution_ids:
            for held in self._attempts.of(execution_id):
                if self._drop(held):
                    self._give_back(held.delivery, NotSent("recalled"))
                else:
                    self._stop(held, Cancelled(), tell=cancel_url)

    def report(self) -> None:
        """Report now what has ended, and not in a moment."""
        self._take_turn()
        self._report_all()

    def in_flight(self) -> int:
        """How many attempts are held or running."""
        return self._attempts.count

    @property
    def running(self) -> int:
        """How many attempts are under way: handed to their dispatcher, and not yet back."""
        return self._running

    async def drain(self, seconds: float) -> None:
        """Take nothing new, give back what is held, wait for what runs, cut the rest. See `Executor.drain`."""
        self._draining = True
        reach("drain.before")
        for held in self._attempts.all():
            if self._drop(held):
                self._give_back(held.delivery, NotSent("drain"))
        self._cancel_timer()
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            for held in self._attempts.all():
                self._stop(held, Lost("drain"), tell=False)
            await self._cut()
        self._report_all()
        if self._watch is not None:
            self._watch.end()
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    async def _cut(self) -> None:
        """Wait for what was stopped, a process in its grace for instance; what takes too long is stopped again."""
        try:
            async with asyncio.timeout(CUT_S):
                await self._idle.wait()
        except TimeoutError:
            for held in self._attempts.all():
                if held.task is not None:
                    held.task.cancel()
            await self._idle.wait()  # dispatchers let a second cancellation through at once

    def _hold(self, delivery: Delivery, now_us: int) -> None:
        number, due_us = next(self._numbers), max(delivery.not_before_us, now_us)
        held = Held(delivery, number, due_us, self._hosts.of(delivery))
        self._attempts.add(held)
        self._later.add((due_us, number, held))

    def _forget(self, held: Held) -> None:
        if held.host is not None:
            self._hosts.forget(held.host)
        self._attempts.remove(held)
        if not self._attempts.count:
            self._idle.set()

    def _drop(self, held: Held) -> bool:
        """Take back an attempt that has not begun. Returns whether it had not."""
        if held.stage is not Stage.HELD:
            return False
        held.stage = Stage.DROPPED  # its place in the heap is passed over when its time comes
        self._forget(held)
        return True

    def _stop(self, held: Held, outcome: Outcome, *, tell: bool) -> None:
        if held in self._told:
            self._look(held)  # what it has come to counts
        if held.stage is not Stage.RUNNING or held.stop is not None:
            return
        held.stop, held.tell = outcome, tell
        if held.under_way is not None:
            held.under_way.stop()
            held.under_way = None
            self._run_task(held, self._stopped(held, outcome))
        elif held.task is not None and held.begun:
            # A task cancelled before its first step would never run, hence never report.
            held.task.cancel()

    def _be_cut_off(self) -> None:
        """Give back what is held, and stop what must not go on: it is somebody else's soon."""
        for held in self._attempts.all():
            if self._drop(held):
                self._give_back(held.delivery, NotSent(ISOLATED))
            elif not held.delivery.goes_on:
                self._stop(held, Lost(CUT_OFF), tell=False)

    def _turn(self) -> None:
        """Start what is due as far as there is capacity, and set the timer for what comes next."""
        now_us = self._now_us()
        for place in self._later.take(now_us):
            self._due.add(by_priority(place))
        left = LOOKS_MAX
        most = min(self._settings.max_concurrent, self._running + STARTS_MAX)
        if self._due.size and self._right is not None and not self._right.holds():
            self._be_cut_off()
        while self._due.size and left and self._running < most:
            left -= 1
            place = self._due.pop()
            if place[2].stage is Stage.HELD and self._hosts.may_go(place):
                self._start(place[2])
        if self._due.size and self._running < self._settings.max_concurrent and self._goes_on is None:
            self._goes_on = asyncio.get_running_loop().call_soon(self._go_on)
        self._tell_lateness()
        self._set_timer(now_us)

    def _go_on(self) -> None:
        self._goes_on = None
        if not self._draining:
            self._turn()

    def _set_timer(self, now_us: int) -> None:
        while self._later.size and self._later.first()[2].stage is Stage.DROPPED:
            self._later.pop()
        next_us = self._later.first()[0] if self._later.size else 0
        if self._timer is not None and next_us == self._timer_us:
            return
        self._cancel_timer()
        if self._later.size:
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

    def _start(self, held: Held) -> None:
        held.stage = Stage.RUNNING
        held.started_us = int(self._clock.time() * 1e6)
        self._running += 1
        try:
            begun = self._begin(held.delivery, partial(self._note, held)) if self._begin is not None else None
        except Exception:
            # The edge where one attempt's turn ends: a bug in one dispatcher must not stop every other attempt.
            self._end(held, _internal(held.delivery), self._now_us())
            self._ask_turn()
            return
        if begun is None:
            self._run_task(held, self._outcome(held))
        else:
            self._note_lateness(held)
            held.under_way = begun

    def _note_lateness(self, held: Held) -> None:
        due_us = held.delivery.due_us or held.delivery.not_before_us
        if due_us:
            self._late_s.append(max(0, held.started_us - due_us) / 1e6)

    def _tell_lateness(self) -> None:
        if self._late_s:
            late_s, self._late_s = self._late_s, []
            self._telemetry.observe_all("start_lateness_seconds", late_s)

    # Without a task.

    def _note(self, held: Held) -> None:
        held.ended_us = int(self._clock.time() * 1e6)
        self._told.append(held)
        if not self._turn_asked:
            self._ask_turn()

    def _look(self, held: Held) -> None:
        """See what became of an attempt that was told of."""
        if held.under_way is None:
            return
        try:
            outcome = held.under_way.outcome()
        except Exception:
            outcome = _internal(held.delivery)  # the same edge
        if outcome is not None:
            held.under_way = None
            self._end(held, outcome, held.ended_us)

    async def _stopped(self, held: Held, outcome: Outcome) -> Outcome:
        if held.tell and self._tell_cancelled is not None:
            await self._tell(held.delivery, self._tell_cancelled)
        return outcome

    # With a task.

    def _run_task(self, held: Held, work: Coroutine[Any, Any, Outcome]) -> None:
        held.task = asyncio.get_running_loop().create_task(self._run(held, work))

    async def _run(self, held: Held, work: Coroutine[Any, Any, Outcome]) -> None:
        outcome: Outcome = Lost("stopped")
        try:
            outcome = await work
        finally:
            self._end(held, outcome, self._now_us())
            self._ask_turn()

    async def _outcome(self, held: Held) -> Outcome:
        held.begun = True
        if held.stop is not None:
            return _unsent(held.stop)
        self._note_lateness(held)
        self._tell_lateness()
        try:
            return await self._deliver(held.delivery)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if held.stop is None or task is None:
                raise
            while task.uncancel() > 0:  # stopped twice, by a cancel and a drain: still one end
                pass
            return await self._stopped(held, held.stop)
        except Exception:
            return _internal(held.delivery)  # and again

    async def _tell(self, delivery: Delivery, tell: TellCancelled) -> None:
        try:
            await tell(delivery)
        except Exception:
            log.exception("telling the target of %s to stop failed inside Chronos", delivery.execution_id)

    # Ends.

    def _end(self, held: Held, outcome: Outcome, ended_us: int) -> None:
        late_ms = (held.started_us - held.due_us) // 1_000
        waited = NOT_WAITED
        if late_ms > 0:
            waited = Waited(host_cap=late_ms) if held.queued else Waited(capacity=late_ms)
        held.stage = Stage.ENDED
        self._running -= 1
        if held.host is not None and (place := self._hosts.leave(held.host)) is not None:
            self._due.add(place)
        self._forget(held)
        self._report(held.delivery, outcome, held.started_us, ended_us, waited)

    def _give_back(self, delivery: Delivery, outcome: NotSent) -> None:
        now_us = self._now_us()
        self._report(delivery, outcome, now_us, now_us, NOT_WAITED)
        self._ask_turn()

    def _report(self, delivery: Delivery, outcome: Outcome, started_us: int, ended_us: int, waited: Waited) -> None:
        ended_us = max(started_us, ended_us)
        if not self._done:
            self._done_since_s = asyncio.get_running_loop().time()
        self._done.append(Done(delivery.execution_id, delivery.attempt, outcome, started_us, ended_us, waited))

    def _ask_turn(self) -> None:
        if self._turn_asked or (self._rest is not None and not self._is_room_wanted()):
            return
        self._turn_asked = True
        asyncio.get_running_loop().call_soon(self._take_turn)

    def _is_room_wanted(self) -> bool:
        """Whether somebody waits for room, and enough have ended to look which of it there is."""
        return self._is_crowded() and 4 * len(self._told) >= self._running

    def _is_crowded(self) -> bool:
        """Whether anybody who is due waits to begin."""
        return self._due.size > 0 or self._hosts.waiting > 0

    def _may_be_told_later(self) -> bool:
        """Whether ends are held back for a moment: others wait to begin, and somebody will look again soon."""
        return (
            self._is_crowded()
            and self._rest is not None
            and asyncio.get_running_loop().time() - self._done_since_s < HELD_BACK_S
        )

    def _rested(self) -> None:
        self._rest = None
        if self._told or self._done:
            self._take_turn()

    def _take_turn(self) -> None:
        """See what has ended, start what there is room for now, and report."""
        told, self._told = self._told, []
        for held in told:
            self._look(held)
        self._turn_asked = False
        if self._rest is None and self._rest_s:
            self._rest = asyncio.get_running_loop().call_later(self._rest_s, self._rested)
        if self._told:
            self._ask_turn()
        if self._due.size and not self._draining:
            self._turn()
        if not self._may_be_told_later():
            self._report_all()

    def _report_all(self) -> None:
        if self._done:
            reach("dispatch.answered")
            batch, self._done = self._done, []
            self._on_done(batch)

    def _now_us(self) -> int:
        return int(self._clock.time() * 1_000_000)


def _unsent(stop: Outcome) -> NotSent:
    """Return what became of an attempt that was stopped before its first step."""
    if not isinstance(stop, Lost):
        return NotSent("recalled")
    return NotSent(ISOLATED if stop.reason == CUT_OFF else "drain")


def _internal(delivery: Delivery) -> NoAnswer:
    log.exception("attempt %s of %s failed inside Chronos", delivery.attempt, delivery.execution_id)
    return NoAnswer("Chronos failed while delivering; its log has the details", "internal")
