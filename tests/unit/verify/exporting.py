"""Exports made from what a fold has changed, change after change: the format, without the server."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import msgspec

from chronos.model.execution import Execution, RangeRecord
from chronos.store import proof
from chronos.store.exported import (
    DeletionLine,
    DocumentLine,
    EndLine,
    ExecutionLine,
    Header,
    Line,
    OpenLine,
    RangeLine,
    ResetLine,
    RevisionLine,
    SealLine,
    SegmentEndLine,
    SegmentLine,
    encode_line,
)
from chronos.store.port import Changes
from chronos.store.records import row_of
from chronos.store.tables import (
    DELETED_RING,
    KEPT_DOCUMENTS,
    META,
    OPEN,
    RESETS,
    REVISIONS,
    SHARDS,
    Meta,
    SealRecord,
    Shard,
)

Record = Execution | RangeRecord


class Exporter:
    """Takes changes in the order of the log, and closes and seals a segment whenever it is full."""

    def __init__(self, rows_max: int = 400) -> None:
        self.rows_max = rows_max
        self.meta, self.shard = Meta(), Shard()
        self.changes: list[Line] = []
        self.closed: list[tuple[SealRecord, list[Record]]] = []
        self.opens: dict[str, Execution] = {}
        self._live: dict[tuple[str, int], Record] = {}
        self._opened_us = self._time_us = 0

    def take(self, changes: Iterable[Changes], time_us: int) -> None:
        self._time_us = time_us
        self._opened_us = self._opened_us or time_us
        for change in changes:
            for (table, key), value in change.puts.items():
                self._take_put(table, key, value)
            records: list[Record] = [*change.ended, *change.ranges]
            for record in records:
                row = row_of(record)
                self._live[row.id, row.series] = record
        if len(self._live) >= self.rows_max:
            self.seal()

    def _take_put(self, table: str, key: str, value: Any) -> None:
        if table == META.name:
            self.meta = value
        elif table == SHARDS.name:
            self.shard = value
        elif table == OPEN.name:
            self.opens.pop(key, None)
            if value is not None:
                self.opens[key] = value
        elif value is None:
            return
        elif table == REVISIONS.name:
            self._chain(RevisionLine, value.seq, proof.revision_line(value))
        elif table == KEPT_DOCUMENTS.name:
            self._chain(DocumentLine, value.seq, proof.document_line(value))
        elif table == RESETS.name:
            self._chain(ResetLine, value.seq, proof.reset_line(value))
        elif table == DELETED_RING.name:
            self._chain(DeletionLine, value.seq, proof.deletion_line(value.key.partition("/")[0], value))

    def _chain(self, kind: Any, seq: int, data: bytes) -> None:
        self.changes.append(kind(seq=seq, data=msgspec.Raw(data), leaf=proof.leaf(data).hex()))

    def _rows(self) -> list[Record]:
        return [self._live[key] for key in sorted(self._live)]

    def seal(self) -> None:
        """Close the segment that is being written, and vouch for it."""
        rows = self._rows()
        tree = proof.Tree()
        for row in rows:
            tree.add(proof.leaf(proof.record_line(row)))
        executions, skipped = proof.planned(rows)
        seal = SealRecord(
            segment=len(self.closed) + 1,
            rows=len(rows),
            first_s=min((row_of(row).instant_s for row in rows), default=0),
            last_s=max((getattr(row, "last_s", row_of(row).instant_s) for row in rows), default=0),
            root=tree.root(),
            executions=executions,
            skipped=skipped,
            opened_us=self._opened_us,
            closed_us=self._time_us,
            changes=self.meta.changes,
            changes_hash=self.meta.changes_hash,
            previous=self.head,
        )
        self.closed.append((seal, rows))
        self._live, self._opened_us = {}, self._time_us

    @property
    def ended(self) -> list[Execution]:
        """All executions that have ended, those of closed segments first."""
        records = [*(row for _, rows in self.closed for row in rows), *self._rows()]
        return [record for record in records if isinstance(record, Execution)]

    @property
    def head(self) -> bytes:
        """The hash of the last seal."""
        return proof.leaf(proof.seal_line(self.closed[-1][0])) if self.closed else b""

    def lines(self) -> list[bytes]:
        """Return the export's lines, line ends included."""
        said: list[Line] = [self._header(), *self.changes]
        said += [SealLine(segment=s.segment, data=msgspec.Raw(proof.seal_line(s))) for s, _ in self.closed]
        for seal, rows in self.closed:
            said += segment_lines(seal.segment, rows, sealed=True)
        if self._live:
            said += segment_lines(len(self.closed) + 1, self._rows(), sealed=False)
        said += [OpenLine(data=msgspec.Raw(proof.record_line(each))) for each in self.opens.values()]
        return ended([encode_line(line) + b"\n" for line in said])

    def _header(self) -> Header:
        return Header(
            version="0",
            node="n",
            index=1,
            time_us=self._time_us,
            sealed=len(self.closed),
            seal_hash=self.head.hex(),
            changes=self.meta.changes,
            changes_hash=self.meta.changes_hash.hex(),
            hwm_s=self.shard.hwm_s,
            catchup_from_s=self.shard.catchup_from_s,
            catchup_to_s=self.shard.catchup_to_s,
            catchup_cursor=self.shard.cursor,
        )


def segment_lines(number: int, rows: list[Record], *, sealed: bool) -> list[Line]:
    first = min((row_of(row).instant_s for row in rows), default=0)
    last = max((getattr(row, "last_s", row_of(row).instant_s) for row in rows), default=0)
    said: list[Line] = [
        SegmentLine(
            segment=number,
            rows=len(rows),
            first_s=first,
            last_s=last,
            opened_us=1,
            closed_us=int(sealed),
            sealed=sealed,
        )
    ]
    after = ""
    for row in rows:
        data = proof.record_line(row)
        kind = RangeLine if isinstance(row, RangeRecord) else ExecutionLine
        said.append(kind(segment=number, data=msgspec.Raw(data), leaf=proof.leaf(data).hex(), after=after))
        after = f"{row_of(row).id}/{row_of(row).series}"
    return [*said, SegmentEndLine(segment=number, rows=len(rows), after=after)]


def ended(lines: list[bytes]) -> list[bytes]:
    """Return lines with an `end` that fits them."""
    digest = blake2b(b"".join(lines), digest_size=32).hexdigest()
    return [*lines, encode_line(EndLine(lines=len(lines), digest=digest)) + b"\n"]
