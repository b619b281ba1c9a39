"""Writes an export, line by line as `chronos.store.exported` says, holding a few hundred rows at a time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from chronos.model.execution import Execution, RangeRecord, instant_of
from chronos.store import exported as out
from chronos.store import proof
from chronos.store.archive import FIRST, ArchiveRow, Place
from chronos.store.cursors import Cursors
from chronos.store.records import INSTANT_MAX, RecordFilter, matches
from chronos.store.sealing import sealed_to
from chronos.store.segment import SegmentInfo
from chronos.store.sqlite import SqliteState
from chronos.store.state import KEY_MAX
from chronos.store.tables import (
    DELETED_RING,
    DROPS,
    FORGOTTEN,
    KEPT_DOCUMENTS,
    LATE,
    META,
    RESETS,
    REVISIONS,
    SEALS,
    SHARDS,
    Meta,
    Shard,
    Table,
)
from chronos.timing import tzif

T = TypeVar("T")

ROWS_AT_ONCE = 100
MARK_ROWS = 1_000


class Wanted(Struct, frozen=True, kw_only=True):
    """What to export.

    Attributes:
        proof: Whether with everything that verifying needs; otherwise only executions and range records.
    """

    namespace: str | None = None
    job_id: str = ""
    since_s: int = 0
    until_s: int = INSTANT_MAX
    proof: bool = True


class _At(Struct, frozen=True):
    """Where a part begins: behind a row of a segment of which so many lines were written."""

    segment: int = 0
    place: Place = FIRST
    rows: int = 0


class _Opened:
    """What had not ended when an export began, and is not written yet.

    It may end while the export is written, and its row may come to lie where the export has passed by already. So it is
    written as it was when the export began, unless it was met in between.
    """

    def __init__(self, executions: Iterator[Execution]) -> None:
        self._left = {execution.id: execution for execution in executions}

    def met(self, record_id: str, series: int) -> None:
        """Note that a row was written."""
        left = self._left.get(record_id)
        if left is not None and series >= left.series:
            del self._left[record_id]

    def rest(self, still: Iterator[Execution]) -> Iterator[Execution]:
        """Yield what is open still, as it is now, and then what was and has not been met."""
        for execution in still:
            self.met(execution.id, execution.series)
            yield execution
        yield from self._left.values()


class Exporter:
    """Exports what a state holds.

    Args:
        key: Signs cursors.
    """

    def __init__(self, state: SqliteState, key: bytes, *, version: str, node: str) -> None:
        self._state = state
        self._cursors = Cursors(key)
        self._version, self._node = version, node

    def begin(self, wanted: Wanted, cursor: str = "") -> AsyncIterator[bytes]:
        """Return pieces of whole lines, of a whole export or of what comes after `cursor`.

        Raises:
            Invalid: The cursor is not one of such an export.
        """
        return self._written(wanted, cursor, self._place(wanted, cursor))

    def _place(self, wanted: Wanted, cursor: str) -> _At | None:
        if not cursor:
            return None
        segment, record_id, series, rows = self._cursors.read(_listing(wanted), cursor)
        return _At(int(segment), (str(record_id), int(series)), int(rows))

    async def _written(self, wanted: Wanted, cursor: str, start: _At | None) -> AsyncIterator[bytes]:
        # Both before anything is awaited: what ends from here on is either flushed or was open.
        header, opened = self._header(wanted, cursor), _Opened(self._open(wanted))
        await self._state.flush()
        digest, count = hashlib.blake2b(digest_size=32), 0
        async for lines in self._parts(wanted, header, opened, start):
            piece = b"".join(out.encode_line(line) + b"\n" for line in lines)
            digest.update(piece)
            count += len(lines)
            yield piece
        yield out.encode_line(out.EndLine(lines=count, digest=digest.hexdigest())) + b"\n"

    async def _parts(
        self, wanted: Wanted, header: out.Header, opened: _Opened, start: _At | None
    ) -> AsyncIterator[list[out.Line]]:
        yield [header]
        if start is None and wanted.proof:
            async for lines in self._changes(wanted):
                yield lines
            async for lines in self._seals(header.sealed):
                yield lines
        start = start or _At()
        for info in self._state.archive.infos:
            if info.number >= start.segment and info.covers(wanted.since_s, wanted.until_s):
                begin = start if info.number == start.segment else _At(info.number)
                async for lines in self._segment(wanted, info, begin, header, opened):
                    yield lines
        async for lines in self._rest(wanted, header, opened):
            yield lines

    def _header(self, wanted: Wanted, cursor: str) -> out.Header:
        state = self._state
        meta, shard = state.get(META, "meta") or Meta(), state.get(SHARDS, "0") or Shard()
        return out.Header(
            version=self._version,
            node=self._node,
            index=state.applied_index,
            time_us=state.time_us,
            namespace=wanted.namespace,
            since_s=wanted.since_s,
            until_s=wanted.until_s,
            job_id=wanted.job_id,
            proof=wanted.proof,
            resumed=cursor,
            sealed=meta.sealed,
            seal_hash=meta.seal_hash.hex(),
            changes=meta.changes,
            changes_hash=meta.changes_hash.hex(),
            restore_epoch=meta.restore_epoch,
            hwm_s=shard.hwm_s,
            catchup_from_s=shard.catchup_from_s,
            catchup_to_s=shard.catchup_to_s,
            catchup_cursor=shard.cursor,
            tzdata=tzif.version(),
        )

    async def _changes(self, wanted: Wanted) -> AsyncIterator[list[out.Line]]:
        zones: set[str] = set()
        async for revisions in self._all(REVISIONS):
            lines: list[out.Line] = []
            for key, revision in revisions:
                job_id = key.partition("/")[0]
                mine = _is_mine(wanted, revision.job.namespace, job_id)
                if mine:
                    zones.add(revision.job.spec.timezone)
                line = proof.revision_line(revision)
                lines += _change(out.RevisionLine(seq=revision.seq, data=Raw(line)), mine=mine)
            yield lines
        async for items in self._all(DELETED_RING):
            lines = []
            for _, item in items:
                job_id = item.key.partition("/")[0]
                kept = self._state.get(REVISIONS, item.key)
                mine = kept is not None and _is_mine(wanted, kept.job.namespace, job_id)
                line = proof.deletion_line(job_id, item)
                lines += _change(out.DeletionLine(seq=item.seq, data=Raw(line)), mine=mine or _is_all(wanted))
            yield lines
        async for documents in self._all(KEPT_DOCUMENTS):
            lines = []
            for _, document in documents:
                mine = wanted.namespace in (None, document.key.split("/")[1])
                change = out.DocumentLine(seq=document.seq, data=Raw(proof.document_line(document)))
                lines += _change(change, mine=mine)
            yield lines
        async for resets in self._all(RESETS):
            lines = []
            for _, reset in resets:
                lines += _change(out.ResetLine(seq=reset.seq, data=Raw(proof.reset_line(reset))), mine=True)
            yield lines
        async for gone in self._all(FORGOTTEN):
            yield [out.ForgottenLine(seq=item.seq, leaf=item.key) for _, item in gone]
        known = set(tzif.names())
        for name in sorted(zones & known):
            yield [out.ZoneLine(name=name, tzdata=tzif.version(), tzif=tzif.raw(name))]

    async def _seals(self, sealed: int) -> AsyncIterator[list[out.Line]]:
        async for seals in self._all(SEALS):
            known = [seal for _, seal in seals if seal.segment <= sealed]  # the header ends with that one
            yield [out.SealLine(segment=seal.segment, data=Raw(proof.seal_line(seal))) for seal in known]
        async for drops in self._all(DROPS):
            yield [
                out.DropLine(segment=drop.segment, rows=drop.rows, whole=drop.whole, why=drop.why, time_us=drop.time_us)
                for _, drop in drops
            ]

    async def _segment(
        self, wanted: Wanted, info: SegmentInfo, begin: _At, header: out.Header, opened: _Opened
    ) -> AsyncIterator[list[out.Line]]:
        if wanted.proof and begin.place == FIRST:
            yield [self._segment_line(info)]
        after, count, shown = begin.place, begin.rows, _shown(wanted, begin)
        while rows := await self._state.archive.rows(info.number, after, ROWS_AT_ONCE):
            lines: list[out.Line] = []
            after, told = rows[-1].place, count
            for row in rows:
                if info.number > header.sealed and _is_later(header, row.record):
                    continue
                count += 1
                line = _row_line(wanted, info.number, row, shown)
                shown = "" if _is_elsewhere(wanted, row) else f"{row.id}/{row.series}"
                lines += [line] if line is not None else []
                opened.met(row.id, row.series)
            if count // MARK_ROWS > told // MARK_ROWS:
                lines.append(out.MarkLine(cursor=self._cursor(wanted, info.number, after, count)))
            yield lines
        if wanted.proof:
            yield [out.SegmentEndLine(segment=info.number, rows=count, after=shown)]
        yield [out.MarkLine(cursor=self._cursor(wanted, info.number + 1, FIRST, 0))]

    def _segment_line(self, info: SegmentInfo) -> out.SegmentLine:
        return out.SegmentLine(
            segment=info.number,
            rows=info.rows,
            first_s=info.first_s,
            last_s=info.last_s,
            opened_us=info.opened_us,
            closed_us=info.closed_us,
            days=info.days,
            sealed=info.number <= sealed_to(self._state),
        )

    def _cursor(self, wanted: Wanted, segment: int, after: Place, count: int) -> str:
        return self._cursors.write(_listing(wanted), [segment, *after, count])

    def _open(self, wanted: Wanted) -> Iterator[Execution]:
        wanted_only = _filter(wanted)
        return (execution for execution in self._state.open_executions() if matches(wanted_only, execution))

    async def _rest(self, wanted: Wanted, header: out.Header, opened: _Opened) -> AsyncIterator[list[out.Line]]:
        still = (execution for execution in self._open(wanted) if not _is_later(header, execution))
        for execution in opened.rest(still):
            yield [out.OpenLine(data=Raw(proof.record_line(execution)))]
        async for late in self._all(LATE):
            lines: list[out.Line] = []
            for key, results in late:
                if _is_all(wanted) or await self._is_about(wanted, key):
                    lines.append(out.LateLine(execution_id=key, notes=list(results.notes)))
            yield lines

    async def _is_about(self, wanted: Wanted, execution_id: str) -> bool:
        record = await self._state.record(execution_id, instant_of(execution_id))
        return record is not None and matches(_filter(wanted), record)

    async def _all(self, table: Table[T]) -> AsyncIterator[list[tuple[str, T]]]:
        low = ""
        while rows := self._state.scan(table, low, KEY_MAX, ROWS_AT_ONCE):
            yield rows
            low = rows[-1][0] + "\0"
            await asyncio.sleep(0)


def _is_later(header: out.Header, record: Execution | RangeRecord | None) -> bool:
    """Whether an execution was decided after the export began: nothing due by the header's mark was."""
    return isinstance(record, Execution) and record.scheduled_s > header.hwm_s and record.decided_at_us > header.time_us


def _row_line(wanted: Wanted, segment: int, row: ArchiveRow, after: str | UnsetType) -> out.Line | None:
    """Return the line of a row; None when it is neither wanted nor needed for the proof."""
    leaf = row.leaf.hex()
    if row.record is not None and matches(_filter(wanted), row.record):
        kind = out.ExecutionLine if isinstance(row.record, Execution) else out.RangeLine
        if not wanted.proof:
            return kind(segment=segment, data=Raw(row.line))
        return kind(segment=segment, leaf=leaf, after=after, data=Raw(row.line))
    if not wanted.proof:
        return None
    if _is_elsewhere(wanted, row):
        return out.LeafLine(segment=segment, leaf=leaf, why="elsewhere", after=after)
    why = "dropped" if row.record is None else "outside"
    return out.LeafLine(segment=segment, leaf=leaf, why=why, id=row.id, series=row.series, after=after)


def _is_elsewhere(wanted: Wanted, row: ArchiveRow) -> bool:
    """Whether not even the id of a row may be told."""
    return wanted.namespace is not None and (row.record is None or row.record.namespace != wanted.namespace)


def _shown(wanted: Wanted, begin: _At) -> str | UnsetType:
    """Return what may be told of the row before the first one of a part."""
    if begin.place == FIRST:
        return ""
    return UNSET if wanted.namespace is not None else "{}/{}".format(*begin.place)


def _change(change: out.Change, *, mine: bool) -> Iterator[out.Line]:
    """Yield a change, or what is left of one that is not asked for."""
    leaf = proof.leaf(bytes(change.data)).hex()
    if mine:
        yield replace(change, leaf=leaf)
    elif change.seq:
        yield out.ForgottenLine(seq=change.seq, leaf=leaf)


def _is_mine(wanted: Wanted, namespace: str, job_id: str) -> bool:
    return wanted.namespace in (None, namespace) and wanted.job_id in ("", job_id)


def _is_all(wanted: Wanted) -> bool:
    return wanted.namespace is None and not wanted.job_id and (wanted.since_s, wanted.until_s) == (0, INSTANT_MAX)


def _filter(wanted: Wanted) -> RecordFilter:
    return RecordFilter(
        namespace=wanted.namespace, job_id=wanted.job_id or None, since_s=wanted.since_s, until_s=wanted.until_s
    )


def _listing(wanted: Wanted) -> str:
    return "export" + msgspec.json.encode(wanted, order="deterministic").decode()
