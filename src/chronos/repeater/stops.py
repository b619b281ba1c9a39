"""When to stop, and with which verdict. Pure: it is told what happened and says what follows."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Fate(Enum):
    """How a run ended."""

    OK = "ok"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    NOT_STARTED = "not started"
    CUT = "cut"  # by the end of the time that was given, or by a signal
    REVOKED = "revoked"  # its turn was over before it was
    RESTARTED = "restarted"  # by the tick after it

    @property
    def counts(self) -> bool:
        """Whether the run says anything about success: one that we ended for reasons of ours does not."""
        return self not in (Fate.CUT, Fate.RESTARTED)


class Stops(NamedTuple):
    """What ends a repetition. None and False: nothing of the kind.

    Attributes:
        for_s: Seconds from the start.
        until_at: Seconds since the epoch.
        failures_max: In a row.
    """

    times: int | None = None
    for_s: float | None = None
    until_at: float | None = None
    on_success: bool = False
    on_failure: bool = False
    on_change: bool = False
    on_match: bool = False
    failures_max: int | None = None

    @property
    def has_goal(self) -> bool:
        """Whether something is waited for, so that ending without it is a failure."""
        return self.on_success or self.on_change or self.on_match


class Seen(NamedTuple):
    """What a run that has ended amounts to."""

    fate: Fate
    changed: bool = False
    matched: bool = False


class Tally:
    """Counts runs, and says when it is enough and what came of it. It keeps numbers only, however many runs there are.

    Args:
        final: Whether only the last run decides, as where runs are tries of one thing.
        before: Runs that an earlier repetition made, when this one resumes it.
    """

    def __init__(self, stops: Stops, *, final: bool = False, before: int = 0) -> None:
        self._stops = stops
        self._final = final
        self.before = before
        self.started = 0
        self.ended = 0
        self.ok = 0
        self.failed = 0
        self.cut = 0
        self.restarted = 0
        self.in_a_row = 0
        self.last_exit: int | None = None
        self.last_timed_out = False
        self.last_ok = True
        self.reached = ""

    @property
    def number(self) -> int:
        """The number of the run that was started last."""
        return self.before + self.started

    @property
    def attempt(self) -> int:
        """Which try in a row the next run is: 1 after a success."""
        return self.in_a_row + 1

    def may_start(self) -> bool:
        """Whether one more run may start."""
        return not self.reached and (self._stops.times is None or self.number < self._stops.times)

    def add(self, seen: Seen, exit_code: int) -> None:
        """Take note of a run that has ended."""
        self.ended += 1
        self.cut += seen.fate is Fate.CUT
        self.restarted += seen.fate is Fate.RESTARTED
        if seen.fate.counts:
            self._judge(seen.fate)
            self.last_exit, self.last_timed_out = exit_code, seen.fate is Fate.TIMED_OUT
        if not self.reached:
            self.reached = self._reason(seen)

    def is_success(self) -> bool:
        """Whether all of it went well."""
        if self._stops.has_goal:
            return self.reached in GOALS
        return self.last_ok if self._final else not self.failed

    def _judge(self, fate: Fate) -> None:
        self.last_ok = fate is Fate.OK
        self.ok += self.last_ok
        self.failed += not self.last_ok
        self.in_a_row = 0 if self.last_ok else self.in_a_row + 1

    def _reason(self, seen: Seen) -> str:
        """Return why this run is the last one; empty when it need not be."""
        stops = self._stops
        if stops.on_match and seen.matched:
            return MATCHED
        if stops.on_change and seen.changed:
            return CHANGED
        if stops.on_success and seen.fate is Fate.OK:
            return SUCCEEDED
        if not seen.fate.counts or self.last_ok:
            return ""
        if stops.on_failure:
            return "a run failed"
        if stops.failures_max is not None and self.in_a_row >= stops.failures_max:
            return f"{self.in_a_row} failures in a row"
        return ""


MATCHED = "the output matched"
CHANGED = "the output changed"
SUCCEEDED = "a run succeeded"
GOALS = {MATCHED, CHANGED, SUCCEEDED}
