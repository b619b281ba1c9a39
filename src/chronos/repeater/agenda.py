"""When the next run is due, and what becomes of a tick that finds one still running. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from chronos.repeater.port import Mode, Moment, Run, Ticking


class OnBusy(Enum):
    """What to do with a tick while as many runs are on as may be."""

    SKIP = "skip"
    QUEUE = "queue"
    RESTART = "restart"


class Step(Enum):
    """What the engine is to do now."""

    WAIT = "wait"
    START = "start"
    RESTART = "restart"


class Agenda(Protocol):
    """Says what is to be done now, and when to ask again.

    Attributes:
        skipped: Ticks that passed without a run.
        is_over: Nothing will ever be due again, whatever becomes of what runs.
    """

    @property
    def skipped(self) -> int: ...

    @property
    def is_over(self) -> bool: ...

    def begin(self, now: Moment) -> None:
        """Start counting. Asked once, first."""
        ...

    def step(self, now: Moment, running: int) -> Step:
        """Return what is to be done with `running` runs on. After START and RESTART it may be asked again at once."""
        ...

    def ended(self, run: Run, now: Moment, *, is_last: bool) -> None:
        """Take note of a run that has ended; after the last one nothing is skipped any more."""
        ...

    def wake_s(self, running: int) -> float | None:
        """Return the monotonic second at which `step` may say something else; None: not before a run has ended."""
        ...

    def resumed(self, now: Moment) -> None:
        """Forget the ticks that passed while nobody could run anything: they do not come in a burst."""
        ...


class FollowingAgenda:
    """For modes that wait for a run to end before they say when the next one starts. One run at a time."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._never_early = bool(getattr(mode, "never_early", False))
        self._due_s: float | None = None
        self.skipped = 0
        self.is_over = False

    def begin(self, now: Moment) -> None:
        self._due_s = self._mode.first_s(now)

    def step(self, now: Moment, running: int) -> Step:
        if running or self._due_s is None or now.monotonic_s < self._due_s:
            return Step.WAIT
        self._due_s = None
        return Step.START

    def ended(self, run: Run, now: Moment, *, is_last: bool) -> None:
        # The mode is told of the last one, too: it may be asked what it has learned.
        due_s = self._mode.next_s(run, now)
        if is_last:
            return
        self.is_over = due_s is None
        if due_s is not None and run.advice_s is not None:
            advised_s = run.ended_s + run.advice_s
            due_s = max(due_s, advised_s) if self._never_early else advised_s
        self._due_s = due_s

    def wake_s(self, running: int) -> float | None:
        return None if running else self._due_s

    def resumed(self, now: Moment) -> None:
        """There is at most one run due."""


class TickingAgenda:
    """For modes with ticks of their own.

    A tick that finds a place starts a run. One that passes while every place is taken is dealt with as `on_busy`
    says, and one that passes while nobody looked (a busy or sleeping machine) counts as skipped.

    Args:
        concurrency: How many places there are.
    """

    def __init__(self, mode: Ticking, *, on_busy: OnBusy = OnBusy.SKIP, concurrency: int = 1) -> None:
        self._mode = mode
        self._on_busy = on_busy
        self._concurrency = concurrency
        self._never_early = bool(getattr(mode, "never_early", False))
        self._next = 0
        self._owed = 0
        self._held_until_s: float | None = None
        self._due_s: float | None = None
        self.skipped = 0

    @property
    def is_over(self) -> bool:
        return self._due_s is None and not self._owed and self._held_until_s is None

    def begin(self, now: Moment) -> None:
        self._mode.first_s(now)
        self._look(now)

    def step(self, now: Moment, running: int) -> Step:
        is_free = running < self._concurrency
        if self._held_until_s is not None:
            return self._after_advice(now) if is_free else Step.WAIT
        if self._is_due(now):
            if is_free:
                return self._take(now)
            if self._on_busy is OnBusy.RESTART:
                self._pass(now)
                return Step.RESTART
        return self._from_queue() if is_free else Step.WAIT

    def ended(self, run: Run, now: Moment, *, is_last: bool) -> None:
        if is_last:
            return
        if run.advice_s is not None:
            self._held_until_s = run.ended_s + run.advice_s
        elif self._is_due(now):
            self._pass(now)

    def wake_s(self, running: int) -> float | None:
        is_free = running < self._concurrency
        if self._held_until_s is not None:
            return self._held_until_s if is_free else None
        return self._due_s if is_free or self._on_busy is OnBusy.RESTART else None

    def resumed(self, now: Moment) -> None:
        passed = max(self._next, self._mode.passed(now))
        self.skipped += passed - self._next
        self._go_to(passed, now)

    def _is_due(self, now: Moment) -> bool:
        self._look(now)
        return self._due_s is not None and now.monotonic_s >= self._due_s

    def _take(self, now: Moment) -> Step:
        """Start the run of the tick that is due. Others that are due, too, have passed while nobody looked."""
        self.skipped += self._go_past(now) - 1
        if self._on_busy is not OnBusy.QUEUE:
            self._owed = 0
        return Step.START

    def _pass(self, now: Moment) -> None:
        """Deal with the ticks that were due while every place was taken."""
        passed = self._go_past(now)
        if self._on_busy is OnBusy.QUEUE:
            self._owed += passed
        elif self._on_busy is OnBusy.RESTART:
            self._owed = 1
            self.skipped += passed - 1
        else:
            self.skipped += passed

    def _from_queue(self) -> Step:
        if not self._owed:
            return Step.WAIT
        self._owed -= 1
        return Step.START

    def _after_advice(self, now: Moment) -> Step:
        """Start when the wait that an answer asked for is over; the ticks meanwhile are not made up for.

        Where runs are only at ticks, it is the first tick from then on that starts one.
        """
        assert self._held_until_s is not None
        if now.monotonic_s < self._held_until_s:
            return Step.WAIT
        self._held_until_s = None
        self._owed = 0
        self._go_to(max(self._next, self._mode.passed(now)), now)
        return Step.WAIT if self._never_early else Step.START

    def _go_past(self, now: Moment) -> int:
        """Go on to the first tick that is not due yet, and return how many were."""
        before = self._next
        self._go_to(max(before + 1, self._mode.passed(now)), now)
        return self._next - before

    def _go_to(self, tick: int, now: Moment) -> None:
        self._next = tick
        self._look(now)

    def _look(self, now: Moment) -> None:
        """Ask when the next tick is; the answer moves when the wall clock is set."""
        self._due_s = self._mode.tick_s(self._next, now)
