"""The target-window checker: what was due has arrived in its window, or there is a written and legal reason.

It starts from the targets' own log and a brute-force evaluator, not from what Chronos says of itself; from
Chronos it takes only the reasons it has written down. I14.

Source: the technique is that of the Jepsen tests of cron systems (chronos, dkron): windows, and a matching
of runs to windows. Ours also refuses overlaps, duplicates, and runs that nothing was due for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from itertools import accumulate
from typing import NamedTuple

from chronos.model.execution import Execution, Kind, RangeRecord, SkipReason, Status, execution_id
from chronos.model.job import Concurrency, Job
from chronos.testing.simulation.course import Course, Grant
from chronos.testing.simulation.evidence import Arrival, Evidence, Violation
from chronos.timing.duration import parse_duration

EARLY_S = 0.05
LATE_S = 1.0
HEALED_S = 5.0
TAKEN_OVER_S = 4.0
"""Of several nodes, when others have noticed that one is gone; what it had is with them `HEALED_S` later."""
FOUND_MAX = 20
"""More wrong windows of one job than this say nothing new."""

_NEEDS_TO_WAIT = frozenset({SkipReason.OVERLAP, SkipReason.SUPERSEDED, SkipReason.PAUSED})
_NEEDS_A_FAULT = frozenset({SkipReason.MISFIRE, SkipReason.COALESCED, SkipReason.EXPIRED})
_WAITS = ("breaker", "host_cap", "capacity", "drain", "recalled", "no time left to send")
_EDIT_S = 1.5
"""How far from a change of the job an instant may still be treated by the definition on the change's other side."""


class Window(NamedTuple):
    """When the first byte of one instant has to arrive, by the node's clock."""

    instant_s: int
    opens: float
    closes: float
    execution_id: str


class Due(NamedTuple):
    """What a job owed, ascending.

    Attributes:
        windows: For the instants of which something has arrived or was kept as an execution.
        bare: The others, which have to lie in ranges. They get no window, because a clock that jumps by years owes
            hundreds of thousands of them at once, and ids are dear.
        all: Both, and what would have been owed in pauses.
    """

    windows: list[Window]
    bare: list[int]
    all: set[int]


def check_windows(evidence: Evidence, course: Course) -> list[Violation]:
    """I14: see the module."""
    found: list[Violation] = []
    arrivals: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in evidence.arrivals:
        arrivals[arrival.job_id].append(arrival)
    times = _Times(evidence, course)
    taken = [word for word in evidence.words if word.result and word.answer == "ok"]
    done = {(word.execution_id, word.attempt): word.at for word in reversed(taken)}  # the first of each counts
    for job_id in evidence.revisions:
        due = _due(evidence, course, job_id, arrivals[job_id])
        excused = _Excuses(evidence, course, job_id, times)
        found += _missing(evidence, due, arrivals[job_id], excused)
        found += _strangers(evidence, course, due.all, arrivals[job_id])
        found += _overlapping(course, arrivals[job_id], done)
    return found


def _due(evidence: Evidence, course: Course, job_id: str, arrivals: list[Arrival]) -> Due:
    due = Due([], [], set())
    known = {arrival.scheduled_s for arrival in arrivals}
    known |= {record.scheduled_s for record in evidence.records.get(job_id, []) if isinstance(record, Execution)}
    for span in course.spans[job_id]:
        due.all.update(span.instants)
        if span.is_paused:
            continue
        late_s = LATE_S + (parse_duration(span.job.spec.jitter) / 1e6 if span.job.spec.jitter else 0.0)
        for instant in span.instants:
            if instant in known:
                key = execution_id(job_id, Kind.SCHEDULE, str(instant), instant)
                due.windows.append(Window(instant, instant - EARLY_S, instant + late_s, key))
            else:
                due.bare.append(instant)
    return due


def _missing(evidence: Evidence, due: Due, arrivals: list[Arrival], excuses: _Excuses) -> list[Violation]:
    """(1) Each window has an arrival with its id; (2) and enough arrivals if ids did not count."""
    # Of what closes later nobody could have written a reason yet.
    until = (evidence.samples[-1].clock if evidence.samples else 0.0) - HEALED_S
    first: dict[str, Arrival] = {}
    for arrival in arrivals:
        first.setdefault(arrival.execution_id, arrival)
    in_time: list[Window] = []
    wrong: list[tuple[int, str]] = []
    for window in due.windows:
        came = first.get(window.execution_id)
        if window.closes > until:
            continue
        if came is not None and window.opens <= came.clock <= window.closes:
            in_time.append(window)
        elif why := excuses.wrong(window, came):
            wrong.append((window.instant_s, f"{window.execution_id}: {why}"))
    past = (instant for instant in due.bare if instant + LATE_S <= until)
    wrong += [(instant, why) for instant in past if (why := excuses.wrong_skip(instant))]
    found = [_not_kept(excuses.name, instant - evidence.begin_s, why) for instant, why in wrong[:FOUND_MAX]]
    unmatched = greedy(in_time, [arrival.clock for arrival in first.values() if arrival.series == 0])
    if unmatched:
        found.append(Violation("I14", f"{excuses.name}: {len(unmatched)} windows have no arrival of their own"))
    return found


def _not_kept(name: str, at: int, why: str) -> Violation:
    return Violation("I14", f"{name} due at {at:+d} s: {why}", at)


def greedy(windows: list[Window], arrivals: list[float]) -> list[Window]:
    """Match arrivals to windows, the window that closes first taking the earliest; return those left empty."""
    left = sorted(arrivals)
    empty: list[Window] = []
    for window in sorted(windows, key=lambda window: window.closes):
        place = next((n for n, at in enumerate(left) if window.opens <= at <= window.closes), None)
        if place is None:
            empty.append(window)
        else:
            left.pop(place)
    return empty


class _Times:
    """When things were wrong, and when jobs were busy.

    Attributes:
        faults: (began, healed) by the world's time.
        busy: By job, when its runs were open.
    """

    def __init__(self, evidence: Evidence, course: Course) -> None:
        self.faults = _fault_times(evidence)
        self.busy = _busy_times(course)
        self._faulty: dict[tuple[float, float], bool] = {}
        self._log = [entry.time_us / 1e6 for entry in evidence.entries]
        self._world = [entry.at for entry in evidence.entries]

    def world(self, instant_s: int) -> float:
        """Return about when the log's time passed this instant."""
        place = bisect_right(self._log, float(instant_s))
        return self._world[place] if place < len(self._world) else float("inf")

    def are_faulty(self, since: float, until: float) -> bool:
        """Whether something was wrong, or had just healed, between two moments of the world's time."""
        answer = self._faulty.get((since, until))
        if answer is None:
            answer = any(began <= until and healed + HEALED_S >= since for began, healed in self.faults)
            self._faulty[since, until] = answer
        return answer


class _Excuses:
    """What may excuse a window that was missed, for one job."""

    def __init__(self, evidence: Evidence, course: Course, job_id: str, times: _Times) -> None:
        self.name = evidence.revisions[job_id][-1].name
        self._course = course
        self._times = times
        records = evidence.records.get(job_id, [])
        self._ranges = _Ranges([record for record in records if isinstance(record, RangeRecord)])
        self._executions = {r.id: r for r in records if isinstance(r, Execution)}
        self._busy = times.busy.get(job_id, [])
        self._pauses = [(span.after_s, span.to_s) for span in course.spans[job_id] if span.is_paused]

    def wrong(self, window: Window, arrival: Arrival | None) -> str:
        """Return what is wrong with a missed window; empty when it is excused."""
        execution = self._executions.get(window.execution_id)
        if execution is None:
            return self.wrong_skip(window.instant_s)
        return self._wrong_run(window, execution, arrival)

    def wrong_skip(self, instant_s: int) -> str:
        """Return what is wrong with an instant that did not run; empty when it is excused."""
        reasons = self._ranges.reasons(instant_s)
        if not reasons:
            return "it neither arrived nor has a record"
        if any(self._is_legal(reason, instant_s) for reason in reasons):
            return ""
        return f"skipped as {reasons[0].value}, and nothing had happened that explains it"

    def _is_legal(self, reason: SkipReason, instant_s: int) -> bool:
        """Whether what is known from outside explains this reason to skip."""
        if reason in _NEEDS_A_FAULT:
            return self._is_faulty(instant_s, None)
        if reason is SkipReason.PAUSED and any(a - _EDIT_S <= instant_s <= b + _EDIT_S for a, b in self._pauses):
            return True
        if reason is SkipReason.PAUSED and not any(a >= instant_s for a, _ in self._pauses):
            return False
        # What had to wait meets other runs than at its time, or a pause.
        window = Window(instant_s, instant_s - EARLY_S, instant_s + LATE_S, "")
        return reason in _NEEDS_TO_WAIT and (self._is_busy(window, window.closes) or self._is_faulty(instant_s, None))

    def _wrong_run(self, window: Window, execution: Execution, arrival: Arrival | None) -> str:
        if arrival is not None and arrival.clock < window.opens:
            return f"it arrived {window.instant_s - arrival.clock:.3f} s early"
        if arrival is None and execution.status is Status.CANCELLED:
            return ""  # somebody wanted it so, and it says who
        if arrival is None and execution.is_terminal:
            ended_s = execution.ended_at_us // 1_000_000
            is_lost = execution.reason.startswith("unknown") and self._is_faulty(ended_s, None)
            is_explained = is_lost or self._waited(execution) or self._is_faulty(window.instant_s, None)
            if execution.status is not Status.SUCCESS and is_explained:
                return ""
            return f"it is {execution.status.value} and never arrived: {execution.reason}"
        decided = max(window.closes, execution.decided_at_us / 1e6 + LATE_S)
        if self._waited(execution) or self._is_busy(window, decided):
            return ""
        if self._is_faulty(window.instant_s, arrival.at if arrival is not None else None):
            return ""
        if arrival is None:
            return "it is open and never arrived"
        return f"it arrived {arrival.clock - window.instant_s:.3f} s late, and nothing had gone wrong"

    def _waited(self, execution: Execution) -> str:
        """Return why it was taken back once before it was sent: an open breaker, a full host."""
        reasons = [step.execution.reason for step in self._course.steps.get(execution.id, ())]
        return next((reason for reason in reasons if reason.startswith(_WAITS)), "")

    def _is_busy(self, window: Window, until: float) -> bool:
        """Whether another run of the job held its slot, or stood in line, when this one was due and decided."""
        return any(
            begins <= until and ends >= window.opens for begins, ends, key in self._busy if key != window.execution_id
        )

    def _is_faulty(self, instant_s: int, arrived: float | None) -> bool:
        """Whether something was wrong between the instant and its arrival, by the world's time."""
        at = self._times.world(instant_s)
        return self._times.are_faulty(at - 1.0, arrived if arrived is not None else at + LATE_S)


class _Ranges:
    """The ranges of one job, to be asked by instant. They may lie in each other: a pause may meet an outage."""

    def __init__(self, ranges: list[RangeRecord]) -> None:
        self._ordered = sorted(ranges, key=lambda record: (record.first_s, record.last_s))
        self._firsts = [record.first_s for record in self._ordered]
        self._reach = list(accumulate((record.last_s for record in self._ordered), max))

    def reasons(self, instant_s: int) -> list[SkipReason]:
        """Return the reasons of the ranges that hold this instant."""
        found: list[SkipReason] = []
        place = bisect_right(self._firsts, instant_s) - 1
        while place >= 0 and self._reach[place] >= instant_s:
            if self._ordered[place].last_s >= instant_s:
                found.append(self._ordered[place].reason)
            place -= 1
        return found


def _fault_times(evidence: Evidence) -> list[tuple[float, float]]:
    times: list[tuple[float, float]] = []
    for trouble in evidence.troubles:
        healed = trouble.healed if trouble.healed >= 0 else float("inf")
        if trouble.facts.get("brief"):  # others take over, and then nothing is excused until it comes back
            times += [(trouble.began, min(healed, trouble.began + TAKEN_OVER_S)), (healed, healed)]
        else:
            times.append((trouble.began, healed))
    # Between two lives of a machine that stands alone nobody sends, whoever ended the first.
    lives = sorted(evidence.lives, key=lambda life: life.number)
    if len({life.node for life in lives}) == 1:
        for before, after in zip([None, *lives], lives, strict=False):
            times.append((before.ended if before is not None else 0.0, after.ready))
    return times


def _busy_times(course: Course) -> dict[str, list[tuple[float, float, str]]]:
    """Return by job (from, until, execution) in log time: from when it could start to its end."""
    found: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for key, steps in course.steps.items():
        first, last = steps[0], steps[-1]
        ends = last.entry.time_us / 1e6 if last.execution.is_terminal else float("inf")
        begins = max(first.entry.time_us / 1e6, min(s.execution.effective_us for s in steps) / 1e6 - LATE_S)
        found[first.execution.job_id].append((begins, ends + LATE_S, key))
    return found


def _strangers(evidence: Evidence, course: Course, owed: set[int], arrivals: list[Arrival]) -> list[Violation]:
    """(3) What arrives was due, or was asked for."""
    found: list[Violation] = []
    for arrival in arrivals:
        steps = course.steps.get(arrival.execution_id, [])
        if steps and steps[0].execution.kind is not Kind.SCHEDULE:
            continue
        expected = execution_id(arrival.job_id, Kind.SCHEDULE, str(arrival.scheduled_s), arrival.scheduled_s)
        if arrival.execution_id != expected:
            what = f"{arrival.job_name} {arrival.execution_id} is not the id of its instant"
            found.append(Violation("I14", what, arrival.at))
        elif arrival.scheduled_s not in owed and not _was_edited(evidence, arrival):
            at = arrival.scheduled_s - evidence.begin_s
            found.append(
                Violation("I14", f"{arrival.job_name} arrived for {at:+d} s, when nothing was due", arrival.at)
            )
    return found


def _was_edited(evidence: Evidence, arrival: Arrival) -> bool:
    """Whether the job was changed about then: what had left by the old definition cannot be called back."""
    times_us = [job.owed_since_us for job in evidence.revisions[arrival.job_id]]
    times_us += [evidence.deleted[arrival.job_id]] if arrival.job_id in evidence.deleted else []
    due_us = arrival.scheduled_s * 1_000_000
    return any(abs(due_us - time_us) <= 1_500_000 for time_us in times_us)


def _overlapping(course: Course, arrivals: list[Arrival], done: dict[tuple[str, int], float]) -> list[Violation]:
    """(5) Under forbid, queue and replace no attempt begins before the one before it was closed, or reported `done`."""
    found: list[Violation] = []
    open_until, holder, held = 0.0, "", None
    for arrival in sorted(arrivals, key=lambda arrival: arrival.at):
        grant = course.grants.get((arrival.execution_id, arrival.series, arrival.attempt, arrival.token))
        job: Job | None = grant.job if grant is not None else None
        closed = arrival.closed if arrival.closed >= 0 else float("inf")
        said = done.get((arrival.execution_id, arrival.attempt), closed)
        # Work that goes on ends with its word, any other with its answer, or with a word before that. A later word is
        # for another attempt: after a restore one may have had the same number.
        closed = said if arrival.answer == "202" else min(said, closed)
        if grant is not None and job is not None and not grant.execution.force:
            alone = Concurrency.ALLOW not in (job.spec.concurrency, (grant.first or job).spec.concurrency)
            alone = alone and not _let_in_beside(held, grant)
            if alone and arrival.at < open_until - 1e-6 and arrival.execution_id != holder:
                what = f"{arrival.job_name} {arrival.execution_id} began before {holder} was closed"
                found.append(Violation("I6", what, arrival.at))
        # Who granted an execution's next attempt had given up the one before; a restore forgets what it knew of it.
        is_next = arrival.execution_id == holder
        if (is_next or closed > open_until) and not (grant is not None and grant.execution.force):
            open_until, holder, held = closed, arrival.execution_id, grant
    return found


def _let_in_beside(held: Grant | None, grant: Grant) -> bool:
    """Whether the job was edited to allow runs beside others once `grant` was given, and `held` was given by that."""
    if held is None or held.job is None:
        return False
    return held.job.spec.concurrency is Concurrency.ALLOW and held.entry.index > grant.entry.index
