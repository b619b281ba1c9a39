"""What a mode is asked, what it is told, and what it may ask for.

The engine runs the command; a mode says when. Every second here is a float: `…_s` on the engine's monotonic clock,
`…_at` and `wall_s` since the epoch.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from chronos.errors import Unprocessable


class ModeInvalid(Unprocessable):
    """A mode cannot work with these numbers.

    `facts` has `field` (the long name of the flag, without dashes) and `why`.
    """

    def __init__(self, field: str = "mode", why: str = "cannot work with these numbers") -> None:
        super().__init__(f"--{field} {why}", field=field, why=why)
        self.field = field
        self.why = why


class Moment(NamedTuple):
    """Now, on both clocks."""

    monotonic_s: float
    wall_s: float


class Run(NamedTuple):
    """One run that has ended.

    Attributes:
        number: Counted from 1.
        started_at: The wall clock at its start, seconds since the epoch.
        ok: A matching failure pattern beats a matching success pattern, which beats the exit code.
        exit_code: The child's; negative for a signal, 126 or 127 when it could not be started.
        advice_s: The wait that an HTTP answer in the output asked for, already capped. Modes leave it alone: the
            engine puts it in the place of their answer, or takes the later of both where a mode has a true
            `never_early` (`cron`, `rate-limit`): no advice makes more starts than such a mode allows.
    """

    number: int
    started_s: float
    ended_s: float
    started_at: float
    ok: bool
    exit_code: int
    timed_out: bool = False
    advice_s: float | None = None


class Mode(Protocol):
    """Decides when the next run starts.

    Pure: it reads no clock, does no IO, and draws from the seeded `Dice` it was made with. One object serves one
    repetition; what it remembers is bounded, however many runs there are.
    """

    def first_s(self, now: Moment) -> float:
        """Return the monotonic second at which run 1 starts, `now.monotonic_s` for at once. Asked first, once."""
        ...

    def next_s(self, last: Run, now: Moment) -> float | None:
        """Return the monotonic second of the next run, never before `now`; None when this mode is over.

        Asked once for each run that has ended. Over is: the attempts are used up, a strategy that retries had its
        success, or the schedule has no further instant. Where several runs go on at once, it is asked at each end.
        """
        ...

    def describe(self) -> str:
        """Return the mode in one line, without a line feed."""
        ...


@runtime_checkable
class Ticking(Mode, Protocol):
    """A mode whose starts do not depend on the runs: it has ticks, numbered from 0.

    What becomes of ticks that pass while a run goes on is the engine's to decide. To skip them, the tick after `n` is
    `max(n + 1, passed(now))`, and the difference is how many were skipped; to queue them, it is `n + 1`. `next_s`
    skips.
    """

    def tick_s(self, n: int, now: Moment) -> float | None:
        """Return the monotonic second of tick `n`, None when there is no such tick.

        A tick on the wall clock moves when that clock is set: ask again after at most a minute's sleep. Ask for `n`
        in ascending order; the last tick may be asked again.
        """
        ...

    def passed(self, now: Moment) -> int:
        """Return how many ticks are due by now, so that tick `passed(now)` is the first one later than now."""
        ...


@runtime_checkable
class Adjustable(Mode, Protocol):
    """A mode with an interval that may be changed while it goes on."""

    every_s: float

    def change(self, every_s: float, now: Moment) -> None:
        """Let the next tick be `every_s` after the one before it, never before `now`, and go on from there.

        Raises:
            ModeInvalid: The interval is none; nothing has changed.
        """
        ...


@runtime_checkable
class Remembering(Protocol):
    """A mode that can learn from runs of an earlier repetition."""

    def remember(self, started_at: float, *, ok: bool) -> None:
        """Take note of a run that started at an epoch second. Asked before `first_s`, in the order of the runs."""
        ...


class Load(NamedTuple):
    """How busy the host is.

    Attributes:
        cpu_percent: Over all cores, since the reading before; None when there was none.
        memory_percent: In use, as the system sees it.
        load1: The load average of the last minute, not divided by the cores.
    """

    cpu_percent: float | None
    memory_percent: float
    load1: float


class LoadSource(Protocol):
    """Where readings of the host's load come from."""

    def read(self) -> Load: ...
