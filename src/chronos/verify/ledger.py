"""One job's records against what it owed, one stretch of time after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chronos.verify.hashes import execution_id, execution_number, number_in
from chronos.verify.lines import Row
from chronos.verify.lives import FOREVER_S, Life, Resets
from chronos.verify.plain import STATUSES, Ran
from chronos.verify.reading import Export
from chronos.verify.report import JobCounts, Report, Wrong


@dataclass
class Stretch:
    """What a job owed in (after_s, to_s].

    Attributes:
        runs: Instants that ran or were skipped for some reason, ascending; `left_out` those of its calendar.
        may: Instants that may have a record and need none; `may_left_out` likewise.
        ahead: Of `may`, those that an earlier definition may have decided before it was replaced: their records may
            say what became of the instant instead of those that the later one would have made. `ahead_left_out` are
            those that its calendar left out.
        in_pause: Those of `may` that wait for the end of a pause.
        opens: Instants whose executions have not ended.
        leaves: Numbers (in their ids) of executions that are not here, but whose hashes are.
    """

    after_s: int
    to_s: int
    runs: list[int] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)
    may: set[int] = field(default_factory=set)
    may_left_out: set[int] = field(default_factory=set)
    ahead: set[int] = field(default_factory=set)
    ahead_left_out: set[int] = field(default_factory=set)
    in_pause: set[int] = field(default_factory=set)
    opens: set[int] = field(default_factory=set)
    leaves: set[int] = field(default_factory=set)


class Gone:
    """The stretches of time whose records retention has taken, segment by segment."""

    def __init__(self, export: Export) -> None:
        dropped = [s for s, _ in export.seals if (drop := export.drops.get(s.segment)) is not None and drop.whole]
        taken = [seal for seal in dropped if seal.segment not in export.segments]
        self._spans = [(seal.first_s, seal.last_s) for seal in taken if seal.rows]
        self._most = sum(seal.executions + seal.skipped for seal in taken)
        self._used = 0

    def takes(self, instant: int) -> bool:
        """Whether the record of an instant may be among what is gone; if so, it counts."""
        if not any(first <= instant <= last for first, last in self._spans):
            return False
        self._used += 1
        return True

    def check(self, report: Report) -> None:
        """Say so when more is missing than was taken."""
        if self._used > self._most:
            report.wrong(
                Wrong.TOO_MUCH_GONE,
                f"{self._used} instants have no record where retention has taken the records of {self._most}",
                instant_s=min(first for first, _ in self._spans),
                until_s=max(last for _, last in self._spans),
            )


class _Range:
    """A range record whose end has not been reached.

    Attributes:
        used: Instants it accounts for so far; `spare` are those that it may account for, too.
        is_endless: Only its hash is here: nobody knows how far it reached.
    """

    def __init__(self, row: Row) -> None:
        self.is_endless = row.type == "leaf"
        parts = row.id.split("_")
        self.first_s = row.due_s
        self.last_s = FOREVER_S if self.is_endless else row.last_s
        self.count = FOREVER_S if self.is_endless else row.count
        self.reason = parts[-1] if self.is_endless else row.reason
        self.used = 0
        self.spare = 0

    @property
    def is_blackout(self) -> bool:
        return self.reason == "blackout"

    def has(self, instant: int) -> bool:
        return self.first_s <= instant <= self.last_s


class Book:
    """What is known of one job as time is swept."""

    def __init__(self, life: Life, counts: JobCounts, report: Report, resets: Resets, gone: Gone) -> None:
        self._life = life
        self._counts = counts
        self._report = report
        self._resets = resets
        self._gone = gone
        self._ranges: list[_Range] = []

    @property
    def has_ranges(self) -> bool:
        """Whether a range record reaches into what comes next."""
        return bool(self._ranges)

    def settle(self, stretch: Stretch, records: list[Row], plain: Sequence[Ran] = ()) -> None:
        """Account for a stretch of time with the records that are about instants in it.

        Args:
            plain: Those of `records` that are not among them, because they are as most are.
        """
        ran = self._plain(plain)
        self._add_executions([row for row in records if row.type == "execution"], ran, stretch)
        self._take_ranges([row for row in records if row.type != "execution"], stretch)
        self._end_endless(ran, stretch)
        self._check_owed(ran, stretch)
        self._counts.planned += len(stretch.runs)
        self._counts.ended.update([ran[instant] for instant in stretch.runs if instant in ran])
        for instant in stretch.runs if any(instant not in ran for instant in stretch.runs) else ():
            if instant in ran:
                continue
            if instant in stretch.opens:
                self._counts.ended["open"] += 1
            else:
                self._account_without_row(instant, stretch, is_blackout=False)
        for instant in stretch.left_out:
            self._counts.planned += 1
            if instant in stretch.opens:
                self._counts.ended["open"] += 1
            elif instant not in ran:
                self._account_without_row(instant, stretch, is_blackout=True)
        self._spare(ran, stretch)
        self._close(stretch)

    def finish(self, to_s: int) -> None:
        """Look at the ranges that reach beyond the last instant there was."""
        for record in self._ranges:
            if not record.is_endless and record.last_s > to_s and record.used > record.count:
                self._tell_of_range(record)
        self._ranges = []

    # Executions.

    def _plain(self, parts: Sequence[Ran]) -> dict[int, str]:
        """Return what became of due instants; whether the same is said twice of one, the hashes of the lines tell."""
        ran: dict[int, str] = {}
        marks: dict[int, bytes] = {}
        for part in parts:
            if len(parts) > 1:
                for instant, mark in part.marked():
                    if marks.setdefault(instant, mark) != mark:
                        self._tell_of_twice(instant)
            ran.update(zip(part.instants, map(STATUSES.__getitem__, part.statuses), strict=True))
        return ran

    def _tell_of_twice(self, instant: int) -> None:
        if not self._resets.is_twice(instant):
            what = f"execution {self._id_at(instant)} is there twice, and differs"
            self._wrong(Wrong.INSTANT_TWICE, what, instant)

    def _id_at(self, instant: int) -> str:
        return execution_id(execution_number(self._life.job_id, "schedule", str(instant), instant))

    def _add_executions(self, rows: list[Row], ran: dict[int, str], stretch: Stretch) -> None:
        """Add executions of due instants to those that `ran`, and check each by itself."""
        failed = {(row.id, row.series) for row in rows if row.status == "failed"}
        seen: dict[int, Row] = {}
        for row in rows:
            self._check_alone(row)
            if row.kind != "schedule" or row.series:
                self._counts.by_hand += row.kind != "schedule" and row.series == 0
                continue
            instant = row.scheduled_s
            known = seen.setdefault(instant, row)
            if (known is not row and known != row) or ran.get(instant, row.status) != row.status:
                self._tell_of_twice(instant)
            ran.setdefault(instant, row.status)
        for row in rows:
            has_failed = (row.id, row.series - 1) in failed or (
                row.series == 1 and ran.get(row.scheduled_s) == "failed"
            )
            if row.series and not has_failed and number_in(row.id) not in stretch.leaves:
                self._check_redriven(row)

    def _check_alone(self, row: Row) -> None:
        expected = execution_number(row.job_id, row.kind, row.discriminator, row.scheduled_s)
        if number_in(row.id) != expected or (row.kind == "schedule" and row.discriminator != str(row.scheduled_s)):
            self._wrong(Wrong.ID_WRONG, f"{row.id} is not the id of its job and instant", row.scheduled_s)
        if row.revision not in self._life.revisions and self._life.is_complete:
            what = f"execution {row.id} is of revision {row.revision}, and there is none"
            self._wrong(Wrong.REVISION_UNKNOWN, what, row.scheduled_s)

    def _check_redriven(self, row: Row) -> None:
        if not self._gone.takes(row.scheduled_s):
            what = (
                f"execution {row.id} was started anew (series {row.series}), and series {row.series - 1} has not failed"
            )
            self._wrong(Wrong.REDRIVE_WITHOUT_FAILURE, what, row.scheduled_s)

    def _check_owed(self, ran: dict[int, str], stretch: Stretch) -> None:
        if not ran:
            return
        for instant in ran.keys() - set(stretch.runs) - stretch.may:
            if not self._resets.touch(instant, instant) and stretch.after_s < instant:
                self._wrong(Wrong.INSTANT_NOT_OWED, f"execution {self._id_at(instant)}: nothing was due then", instant)

    # What has no row of its own.

    def _account_without_row(self, instant: int, stretch: Stretch, *, is_blackout: bool) -> None:
        covering = [r for r in self._ranges if r.used < r.count and r.has(instant) and r.is_blackout is is_blackout]
        if not covering and instant in (stretch.ahead if is_blackout else stretch.ahead_left_out):
            covering = [r for r in self._ranges if r.used < r.count and r.has(instant)]
        if covering:
            # The range that ends first: the others have time to find their instants.
            record = min(covering, key=lambda each: each.last_s)
            record.used += 1
            self._counts.skipped[record.reason] += 1
        elif self._has_leaf(instant, stretch) or self._gone.takes(instant):
            self._counts.gone += 1
        elif self._resets.is_twice(instant) and any(r.has(instant) for r in self._ranges):
            self._counts.skipped["twice"] += 1
        else:
            self._counts.unaccounted += 1
            self._wrong(Wrong.INSTANT_MISSING, "no record of this instant", instant)

    def _has_leaf(self, instant: int, stretch: Stretch) -> bool:
        if not stretch.leaves:
            return False
        return execution_number(self._life.job_id, "schedule", str(instant), instant) in stretch.leaves

    # Ranges.

    def _take_ranges(self, rows: list[Row], stretch: Stretch) -> None:
        newest: dict[str, Row] = {}
        for row in rows:
            known = newest.get(row.row_id)
            if known is None or (known.type != "range" and row.type == "range") or row.count > known.count:
                newest[row.row_id] = row
        for row in newest.values():
            record = _Range(row)
            self._ranges.append(record)
            if stretch.after_s < record.first_s:
                self._check_bound(record, record.first_s, stretch)

    def _check_bound(self, record: _Range, instant: int, stretch: Stretch) -> None:
        owed, may = (stretch.left_out, stretch.may_left_out) if record.is_blackout else (stretch.runs, stretch.may)
        if instant in may or instant in owed or record.is_endless or self._resets.touch(record.first_s, record.last_s):
            return
        what = f"a range record ({record.reason}) begins or ends at an instant that was not due"
        self._wrong(Wrong.INSTANT_NOT_OWED, what, instant)

    def _end_endless(self, ran: dict[int, str], stretch: Stretch) -> None:
        """A range of which only the hash is here reached at most to the next record of the job."""
        endless = [record for record in self._ranges if record.is_endless and record.last_s == FOREVER_S]
        if not endless:
            return
        others = [*ran, *stretch.opens, *(record.first_s for record in self._ranges)]
        for record in endless:
            later = [instant for instant in others if record.first_s < instant <= stretch.to_s]
            record.last_s = min(later) - 1 if later else FOREVER_S

    def _spare(self, ran: dict[int, str], stretch: Stretch) -> None:
        if not stretch.may and not stretch.may_left_out:
            return
        for record in self._ranges:
            may = stretch.may_left_out if record.is_blackout else stretch.may
            record.spare += sum(1 for instant in may if instant not in ran and record.has(instant))
        self._counts.in_pause += sum(
            1 for t in stretch.in_pause if t not in ran and not any(record.has(t) for record in self._ranges)
        )

    def _close(self, stretch: Stretch) -> None:
        left = []
        for record in self._ranges:
            if record.last_s > stretch.to_s:
                left.append(record)
                continue
            if record.is_endless or self._resets.touch(record.first_s, record.last_s):
                continue
            if record.last_s > stretch.after_s:
                self._check_bound(record, record.last_s, stretch)
            if record.used + record.spare < record.count:
                self._tell_of_range(record)
        self._ranges = left

    def _tell_of_range(self, record: _Range) -> None:
        found = record.used + record.spare
        what = f"a range record ({record.reason}) counts {record.count} instants; {found} were due and did not run"
        self._report.wrong(
            Wrong.RANGE_DIFFERS,
            what,
            job=self._life.name,
            job_id=self._life.job_id,
            instant_s=record.first_s,
            until_s=record.last_s,
        )

    def _wrong(self, kind: Wrong, what: str, instant: int) -> None:
        self._report.wrong(kind, what, job=self._life.name, job_id=self._life.job_id, instant_s=instant)
