"""Do the seals vouch for what is there: rows, each other, and the chain of changes?"""

from __future__ import annotations

from typing import Final, TypedDict

from chronos.verify.hashes import EMPTY, node, unhexed
from chronos.verify.lines import Seal
from chronos.verify.reading import Chained, Export, Segment
from chronos.verify.report import Report, Wrong, rfc3339

_MISSING_MAX: Final = 1_000_000


class When(TypedDict, total=False):
    """The instants a problem is about."""

    instant_s: int | None
    until_s: int | None


def check_seals(export: Export, report: Report, heads: list[str]) -> None:
    """Check the seals against the segments, against each other, and against heads that somebody has kept."""
    report.seals, report.segments = len(export.seals), len(export.segments)
    _check_their_chain(export, report)
    sealed = set()
    for seal, _ in export.seals:
        if seal.segment in sealed:
            report.wrong(Wrong.SEAL_DIFFERS, f"there are two seals of segment {seal.segment}", **_when(seal))
        sealed.add(seal.segment)
        _check_segment(export, report, seal)
    for segment in export.segments.values():
        if segment.number not in sealed:
            _check_unsealed(export, report, segment)
    known = {hashed.hex() for _, hashed in export.seals}
    for head in heads:
        if head.lower() not in known:
            report.wrong(Wrong.HEAD_UNKNOWN, f"no seal has the hash {head}")
    if export.seals:
        report.head, report.head_segment = export.seals[-1][1].hex(), export.seals[-1][0].segment


def _when(seal: Seal) -> When:
    return (
        {"instant_s": seal.first_s, "until_s": seal.last_s} if seal.rows else {"instant_s": seal.opened_us // 1_000_000}
    )


def _check_their_chain(export: Export, report: Report) -> None:
    before, number = b"", 0
    for seal, hashed in export.seals:
        if seal.previous != before.hex():
            _tell_of_break(export, report, number, seal)
        before, number = hashed, seal.segment
    header = export.header
    if header.seal_hash == before.hex():
        return
    if number < header.sealed:
        missing = export.segments.get(header.sealed, Segment(header.sealed))
        what = f"the seals of segments {number + 1} to {header.sealed} are missing"
        report.wrong(Wrong.SEAL_MISSING, what, instant_s=missing.stated_first_s, until_s=missing.stated_last_s)
    elif export.seals:
        last = export.seals[-1][0]
        report.wrong(Wrong.SEAL_DIFFERS, f"the seal of segment {number} is not the export's last", **_when(last))


def _tell_of_break(export: Export, report: Report, before: int, seal: Seal) -> None:
    if seal.segment > before + 1:
        gone = export.segments.get(seal.segment - 1)
        when: When = _when(seal)
        if gone is not None:
            when = {"instant_s": gone.stated_first_s, "until_s": gone.stated_last_s}
        report.wrong(Wrong.SEAL_MISSING, f"the seal of segment {seal.segment - 1} is missing", **when)
        return
    what = f"the seal of segment {before} is not the one that the seal of segment {seal.segment} follows"
    earlier = next((s for s, _ in export.seals if s.segment == before), seal)
    report.wrong(Wrong.SEAL_DIFFERS, what, **_when(earlier))


def _check_segment(export: Export, report: Report, seal: Seal) -> None:
    segment, drop = export.segments.get(seal.segment), export.drops.get(seal.segment)
    if segment is None:
        if not (drop is not None and drop.whole) and not _was_not_asked_for(export, seal):
            report.wrong(Wrong.SEGMENT_MISSING, f"segment {seal.segment} ({seal.rows} rows) is missing", **_when(seal))
        return
    if not segment.is_ended:
        return
    if segment.root.hex() != seal.root or segment.rows != seal.rows:
        what = f"the {segment.rows} rows of segment {seal.segment} are not the {seal.rows} that were sealed"
        report.wrong(Wrong.SEGMENT_DIFFERS, what, **_when(seal))
    elif segment.is_whole and (segment.executions, segment.skipped) != (seal.executions, seal.skipped):
        what = (
            f"segment {seal.segment} has {segment.executions} executions and {segment.skipped} skipped instants; "
            f"its seal says {seal.executions} and {seal.skipped}"
        )
        report.wrong(Wrong.SEAL_DIFFERS, what, **_when(seal))
    if segment.dropped > (drop.rows if drop is not None else 0):
        what = f"{segment.dropped} rows of segment {seal.segment} are missing, more than retention has taken"
        report.wrong(Wrong.SEGMENT_DIFFERS, what, **_when(seal))


def _was_not_asked_for(export: Export, seal: Seal) -> bool:
    header = export.header
    until_s = header.until_s or 1 << 62
    return seal.last_s < header.since_s or seal.first_s > until_s or seal.rows == 0


def _check_unsealed(export: Export, report: Report, segment: Segment) -> None:
    if segment.number <= export.header.sealed:
        report.wrong(
            Wrong.SEGMENT_ADDED,
            f"segment {segment.number} has no seal, and later ones have",
            instant_s=segment.stated_first_s,
            until_s=segment.stated_last_s,
        )
    else:
        report.unsealed_rows += segment.rows


# The chain of changes.


def check_changes(export: Export, report: Report) -> None:
    """Check that the changes are those that the seals vouch for."""
    _place_in_time(export)
    by_seq = _by_seq(export, report)
    for change in export.changes:
        if change.wrong:
            _tell(report, Wrong.CHANGE_ALTERED, f"{change.label} {change.wrong}", change)
    report.changes = len(by_seq)
    # A number that was made up must not keep us busy for ever.
    most = len(by_seq) + _MISSING_MAX
    missing = _missing(export, report, by_seq, min(export.header.changes, most))
    ends = {seal.changes: seal.changes_hash for seal, _ in export.seals if seal.changes <= most}
    if export.header.changes <= most:
        ends[export.header.changes] = export.header.changes_hash
    _follow(report, by_seq, ends, broken=missing)
    _check_uncounted(export, report, by_seq)


def _place_in_time(export: Export) -> None:
    """A change whose time is not known was made no earlier than the one before it."""
    time_us = 0
    for change in sorted(export.changes, key=lambda each: each.seq):
        change.time_us = time_us = change.time_us or time_us


def _tell(report: Report, kind: Wrong, what: str, change: Chained) -> None:
    report.wrong(kind, what, job=change.job, job_id=change.job_id, instant_s=change.time_us // 1_000_000)


def _by_seq(export: Export, report: Report) -> dict[int, Chained]:
    found: dict[int, Chained] = {}
    for change in export.changes:
        if change.seq == 0:
            continue
        if change.seq in found or change.seq > export.header.changes:
            _tell(report, Wrong.CHANGE_ADDED, f"{change.label} is one too many", change)
        found.setdefault(change.seq, change)
    return found


def _missing(export: Export, report: Report, by_seq: dict[int, Chained], to: int) -> set[int]:
    missing = {n for n in range(1, to + 1) if n not in by_seq}
    for n in sorted(missing):
        if n - 1 in missing:
            continue
        last = next(m for m in range(n, to + 2) if m not in missing) - 1
        earlier = by_seq[n - 1].time_us // 1_000_000 if n - 1 in by_seq else None
        later = by_seq[last + 1].time_us // 1_000_000 if last + 1 in by_seq else export.header.time_us // 1_000_000
        what = f"change {n} is missing" if n == last else f"changes {n} to {last} are missing"
        report.wrong(Wrong.CHANGE_MISSING, what, instant_s=later if earlier is None else earlier, until_s=later)
    return missing


def _follow(report: Report, by_seq: dict[int, Chained], ends: dict[int, str], broken: set[int]) -> None:
    """Walk the chain from one end that is vouched for to the next; what lies before a wrong one is named."""
    hashed, is_known, known_to = EMPTY, True, 0
    for n in range(max(ends, default=0) + 1):
        if n:
            change = by_seq.get(n)
            is_known = is_known and change is not None and bool(change.leaf)
            hashed = node(hashed, change.leaf) if is_known and change is not None else hashed
        stated = ends.get(n)
        if stated is None or (n == 0 and not stated):
            continue
        if is_known and hashed.hex() != stated:
            _tell_of_chain(report, by_seq, known_to, n, broken)
        hashed, is_known, known_to = unhexed(stated), True, n


def _tell_of_chain(report: Report, by_seq: dict[int, Chained], after: int, to: int, broken: set[int]) -> None:
    if any(after < n <= to for n in broken):
        return
    first, last = by_seq.get(after + 1), by_seq.get(to)
    what = f"changes {after + 1} to {to} are not those that were sealed"
    if after + 1 >= to and last is not None:
        what = f"{last.label} is not what was sealed"
    report.wrong(
        Wrong.CHAIN_DIFFERS,
        what,
        job=last.job if last is not None and after + 1 >= to else "",
        instant_s=first.time_us // 1_000_000 if first is not None else None,
        until_s=last.time_us // 1_000_000 if last is not None else None,
    )


def _check_uncounted(export: Export, report: Report, by_seq: dict[int, Chained]) -> None:
    """What was made before changes were counted is vouched for by nothing; it must at least be older than they."""
    uncounted = [change for change in export.changes if change.seq == 0]
    first_us = min((change.time_us for change in by_seq.values() if change.time_us), default=1 << 62)
    for change in uncounted:
        if change.time_us > first_us:
            what = f"{change.label} is not in the chain, and is younger than what is"
            _tell(report, Wrong.CHANGE_ADDED, what, change)
    if uncounted:
        report.notes.append(
            f"{len(uncounted)} definitions are from before changes were counted ({rfc3339(first_us // 1_000_000)}): "
            "nothing vouches for them."
        )
