"""The life of each job: which definition was in force at which instants."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final, NamedTuple

import msgspec

from chronos.verify.calendars import Rules
from chronos.verify.definition import Definition, Owed
from chronos.verify.lines import DocumentData, ResetData, RevisionData
from chronos.verify.reading import Export
from chronos.verify.report import Report, Wrong
from chronos.verify.zones import Zones

SECOND_US: Final = 1_000_000
AHEAD_S: Final = 5
"""Claims are decided a quarter of a second ahead, a little more when commits are slow: within this much an older
definition may still have had its say. Seconds."""
FOREVER_S: Final = 1 << 40


class Piece(NamedTuple):
    """Instants t, `after_s` < t <= `to_s`, and the calendar by which they are judged."""

    after_s: int
    to_s: int
    rules: Rules | None


class Span(NamedTuple):
    """A stretch of a job's life in which one definition was in force.

    Attributes:
        seq: Place of the revision among the changes; `end_seq` is that of what followed it.
        is_last: Nothing followed: neither an edit, nor a pause, nor a deletion.
        is_sure: Nothing may have followed that is forgotten since.
        pieces: They reach `AHEAD_S` beyond the span, for what was decided ahead.
    """

    definition: Definition
    after_s: int
    to_s: int
    seq: int
    end_seq: int
    is_paused: bool
    is_last: bool
    is_sure: bool
    pieces: list[Piece]

    def owed(self, a: int, b: int, zones: Zones) -> Owed:
        """Return what it owed in (`a`, `b`], or would have owed if it had not been paused."""
        return self.decided(a, min(b, self.to_s), zones)

    def decided(self, a: int, b: int, zones: Zones) -> Owed:
        """Return what it owed in (`a`, `b`], and would have owed behind its end if it had gone on."""
        runs: list[int] = []
        left_out: list[int] = []
        for piece in self.pieces:
            low, high = max(a, piece.after_s), min(b, piece.to_s)
            if low < high:
                owed = self.definition.owed(low, high, zones, piece.rules)
                runs += owed.runs
                left_out += owed.left_out
        return Owed(runs, left_out)


class Life(NamedTuple):
    """A job from its creation to its end.

    Attributes:
        revisions: The numbers of those that are known.
    """

    job_id: str
    name: str
    spans: list[Span]
    revisions: frozenset[int]
    is_complete: bool

    def spans_in(self, a: int, b: int) -> Iterator[Span]:
        """Yield the spans that reach into (`a`, `b`]."""
        return (span for span in self.spans if span.after_s < b and span.to_s > a)

    def ahead(self, a: int, b: int) -> Iterator[tuple[Span, int, int]]:
        """Yield a span and the stretch (from, to] behind its end in which it may have been decided already."""
        for span in self.spans:
            low, high = max(a, span.to_s), min(b, span.to_s + AHEAD_S)
            if not span.is_last and low < high:
                yield span, low, high


def lives_of(export: Export, report: Report) -> list[Life]:
    """Return the lives of all jobs that the export tells of, by id; of one that cannot be understood, it says so."""
    documents: dict[str, list[DocumentData]] = {}
    for document in sorted(export.documents, key=lambda document: document.seq):
        documents.setdefault(document.key, []).append(document)
    compiled: dict[tuple[str, int], Rules | None] = {}
    definitions: dict[bytes, Definition] = {}
    found = []
    for job_id, revisions in sorted(export.revisions.items()):
        ordered = sorted(revisions, key=lambda each: each.job.revision)
        try:
            found.append(_life(export, job_id, ordered, documents, compiled, definitions))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, msgspec.MsgspecError) as bad:
            what = f"its definition makes no sense: {type(bad).__name__}: {bad}"
            report.wrong(Wrong.NOT_UNDERSTOOD, what, job=export.name_of(job_id), job_id=job_id)
    return found


def _life(
    export: Export,
    job_id: str,
    revisions: list[RevisionData],
    documents: dict[str, list[DocumentData]],
    compiled: dict[tuple[str, int], Rules | None],
    definitions: dict[bytes, Definition],
) -> Life:
    deletion = export.deletions.get(job_id)
    # Revisions that left what is owed as it was have the same beginning.
    groups = [list(group) for _, group in groupby(revisions, key=lambda each: each.job.owed_since_us)]
    end_s = deletion.time_us // SECOND_US if deletion is not None else FOREVER_S
    ends = [(group[0].job.owed_since_us // SECOND_US, group[0].seq) for group in groups[1:]]
    ends.append((end_s, deletion.seq if deletion is not None else FOREVER_S))
    spans = []
    for group, (to_s, end_seq) in zip(groups, ends, strict=True):
        job = group[-1].job
        span = Span(
            definition=_definition(job.spec, job.anchor_s, definitions),
            after_s=job.owed_since_us // SECOND_US,
            to_s=to_s,
            seq=group[0].seq,
            end_seq=end_seq,
            is_paused=job.paused is not None,
            is_last=group is groups[-1] and deletion is None,
            is_sure=deletion is None
            or group is not groups[-1]
            or not _is_forgotten(export, group[-1].seq, deletion.seq),
            pieces=[],
        )
        span.pieces.extend(_pieces(job_id, span, documents, compiled))
        spans.append(span)
    numbers = frozenset(each.job.revision for each in revisions)
    is_complete = numbers == set(range(1, len(numbers) + 1)) and spans[-1].is_sure
    return Life(job_id, export.name_of(job_id), spans, numbers, is_complete)


def _is_forgotten(export: Export, after: int, before: int) -> bool:
    """Whether a change between two others is forgotten: of a deleted job, the newest revisions go first."""
    if export.header.namespace is not None or export.header.job_id:
        return False  # those are the changes of others
    return any(after < seq < before for seq in export.forgotten)


def _definition(spec: dict[str, Any], anchor_s: int, known: dict[bytes, Definition]) -> Definition:
    fields = ("name", "namespace", "schedules", "timezone", "dst", "calendar", "shift", "start_at", "end_at")
    part = {name: spec[name] for name in fields if name in spec}
    key = msgspec.json.encode((part, anchor_s), order="deterministic")
    if key not in known:
        known[key] = Definition(part, anchor_s)
    return known[key]


def _pieces(
    job_id: str,
    span: Span,
    documents: dict[str, list[DocumentData]],
    compiled: dict[tuple[str, int], Rules | None],
) -> list[Piece]:
    """Return the stretches of a span in which its calendar stayed the same."""
    definition = span.definition
    if definition.calendar is None:
        return [Piece(span.after_s, span.to_s + AHEAD_S, None)]
    versions = documents.get(f"calendars/{definition.namespace}/{definition.calendar}", [])
    # What passes in a pause is written down when it ends, by the calendar as it is then.
    before = [v for v in versions if v.seq < (span.end_seq if span.is_paused else span.seq)]
    pieces = [Piece(span.after_s, span.to_s + AHEAD_S, _rules(before[-1], compiled) if before else None)]
    if not span.is_paused:
        for version in versions:
            if span.seq < version.seq < span.end_seq:
                pieces = _laid_over(pieces, version.hwm_s, FOREVER_S, _rules(version, compiled))
                if version.catchup_to_s and job_id > version.cursor:
                    pieces = _laid_over(pieces, version.catchup_from_s, version.catchup_to_s, _rules(version, compiled))
    return pieces


def _laid_over(pieces: list[Piece], after_s: int, to_s: int, rules: Rules | None) -> list[Piece]:
    """Return `pieces` with other rules in (`after_s`, `to_s`]."""
    found: list[Piece] = []
    for piece in pieces:
        low, high = max(piece.after_s, after_s), min(piece.to_s, to_s)
        if low >= high:
            found.append(piece)
            continue
        parts = [Piece(piece.after_s, low, piece.rules), Piece(low, high, rules), Piece(high, piece.to_s, piece.rules)]
        found += [part for part in parts if part.after_s < part.to_s]
    return found


def _rules(version: DocumentData, compiled: dict[tuple[str, int], Rules | None]) -> Rules | None:
    key = (version.key, version.seq)
    if key not in compiled:
        compiled[key] = None if version.value is None else Rules(msgspec.json.decode(version.value))
    return compiled[key]


class Resets:
    """Instants that were decided twice, or never, because the clock was set."""

    def __init__(self, resets: list[ResetData]) -> None:
        self._twice = [(reset.to_s, reset.from_s) for reset in resets if reset.to_s < reset.from_s]
        self._never = [(reset.from_s, reset.to_s) for reset in resets if reset.from_s < reset.to_s]

    def is_twice(self, instant: int) -> bool:
        """Whether the mark was set back over an instant."""
        return any(low < instant <= high for low, high in self._twice)

    def is_never(self, instant: int) -> bool:
        """Whether the mark was set forward over an instant."""
        return any(low < instant <= high for low, high in self._never)

    def touch(self, first_s: int, last_s: int) -> bool:
        """Whether a reset went over any instant from `first_s` to `last_s`."""
        return any(low < last_s and first_s <= high for low, high in [*self._twice, *self._never])
