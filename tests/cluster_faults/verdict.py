"""Whether everything came that was due, once, in time and in order: judged by the target's own log.

The question is that of Jepsen's checker for cron systems: is there a run for each instant that was due, within its
window, and no run besides? The windows are computed here, from what the jobs are, and not asked of the product. What
nodes say of themselves is believed only where the target saw the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

from tests.cluster_faults.evidence import LEASE_S, Evidence, Fault, Record, Try
from tests.cluster_faults.load import group_of
from tests.torture.witness import Arrival, seconds

OK = 200
EARLY_S = 0.05
HEALTHY_S = 2.0
"""How late an execution may come while nothing is wrong, on a machine that does other things as well."""
FAILOVER_S = 8.0
"""How late one may come that was under way at a fault, or that became due before the others had taken over."""
RECOVERY_S = 12.0
"""How long after the end of a fault without a quorum everything has come that was due meanwhile, at one a second."""
IN_FLIGHT_S = 1.5
"""What came so long before a fault may have been under way when it began: it was not written down yet."""
NOT_WRITTEN_S = 0.5
"""So long before a fault a run that took longer than that may have been answered, and not be written down yet."""
AFTER_S = 6.0
"""So long after its end a fault is still felt."""
LATE_BATCH_S = 2.0
"""A node that stood still sends what it was about to send this soon after it goes on, or not at all."""
GIVEN_UP_S = 4.0
"""No attempt is given up sooner while its connection lasts: jobs time out then, and a node is lost later still."""
UNDER_FAULTS = frozenset({"misfire", "coalesced"})


def violations(evidence: Evidence) -> list[str]:
    """Return what is wrong; nothing, if all is well."""
    checks = (
        due_and_not_in_time,
        windows_without_a_run_of_their_own,
        runs_nobody_planned,
        sent_twice_without_cause,
        overlapping_runs,
        tokens_going_back,
        instants_without_one_record,
        history_and_target_disagree,
        nodes_disagree,
        not_verified,
    )
    return [f"{check.__name__.replace('_', ' ')}: {found}" for check in checks for found in check(evidence)]


def window_of(evidence: Evidence, instant: int) -> tuple[float, float]:
    """Return from when to when the run of an instant may arrive."""
    opens, closes = instant - EARLY_S, instant + HEALTHY_S
    for fault in evidence.disturbances:
        if not fault.began - IN_FLIGHT_S <= instant <= fault.healed + AFTER_S + fault.clock_s:
            continue
        opens = min(opens, instant - EARLY_S - fault.clock_s)
        closes = max(closes, instant + FAILOVER_S + fault.clock_s)
        if not fault.keeps_quorum:
            closes = max(closes, fault.healed + RECOVERY_S + (fault.healed - fault.began))
    return opens, closes


def due_and_not_in_time(evidence: Evidence) -> Iterator[str]:
    """Every instant that was due has arrived within its window, under one id."""
    came: dict[tuple[str, int], list[Arrival]] = defaultdict(list)
    for arrival in evidence.arrivals:
        came[arrival.job, seconds(arrival.due)].append(arrival)
    for job in evidence.since:
        for instant in evidence.due(job) if group_of(job).every_instant else ():
            runs = came[job, instant]
            opens, closes = window_of(evidence, instant)
            if not runs:
                yield f"{job} at {instant} never came"
            elif not any(opens <= run.at <= closes for run in runs):
                late = f"{runs[0].at - instant:+.2f} s"
                yield f"{job} at {instant} came at {late}, allowed until {closes - instant:+.2f} s"
            if len({run.id for run in runs}) > 1:
                yield f"{job} at {instant} came under several ids: {sorted({run.id for run in runs})}"


def windows_without_a_run_of_their_own(evidence: Evidence) -> Iterator[str]:
    """Whatever instants runs say they are for: they can be dealt out so that each window has one."""
    firsts = {run.id: run for run in sorted(evidence.arrivals, key=lambda run: -run.at)}
    by_job = _by_job(firsts.values())
    for job in evidence.since:
        if not group_of(job).every_instant:
            continue
        due = evidence.due(job)
        windows = [(instant, *window_of(evidence, instant)) for instant in due]
        judged = [run.at for run in by_job[job] if due.start <= seconds(run.due) < due.stop]
        empty, left = matched(windows, sorted(judged))
        for instant in empty:
            yield f"{job}: no run is left for {instant}"
        if left:
            yield f"{job}: {left} runs are left over"


def matched(windows: Iterable[tuple[int, float, float]], runs: Iterable[float]) -> tuple[list[int], int]:
    """Deal out runs to windows; return the instants that have none, and how many runs are left over.

    Each run, the earliest first, goes to the window that is open and closes first. No other way of dealing out
    serves more windows.
    """
    waiting = sorted(windows, key=lambda each: each[2])
    left = 0
    for run in runs:
        index = next((n for n, (_, opens, closes) in enumerate(waiting) if opens <= run <= closes), None)
        if index is None:
            left += 1
        else:
            del waiting[index]
    return sorted(instant for instant, _, _ in waiting), left


def runs_nobody_planned(evidence: Evidence) -> Iterator[str]:
    """Nothing comes for an instant at which the job is not due, and nothing before its time."""
    for arrival in evidence.arrivals:
        instant = seconds(arrival.due)
        if instant % group_of(arrival.job).every_s:
            yield f"{arrival.job} came for {instant}, at which it is not due"
        elif arrival.at < window_of(evidence, instant)[0]:
            yield f"{arrival.job} at {instant} came {instant - arrival.at:.2f} s early"


def sent_twice_without_cause(evidence: Evidence) -> Iterator[str]:
    """What reached the target without being refused is not sent again, but for what a fault cut off; then by its id."""
    history = _newest(evidence)
    for key, runs in _by_id(evidence.arrivals).items():
        unrefused = [run for run in runs if run.status in (0, OK)]
        record = history.get(key)
        for run in unrefused if len(unrefused) > 1 and record is not None else ():
            attempt = _attempt(record, run.attempt)
            if attempt is None:
                yield f"{key} of {run.job}: attempt {run.attempt} is not in history"
            elif not _counts(record, attempt, unrefused) and not _is_excused(evidence, run, attempt):
                sent_by = f"{attempt.status}, by {attempt.node}"
                yield f"{key} of {run.job}: attempt {run.attempt} at {run.at:.2f} ({sent_by}) was no fault's"
    for key, n in evidence.repeated:
        attempt = _attempt(history.get(key), n)
        if attempt is None or not attempt.resent:
            yield f"{key}: attempt {n} came twice, and is not recorded as sent again"


def _counts(record: Record | None, attempt: Try, unrefused: list[Arrival]) -> bool:
    """Whether this is the one run that may be there without an excuse: the last that history says succeeded."""
    assert record is not None
    succeeded = [each.n for each in record.tries if each.status == "success"]
    return attempt.n == max(succeeded or [run.attempt for run in unrefused])


def _is_excused(evidence: Evidence, run: Arrival, attempt: Try) -> bool:
    return attempt.status != "success" and any(
        attempt.node in fault.nodes
        and (fault.began - IN_FLIGHT_S <= run.at or fault.began - NOT_WRITTEN_S <= run.until)
        and run.at <= fault.healed + AFTER_S
        for fault in evidence.disturbances
    )


def duplicates(evidence: Evidence) -> int:
    """Return how many runs came although one that was not refused had come before."""
    by_id = _by_id(evidence.arrivals).values()
    return sum(max(0, sum(run.status in (0, OK) for run in runs) - 1) for runs in by_id)


def overlapping_runs(evidence: Evidence) -> Iterator[str]:
    """Of a job that runs alone nothing comes while another run of it goes on, but for what nobody can exclude."""
    history = _newest(evidence)
    for job, runs in _by_job(evidence.arrivals).items():
        for before, after in _overlapping(runs) if group_of(job).alone else ():
            if not _nobody_can_exclude(evidence, history, before, after):
                yield f"{job}: {after.id} came {before.until - after.at:.2f} s before {before.id} was over"


def _overlapping(runs: Iterable[Arrival]) -> Iterator[tuple[Arrival, Arrival]]:
    """Yield each two runs of which the second came while the first went on.

    Of an attempt that came twice only the second counts: a connection that had closed without a word brought the
    first, and `sent_twice_without_cause` asks whether that is written down.
    """
    going_on: list[Arrival] = []
    for after in sorted({(run.id, run.attempt): run for run in runs}.values(), key=lambda run: run.at):
        going_on = [before for before in going_on if after.at < before.until - EARLY_S]
        yield from ((before, after) for before in going_on)
        going_on.append(after)


def _nobody_can_exclude(evidence: Evidence, history: dict[str, Record], before: Arrival, after: Arrival) -> bool:
    """Whether two runs overlap as the promises allow: each of these is named there, and nothing else is.

    A node that stood still between its last look and the write sends late what is no longer its to send. A target may
    go on with what was given up: its attempt has timed out, or its node was lost, neither of which is sooner than
    `GIVEN_UP_S` after it came. And while the target itself stood still, its own log cannot say what came first.
    """
    if any(since <= after.at <= until + EARLY_S for since, until in evidence.stalls):
        return True
    if any(_is_a_late_batch(evidence, history, run) for run in (before, after)):
        return True
    attempt = _attempt(history.get(before.id), before.attempt)
    was_given_up = attempt is not None and before.status in (0, OK) and _is_excused(evidence, before, attempt)
    return was_given_up and after.at - before.at >= GIVEN_UP_S - EARLY_S


def _is_a_late_batch(evidence: Evidence, history: dict[str, Record], run: Arrival) -> bool:
    """Whether a node that had stood still sent it when it went on, and it was another's by then."""
    attempt = _attempt(history.get(run.id), run.attempt)
    return attempt is not None and attempt.status != "success" and _went_on_just_now(evidence, run, attempt)


def tokens_going_back(evidence: Evidence) -> Iterator[str]:
    """A later attempt has a higher token, and once a term has begun nothing of an earlier one comes for long."""
    history = _newest(evidence)
    for record in history.values():
        for one, other in pairwise(record.tries):
            if other.token <= one.token:
                yield f"{record.id}: attempt {other.n} has {other.token}, and attempt {one.n} had {one.token}"
    began: dict[int, float] = {}
    for run in sorted(evidence.arrivals, key=lambda run: run.at):
        attempt = _attempt(history.get(run.id), run.attempt)
        token = tuple(int(part) for part in run.token.split("."))
        if attempt is not None and attempt.token != token:
            yield f"{run.id}: attempt {run.attempt} came with {token}, and was granted with {attempt.token}"
        term = token[1]
        began.setdefault(term, run.at)
        newer = [at for each, at in began.items() if each > term]
        if newer and run.at - min(newer) > LEASE_S and not _went_on_just_now(evidence, run, attempt):
            yield f"{run.id}: term {term} came {run.at - min(newer):.2f} s after a newer one"


def _went_on_just_now(evidence: Evidence, run: Arrival, attempt: Try | None) -> bool:
    return attempt is not None and any(
        fault.pauses and attempt.node in fault.nodes and 0 <= run.at - fault.healed <= LATE_BATCH_S
        for fault in evidence.disturbances
    )


def instants_without_one_record(evidence: Evidence) -> Iterator[str]:
    """On every node, each instant lies in one record or one range, and in one only."""
    for node, book in evidence.books.items():
        found: Counter[tuple[str, int]] = Counter((each.job, each.due) for each in (*book.records, *book.open))
        found.update((skipped.job, instant) for skipped in book.ranges for instant in skipped.instants)
        for job in evidence.since:
            for instant in evidence.due(job):
                if found[job, instant] != 1:
                    yield f"{node}: {job} has {found[job, instant]} records of {instant}"


def history_and_target_disagree(evidence: Evidence) -> Iterator[str]:
    """A success was answered 200, what was skipped has not come, for a reason there was, and all that came is known."""
    runs = _by_id(evidence.arrivals)
    history = _newest(evidence)
    first, last = evidence.window
    for record in history.values():
        came = runs.get(record.id, [])
        if not first <= record.due <= last:
            continue
        if record.status == "success" and not any(run.status == OK for run in came):
            yield f"{record.id} of {record.job} is a success, and the target never said so"
        elif record.status == "skipped" and came:
            yield f"{record.id} of {record.job} was skipped, and came"
        elif record.status not in ("success", "skipped"):
            yield f"{record.id} of {record.job} at {record.due} has come to {record.status}"
        if [each.n for each in record.tries] != list(range(1, len(record.tries) + 1)):
            yield f"{record.id} has the attempts {[each.n for each in record.tries]}"
    for key in runs.keys() - history.keys():
        if first <= seconds(runs[key][0].due) <= last:
            yield f"{key} of {runs[key][0].job} came, and history does not know it"
    for node, book in evidence.books.items():
        for skipped in book.ranges:
            if not _may_be_skipped(evidence, skipped.job, skipped.reason, skipped.first):
                yield f"{node}: {skipped.job} was skipped from {skipped.first} to {skipped.last} ({skipped.reason})"


def _may_be_skipped(evidence: Evidence, job: str, reason: str, instant: int) -> bool:
    if instant < evidence.window[0] or instant > evidence.window[1]:
        return True
    if group_of(job).every_instant:
        return False
    if reason == "overlap":
        return True
    return reason in UNDER_FAULTS and any(_covers(each, instant) for each in evidence.disturbances)


def _covers(fault: Fault, instant: int) -> bool:
    return fault.began - IN_FLIGHT_S <= instant <= fault.healed + AFTER_S


def nodes_disagree(evidence: Evidence) -> Iterator[str]:
    """All nodes have the same records, word for word."""
    [(one, book), *others] = evidence.books.items()
    for other, its in others:
        if dict(its.data) != dict(book.data):
            differ = [key for key in its.data.keys() | book.data.keys() if its.data.get(key) != book.data.get(key)]
            yield f"{one} and {other} differ in {len(differ)}: {sorted(differ)[:3]}"


def not_verified(evidence: Evidence) -> Iterator[str]:
    """`chronos verify` has nothing against any node's export."""
    for node, book in evidence.books.items():
        yield from (f"{node}: {wrong}" for wrong in book.wrong)


def _attempt(record: Record | None, n: int) -> Try | None:
    return next((each for each in record.tries if each.n == n), None) if record is not None else None


def _newest(evidence: Evidence) -> dict[str, Record]:
    """Return what history says, from the node that knows most of it."""
    return max((book.by_id() for book in evidence.books.values()), key=len)


def _by_job(arrivals: Iterable[Arrival]) -> dict[str, list[Arrival]]:
    found: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        found[arrival.job].append(arrival)
    return found


def _by_id(arrivals: Iterable[Arrival]) -> dict[str, list[Arrival]]:
    found: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        found[arrival.id].append(arrival)
    return found
