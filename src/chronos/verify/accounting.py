"""Is every instant that was owed accounted for: did it run, was it skipped for a reason, is it in a range record?

Time is swept once, in stretches that are short when much is due. What is due in a stretch is computed, and the records
of the stretch are held against it; only ranges reach from one stretch into the next.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from chronos.verify.fields import NotUnderstood
from chronos.verify.hashes import execution_id, execution_number, number_in
from chronos.verify.ledger import Book, Gone, Stretch
from chronos.verify.lines import Row
from chronos.verify.lives import Life, Resets, lives_of
from chronos.verify.plain import Ran
from chronos.verify.reading import Export, Progress
from chronos.verify.report import JobCounts, Report, Wrong
from chronos.verify.rows import Rows
from chronos.verify.zones import Zones

_STRETCH_MIN_S: Final = 60
_STRETCH_MAX_S: Final = 32 * 86_400
_WORK_LOW: Final = 20_000
_WORK_HIGH: Final = 200_000


class Window:
    """The instants that are asked about: t with `after_s` < t <= `to_s`."""

    def __init__(self, after_s: int, to_s: int) -> None:
        self.after_s = after_s
        self.to_s = to_s


def window_of(export: Export, since_s: int | None, until_s: int | None) -> Window:
    """Return what can be asked about: what is decided, of what is in the export, and what was asked for."""
    header = export.header
    after_s = max(header.since_s, since_s or 0, _history_begins_s(export)) - 1
    limits = [header.hwm_s, *(limit for limit in (header.until_s, until_s) if limit)]
    return Window(after_s, min(limits))


def _history_begins_s(export: Export) -> int:
    """Return since when there is history; what ended before the first segment that anybody knows of is not known."""
    seals = [(seal.segment, seal.opened_us) for seal, _ in export.seals]
    segments = [(segment.number, segment.opened_us) for segment in export.segments.values()]
    number, opened_us = min(seals + segments, default=(1, 0))
    return opened_us // 1_000_000 if number > 1 else 0


def account(export: Export, report: Report, zones: Zones, window: Window, progress: Progress) -> None:
    """Hold every record against what was owed in the window, and the other way round."""
    report.from_s, report.to_s = window.after_s + 1, window.to_s
    sweep = _Sweep(export, report, zones, window)
    with Rows(export) as rows:
        sweep.run(rows, progress)


class _Sweep:
    """Goes through time once."""

    def __init__(self, export: Export, report: Report, zones: Zones, window: Window) -> None:
        self._export = export
        self._report = report
        self._zones = zones
        self._window = window
        self._resets = Resets(export.resets)
        self._gone = Gone(export)
        self._lives = lives_of(export, report)
        self._known = {life.job_id: life for life in self._lives}
        self._books: dict[str, Book] = {}
        self._unknown: set[str] = set()
        self._opens: dict[str, set[int]] = defaultdict(set)
        for row in export.opens:
            if row.kind == "schedule" and row.series == 0:
                self._opens[row.job_id].add(row.scheduled_s)

    def run(self, rows: Rows, progress: Progress) -> None:
        """Sweep from the first instant that anything is about to the end of the window."""
        window = self._window
        begin_s = min(
            [rows.next_s or window.to_s, *(span.after_s for life in self._lives for span in life.spans[:1])],
            default=window.to_s,
        )
        self._report.from_s = max(window.after_s + 1, begin_s)
        at, step = begin_s - 1, 3_600
        while at < window.to_s:
            to = min(at + step, window.to_s)
            work = self._stretch(rows, at, to)
            progress("accounting", (to - begin_s + 1) / max(1, window.to_s - begin_s + 1))
            at = to
            if work > _WORK_HIGH:
                step = max(_STRETCH_MIN_S, step // 2)
            elif work < _WORK_LOW:
                step = min(_STRETCH_MAX_S, step * 2)
        self._end(rows)

    def _stretch(self, rows: Rows, a: int, b: int) -> int:
        """Account for (a, b]; return about how much there was to do."""
        records: dict[str, list[Row]] = defaultdict(list)
        leaves: set[int] = set()
        work = 0
        for row in rows.up_to(b):
            work += 1
            self._sort_in(row, records, leaves)
        plain = rows.plain_up_to(b)
        for life in self._lives:
            book = self._books.get(life.job_id)
            mine, ran = records.pop(life.job_id, []), plain.get(life.job_id, [])
            if mine or ran or (book is not None and book.has_ranges) or any(life.spans_in(a, b)):
                work += self._account_for(life, mine, ran, leaves, a, b)
        for job_id, mine in records.items():
            self._tell_of_stranger(job_id, mine)
        return work

    def _sort_in(self, row: Row, records: dict[str, list[Row]], leaves: set[int]) -> None:
        if row.type != "leaf":
            records[row.job_id].append(row)
        elif row.id.startswith("rng_"):
            records[row.id[17:].rpartition("_")[0]].append(row)
        else:
            leaves.add(number_in(row.id) or 0)

    def _account_for(self, life: Life, records: list[Row], ran: list[Ran], leaves: set[int], a: int, b: int) -> int:
        book = self._books.get(life.job_id)
        if book is None:
            counts = self._report.jobs.setdefault(life.job_id, JobCounts(job=life.name))
            book = self._books[life.job_id] = Book(life, counts, self._report, self._resets, self._gone)
        try:
            stretch = self._owed_in(life, a, b)
        except NotUnderstood as bad:
            self._report.wrong(
                Wrong.NOT_UNDERSTOOD, f"what it owed cannot be computed: {bad}", job=life.name, job_id=life.job_id
            )
            self._lives.remove(life)
            return 1
        stretch.opens = self._opens.get(life.job_id, set())
        stretch.leaves = leaves
        book.settle(stretch, records, ran)
        return 1 + len(stretch.runs) + len(stretch.left_out)

    def _owed_in(self, life: Life, a: int, b: int) -> Stretch:
        """Return what must be accounted for in (a, b], and what may."""
        stretch = Stretch(a, b)
        for span in life.spans_in(a, b):
            runs, left_out = span.owed(a, b, self._zones)
            if self._are_all_needed(life, a, b) and span.is_sure and not (span.is_paused and span.is_last):
                stretch.runs += runs
                stretch.left_out += left_out
                continue
            must = [self._must_be_there(life, instant) for instant in runs]
            if (span.is_paused and span.is_last) or not span.is_sure:
                stretch.in_pause.update(t for t, needed in zip(runs, must, strict=True) if needed and span.is_sure)
                stretch.may.update(runs)
                stretch.may_left_out.update(left_out)
                continue
            stretch.runs += [t for t, needed in zip(runs, must, strict=True) if needed]
            stretch.may.update(t for t, needed in zip(runs, must, strict=True) if not needed)
            for instant in left_out:
                if self._must_be_there(life, instant):
                    stretch.left_out.append(instant)
                else:
                    stretch.may_left_out.add(instant)
        for span, low, high in life.ahead(a, b):
            ahead = span.decided(low, high, self._zones)
            stretch.ahead.update(ahead.runs)
            stretch.ahead_left_out.update(ahead.left_out)
        stretch.may |= stretch.ahead
        stretch.may_left_out |= stretch.ahead_left_out
        return stretch

    def _are_all_needed(self, life: Life, a: int, b: int) -> bool:
        """Whether every instant in (a, b] must be there, without asking for each."""
        window, header = self._window, self._export.header
        is_made_up_for = bool(header.catchup_to_s) and life.job_id > header.catchup_cursor
        return window.after_s <= a and b <= window.to_s and not self._export.resets and not is_made_up_for

    def _must_be_there(self, life: Life, instant: int) -> bool:
        header = self._export.header
        if not self._window.after_s < instant <= self._window.to_s or self._resets.is_never(instant):
            return False
        if header.catchup_to_s and life.job_id > header.catchup_cursor:
            return not header.catchup_from_s < instant <= header.catchup_to_s
        return True

    def _tell_of_stranger(self, job_id: str, records: list[Row]) -> None:
        """There are records of a job that no revision tells of."""
        if job_id in self._unknown or job_id in self._known:
            return
        self._unknown.add(job_id)
        first = min(records, key=lambda row: row.due_s)
        if self._export.forgotten or not first.job_name:
            return
        self._report.wrong(
            Wrong.JOB_UNKNOWN,
            "there are records of it, and no revision",
            job=f"{first.namespace}/{first.job_name}",
            job_id=job_id,
            instant_s=first.due_s,
        )

    def _end(self, rows: Rows) -> None:
        """Settle what is still open, and what lies behind the window."""
        to_s = self._window.to_s
        late: dict[str, list[Row]] = defaultdict(list)
        leaves: set[int] = set()
        for row in rows.up_to(1 << 61):
            self._sort_in(row, late, leaves)
        for life in self._lives:
            book = self._books.get(life.job_id)
            if book is not None:
                book.finish(to_s)
        for job_id, records in late.items():
            self._check_behind(job_id, records)
        for job_id, ran in rows.plain_up_to(1 << 61).items():
            self._check_plain_behind(job_id, ran)
        self._gone.check(self._report)
        for counts in self._report.jobs.values():
            self._report.counts.add(counts)

    def _check_behind(self, job_id: str, records: list[Row]) -> None:
        hwm_s = self._export.header.hwm_s
        for row in records:
            if row.kind == "schedule" and row.due_s > hwm_s:
                self._report.wrong(
                    Wrong.INSTANT_NOT_OWED,
                    f"execution {row.id} is about an instant that has not been decided",
                    job=f"{row.namespace}/{row.job_name}",
                    job_id=job_id,
                    instant_s=row.due_s,
                )

    def _check_plain_behind(self, job_id: str, ran: list[Ran]) -> None:
        hwm_s = self._export.header.hwm_s
        for instant in (instant for part in ran for instant in part.instants if instant > hwm_s):
            record = execution_id(execution_number(job_id, "schedule", str(instant), instant))
            self._report.wrong(
                Wrong.INSTANT_NOT_OWED,
                f"execution {record} is about an instant that has not been decided",
                job=self._export.name_of(job_id),
                job_id=job_id,
                instant_s=instant,
            )
