"""What a node is doing, in numbers that lie ready: rates, start lateness, who retries and who fails.

Everything is counted as it happens, in windows of fixed size; reading it costs no search and no disk.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from msgspec import Struct

from chronos.model.events import Event, EventType
from chronos.model.execution import Execution, Status
from chronos.telemetry import count_into
from chronos.timing.clock import Clock

WINDOW_S = 60
RATE_S = 10
"""Rates are told over the last whole seconds, so many."""

SLOT_S = 5
FAILING_MAX = 1_000
"""So many failing jobs are remembered; the one that failed longest ago makes room."""

BOUNDS_MS = tuple(0.1 * 1.2**k for k in range(86))
"""A percentile is exact to a fifth, from a tenth of a millisecond to ten minutes."""

_LATENESS = "start_lateness_seconds"
_BOUNDS_S = tuple(bound / 1_000 for bound in BOUNDS_MS)


class Lateness(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How late attempts left in the last minute, in milliseconds. Percentiles are exact to a fifth; None of nothing."""

    count: int
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


class Failing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job whose last run, since the server's start, has failed.

    Attributes:
        failures: How many have failed since the last that did not.
        last_failure_s: When the last one ended, seconds since the epoch.
    """

    job_id: str
    job_name: str
    namespace: str
    reason: str
    failures: int
    last_failure_s: float


class _Slot:
    """The lateness of what left in a few seconds."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.counts = [0] * (len(_BOUNDS_S) + 1)
        self.max_s = 0.0


class Stats:
    """A listener to events and a `telemetry.Sink`; called on the event loop.

    Args:
        open_executions: Returns what has not ended; asked once, with the first question for who retries.
    """

    def __init__(self, clock: Clock, open_executions: Callable[[], Iterable[Execution]]) -> None:
        self._clock = clock
        self._open_executions = open_executions
        self._began_s = clock.boottime()
        self._seconds: deque[tuple[int, Counter[Status]]] = deque(maxlen=WINDOW_S + 1)
        self._slots: deque[_Slot] = deque(maxlen=WINDOW_S // SLOT_S)
        self._totals: Counter[Status] = Counter()
        self._retrying: set[str] | None = None
        self._failing: dict[str, Failing] = {}

    # What happens.

    def on_events(self, events: Sequence[Event]) -> None:
        """Count what was committed. Returns at once."""
        ended: list[Status] = []
        for event in events:
            kind, execution = event.type, event.execution
            if kind is _FINISHED and execution is not None:
                ended.append(execution.status)
                if execution.status is not _SUCCESS or self._retrying or self._failing:
                    self._note_end(execution)
            elif kind is _RETRYING and execution is not None:
                if self._retrying is not None:
                    self._retrying.add(execution.id)
            elif kind is _STARTED and execution is not None:
                if self._retrying:
                    self._retrying.discard(execution.id)
            elif kind is _DELETED:
                self._failing.pop(event.job_id, None)
        if ended:
            self._second().update(ended)

    def count(self, name: str, value: float, labels: dict[str, str]) -> None:
        """Counters are told by others."""

    def gauge(self, name: str, value: float, labels: dict[str, str]) -> None:
        """Gauges are told by others."""

    def observe(self, name: str, values: Sequence[float], labels: dict[str, str]) -> None:
        """Take in how late attempts have left."""
        if name != _LATENESS:
            return
        number = int(self._clock.boottime()) // SLOT_S
        if not self._slots or self._slots[-1].number != number:
            self._slots.append(_Slot(number))
        slot = self._slots[-1]
        count_into(slot.counts, _BOUNDS_S, values)
        slot.max_s = max(slot.max_s, *values) if values else slot.max_s

    def _note_end(self, execution: Execution) -> None:
        if self._retrying:
            self._retrying.discard(execution.id)
        if execution.status is Status.SUCCESS:
            if self._failing:
                self._failing.pop(execution.job_id, None)
        elif execution.status is Status.FAILED:
            self._note_failure(execution)

    def _note_failure(self, execution: Execution) -> None:
        before = self._failing.pop(execution.job_id, None)
        if before is None and len(self._failing) >= FAILING_MAX:
            del self._failing[next(iter(self._failing))]
        self._failing[execution.job_id] = Failing(
            job_id=execution.job_id,
            job_name=execution.job_name,
            namespace=execution.namespace,
            reason=_why(execution),
            failures=1 + (before.failures if before is not None else 0),
            last_failure_s=execution.ended_at_us / 1e6,
        )

    def _second(self) -> Counter[Status]:
        now = int(self._clock.boottime())
        if not self._seconds or self._seconds[-1][0] != now:
            self._seconds.append((now, Counter()))
        return self._seconds[-1][1]

    # What is asked.

    def rates(self) -> dict[str, float]:
        """Return executions that ended, a second, by status, over the last whole seconds, `RATE_S` of them at most."""
        now = int(self._clock.boottime())
        seconds = min(RATE_S, max(1, now - int(self._began_s)))
        total: Counter[Status] = Counter()
        for second, counted in self._seconds:
            if now - seconds <= second < now:
                total.update(counted)
        return {status.value: round(total[status] / seconds, 2) for status in ENDS}

    def ended_by_second(self) -> list[int]:
        """Return how many executions ended in each second of the last minute, the oldest first."""
        now = int(self._clock.boottime())
        by_second = {second: counted.total() for second, counted in self._seconds}
        return [by_second.get(second, 0) for second in range(now - WINDOW_S, now)]

    def lateness(self) -> Lateness:
        """Return how late attempts left in the last minute."""
        oldest = int(self._clock.boottime() - WINDOW_S) // SLOT_S
        slots = [slot for slot in self._slots if slot.number > oldest]
        sums = list(accumulate(map(sum, zip(*(slot.counts for slot in slots), strict=True))))
        if not sums or not sums[-1]:
            return Lateness(count=0)
        max_ms = max(slot.max_s for slot in slots) * 1_000
        at = {share: min(_bound_ms(bisect_left(sums, share * sums[-1])), max_ms) for share in (0.5, 0.95, 0.99)}
        p50, p95, p99 = (round(at[share], 2) for share in (0.5, 0.95, 0.99))
        return Lateness(count=sums[-1], p50=p50, p95=p95, p99=p99, max=round(max_ms, 2))

    def retrying(self) -> int:
        """Return how many executions wait for their next attempt."""
        if self._retrying is None:
            self._retrying = {one.id for one in self._open_executions() if one.status is Status.RETRYING}
        return len(self._retrying)

    def failing(self) -> list[Failing]:
        """Return the jobs whose last run failed, the one that failed last first."""
        return list(reversed(self._failing.values()))


ENDS = (Status.SUCCESS, Status.FAILED, Status.SKIPPED, Status.CANCELLED)


def _bound_ms(place: int) -> float:
    return BOUNDS_MS[place] if place < len(BOUNDS_MS) else float("inf")


def _why(execution: Execution) -> str:
    last = execution.attempts[-1] if execution.attempts else None
    return (last.error if last is not None else "") or execution.reason or "no reason was recorded"


# An enum's member is looked up slowly, and these are asked for with each event.
_SUCCESS = Status.SUCCESS
_FINISHED, _RETRYING = EventType.EXECUTION_FINISHED, EventType.EXECUTION_RETRYING
_STARTED, _DELETED = EventType.EXECUTION_STARTED, EventType.JOB_DELETED
COUNTED = frozenset({_FINISHED, _RETRYING, _STARTED, _DELETED})
"""What `Stats` has to be told of."""
