"""The first pass: every line once, in order. It checks what can be judged as it is read, and keeps what is small."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from chronos.verify import lines
from chronos.verify.hashes import Tree, instant_in, leaf, unhexed
from chronos.verify.lines import Row
from chronos.verify.plain import MARK_BYTES, Ran, Shelf, code_of
from chronos.verify.report import Report, Wrong

_BLOCK_BYTES: Final = 1 << 19
_ROWS: Final = (lines.ExecutionLine, lines.RangeLine, lines.LeafLine)

Place = tuple[int, int, int]
"""A file's number, and the bytes of it from the first to before the second."""

Progress = Callable[[str, float], None]
"""Called with what is being done and how far it is, 0 to 1."""


class NotAnExport(Exception):
    """The file cannot be read as an export that can be verified."""


@dataclass
class Segment:
    """One segment as it stands in the files.

    Attributes:
        execution_pieces: Where its executions lie, and `range_pieces` its ranges.
        first_s: Lowest instant of its rows that are here, `last_s` the highest.
        is_whole: No row is represented by its hash alone.
    """

    number: int
    sealed: bool = False
    stated_first_s: int = 0
    stated_last_s: int = 0
    opened_us: int = 0
    rows: int = 0
    executions: int = 0
    skipped: int = 0
    dropped: int = 0
    first_s: int = 1 << 62
    last_s: int = -1
    is_whole: bool = True
    is_ended: bool = False
    root: bytes = b""
    execution_pieces: list[Place] = field(default_factory=list)
    range_pieces: list[Place] = field(default_factory=list)


@dataclass
class Chained:
    """A change of what jobs owe: its hash, and what is known of it.

    Attributes:
        label: What it is in words, for whoever reads that it is wrong.
        time_us: Log time; 0 when it is not known.
        wrong: What is wrong with it by itself; empty when nothing is.
    """

    seq: int
    leaf: bytes
    label: str = ""
    job: str = ""
    job_id: str = ""
    time_us: int = 0
    wrong: str = ""


@dataclass
class Export:
    """What the first pass has kept of an export."""

    paths: Sequence[Path]
    header: lines.Header = field(default_factory=lines.Header)
    segments: dict[int, Segment] = field(default_factory=dict)
    seals: list[tuple[lines.Seal, bytes]] = field(default_factory=list)
    drops: dict[int, lines.Drop] = field(default_factory=dict)
    changes: list[Chained] = field(default_factory=list)
    revisions: dict[str, list[lines.RevisionData]] = field(default_factory=dict)
    deletions: dict[str, lines.DeletionData] = field(default_factory=dict)
    documents: list[lines.DocumentData] = field(default_factory=list)
    resets: list[lines.ResetData] = field(default_factory=list)
    zones: dict[str, lines.ZoneLine] = field(default_factory=dict)
    opens: list[Row] = field(default_factory=list)
    forgotten: set[int] = field(default_factory=set)
    plain: Shelf = field(default_factory=Shelf)
    known: set[tuple[str, int]] = field(default_factory=set)

    def name_of(self, job_id: str) -> str:
        """Return namespace and name of a job, as far as they are known."""
        known = self.revisions.get(job_id)
        spec = known[-1].job.spec if known else {}
        return f"{spec.get('namespace', 'default')}/{spec.get('name', '?')}" if known else ""


def read(paths: Sequence[Path], report: Report, progress: Progress) -> Export:
    """Return what the files hold together, the parts of one export in their order.

    Raises:
        NotAnExport: They are none, or one that cannot be verified.
        OSError: A file cannot be read.
    """
    reader = _Reader(Export(paths), report)
    total = sum(path.stat().st_size for path in paths) or 1
    done = 0
    for number, path in enumerate(paths):
        for start, block in _blocks_of(path):
            reader.take_block(number, start, block)
            progress("reading", (done + start) / total)
        done += path.stat().st_size
    reader.finish()
    return reader.export


def _blocks_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield pieces of whole lines with the byte they begin at. A line that is too long is cut."""
    start, rest = 0, b""
    with path.open("rb") as file:
        while more := file.read(_BLOCK_BYTES):
            rest += more
            end = rest.rfind(b"\n") + 1 or (len(rest) if len(rest) >= lines.LINE_BYTES_MAX else 0)
            if end:
                yield start, rest[:end]
                start, rest = start + end, rest[end:]
    if rest:
        yield start, rest


class _Reader:
    """Takes line after line."""

    def __init__(self, export: Export, report: Report) -> None:
        self.export = export
        self._report = report
        self._part_lines = 0
        self._digest = blake2b(digest_size=32)
        self._is_ended = False
        self._mark = ""
        self._rows: _Rows | None = None
        self._has_begun = False

    @property
    def _where(self) -> str:
        return f"line {self._report.lines}"

    def take_block(self, file: int, start: int, block: bytes) -> None:
        """Take the next lines of a file, which begin at byte `start` of it."""
        found = block.split(b"\n")
        rest = found.pop()
        hashed = place = at = 0
        while at < len(found):
            if self._rows is not None:
                end = self._rows.take_plain(found, at)
                place += sum(map(len, found[at:end])) + end - at
                self._part_lines += end - at
                self._report.lines += end - at
                at = end
            if at < len(found):
                # What came before it in the block is hashed before anything else may end or begin.
                self._digest.update(block[hashed:place])
                self.take(file, start + place, found[at] + b"\n")
                hashed = place = place + len(found[at]) + 1
                at += 1
        self._digest.update(block[hashed:place])
        if rest:
            self.take(file, start + place, rest)

    def take(self, file: int, place: int, line: bytes) -> None:
        """Take the next line of a file."""
        self._report.lines += 1
        try:
            said = lines.decode(line)
        except msgspec.MsgspecError as bad:
            if not self._has_begun:
                raise NotAnExport(f"{self.export.paths[file]} is no export of Chronos: {bad}") from None
            self._report.wrong(Wrong.LINE_UNREADABLE, f"{self._where} cannot be read: {bad}")
            self._count(line)
            return
        if said.format > lines.FORMAT or not self._has_begun:
            self._refuse(said)
        if isinstance(said, _ROWS):
            self._take_row(said, file, place, place + len(line))
            self._count(line)
            return
        if isinstance(said, lines.End):
            self._end_part(said)
            return
        if isinstance(said, lines.Header):
            self._begin_part(said)
        elif isinstance(said, lines.Change | lines.Forgotten):
            self._take_change(said)
        else:
            self._take_other(said)
        self._mark = said.cursor if isinstance(said, lines.Mark) else ""
        self._count(line)

    def _count(self, line: bytes) -> None:
        self._part_lines += 1
        self._digest.update(line)

    def _refuse(self, said: lines.Line | lines.Other) -> None:
        if said.format > lines.FORMAT:
            raise NotAnExport(
                f"{self._where} has format {said.format}; this version reads up to {lines.FORMAT}. Use a newer one."
            )
        if not self._has_begun and not isinstance(said, lines.Header):
            raise NotAnExport(f"{self.export.paths[0]} is no export of Chronos: it does not begin with a header.")

    def _begin_part(self, header: lines.Header) -> None:
        if not header.proof:
            raise NotAnExport("This export was made without what is needed to verify it; export again with proof.")
        if self._has_begun and not self._is_ended and header.resumed != self._mark:
            self._report.wrong(Wrong.CUT_OFF, f"{self._where}: this part does not go on where the one before broke off")
        if not self._has_begun and header.resumed:
            self._report.wrong(Wrong.CUT_OFF, "the beginning is missing: this is a later part of an export")
        self._has_begun, self._is_ended = True, False
        self._part_lines, self._digest = 0, blake2b(digest_size=32)
        self.export.header = header

    def _end_part(self, end: lines.End) -> None:
        self._is_ended = True
        if end.lines != self._part_lines or end.digest != self._digest.hexdigest():
            self._report.wrong(
                Wrong.CUT_OFF,
                f"{self._where}: {end.lines} lines should come before it, {self._part_lines} do, or they are others",
            )

    def finish(self) -> None:
        """Say what is missing at the end."""
        if not self._has_begun:
            raise NotAnExport(f"{self.export.paths[0]} is empty.")
        self._end_rows(None)
        if not self._is_ended:
            self._report.wrong(Wrong.CUT_OFF, "the export has no `end`: it broke off")

    # Rows.

    def _take_row(self, said: lines.RowLine | lines.LeafLine, file: int, start: int, end: int) -> None:
        if self._rows is None or self._rows.segment.number != said.segment:
            self._begin_rows(lines.SegmentLine(segment=said.segment))
            self._report.wrong(
                Wrong.LINE_UNREADABLE, f"{self._where}: segment {said.segment} has rows and no beginning"
            )
        assert self._rows is not None
        try:
            self._rows.take(said, (file, start, end))
        except msgspec.MsgspecError as bad:
            self._report.wrong(Wrong.LINE_UNREADABLE, f"{self._where}: the record cannot be read: {bad}")

    def _begin_rows(self, said: lines.SegmentLine) -> None:
        self._end_rows(None)
        segment = Segment(said.segment, said.sealed, said.first_s, said.last_s, said.opened_us)
        if said.segment in self.export.segments:
            self._report.wrong(Wrong.SEGMENT_ADDED, f"segment {said.segment} is there twice")
        self.export.segments[said.segment] = segment
        self._rows = _Rows(segment, self._report, self.export)

    def _end_rows(self, said: lines.SegmentEnd | None) -> None:
        if self._rows is not None:
            self._rows.finish(said)
        self._rows = None

    # Everything else.

    def _take_other(self, said: lines.Line | lines.Other) -> None:
        export = self.export
        if isinstance(said, lines.SegmentLine):
            self._begin_rows(said)
        elif isinstance(said, lines.SegmentEnd):
            self._end_rows(said)
        elif isinstance(said, lines.SealLine):
            self._take_seal(said)
        elif isinstance(said, lines.Drop):
            export.drops[said.segment] = said
        elif isinstance(said, lines.ZoneLine):
            export.zones[said.name] = said
        elif isinstance(said, lines.OpenLine):
            self._take_open(said)

    def _take_seal(self, said: lines.SealLine) -> None:
        data = bytes(said.data)
        try:
            self.export.seals.append((lines.decode_seal(data), leaf(data)))
        except msgspec.MsgspecError as bad:
            self._report.wrong(Wrong.SEAL_DIFFERS, f"the seal of segment {said.segment} cannot be read: {bad}")

    def _take_open(self, said: lines.OpenLine) -> None:
        try:
            self.export.opens.append(lines.decode_row(said.data))
        except msgspec.MsgspecError as bad:
            self._report.wrong(Wrong.LINE_UNREADABLE, f"{self._where}: the execution cannot be read: {bad}")

    def _take_change(self, said: lines.Change | lines.Forgotten) -> None:
        if isinstance(said, lines.Forgotten):
            self.export.forgotten.add(said.seq)
            self.export.changes.append(Chained(said.seq, unhexed(said.leaf), f"change {said.seq}, which is forgotten"))
            return
        data = bytes(said.data)
        change = Chained(said.seq, leaf(data), f"change {said.seq}")
        try:
            self._keep(said, change)
        except msgspec.MsgspecError as bad:
            change.wrong = f"cannot be read: {bad}"
        if said.leaf and said.leaf != change.leaf.hex():
            change.wrong = change.wrong or "is not what was hashed"
        self.export.changes.append(change)

    def _keep(self, said: lines.Change, change: Chained) -> None:
        export = self.export
        if isinstance(said, lines.RevisionLine):
            revision = lines.decode_revision(said.data)
            export.revisions.setdefault(revision.job.id, []).append(revision)
            export.known.add((revision.job.id, revision.job.revision))
            change.job, change.job_id = export.name_of(revision.job.id), revision.job.id
            change.time_us = revision.job.updated_at_us
            change.label += f", revision {revision.job.revision} of {change.job}"
        elif isinstance(said, lines.DeletionLine):
            deletion = lines.decode_deletion(said.data)
            export.deletions[deletion.job_id] = deletion
            change.job, change.job_id = export.name_of(deletion.job_id), deletion.job_id
            change.time_us = deletion.time_us
            change.label += f", the deletion of {change.job or deletion.job_id}"
        elif isinstance(said, lines.DocumentLine):
            document = lines.decode_document(said.data)
            export.documents.append(document)
            change.time_us = document.time_us
            change.label += f", a version of {document.key}"
        else:
            reset = lines.decode_reset(said.data)
            export.resets.append(reset)
            change.time_us = reset.time_us
            change.label += ", a reset of the clock"


class _Rows:
    """The rows of one segment as they come: hashed, and held against the order they should have."""

    def __init__(self, segment: Segment, report: Report, export: Export) -> None:
        self.segment = segment
        self._report = report
        self._export = export
        self._tree = Tree()
        self._before: list[str] = ["", ""]  # id and series of the row before, and of the one before that
        self._last = ("", -1)
        self._plain: dict[str, Ran] = {}
        self._head = b'{"type":"execution","format":1,"segment":%d,"leaf":"' % segment.number

    def take(self, said: lines.RowLine | lines.LeafLine, place: Place) -> None:
        """Take the next row, which lies at these bytes of a file."""
        self.segment.rows += 1
        self._report.rows += 1
        is_range = isinstance(said, lines.RangeLine) or (isinstance(said, lines.LeafLine) and said.id[:4] == "rng_")
        _lies_at(self.segment.range_pieces if is_range else self.segment.execution_pieces, place)
        if isinstance(said, lines.LeafLine):
            self._take_leaf(said)
            return
        data = bytes(said.data)
        hashed = leaf(data)
        self._tree.add(hashed)
        row = lines.decode_row(data)
        if said.leaf and said.leaf != hashed.hex():
            self._wrong(Wrong.ROW_ALTERED, f"{_words(row)} is not what was hashed", row)
        self._follows(said.after, row.row_id, row.series)
        self._count(row)

    def take_plain(self, found: list[bytes], at: int) -> int:
        """Take lines from the place `at` on for as long as they are those of plain executions; return where they end.

        What stands before the data of a plain one is known beforehand, but for its hash, and need not be read.
        """
        start, head, known = self._head, len(self._head) + 64, self._export.known
        before, last = self._before, self._last[0]
        middle = b'","after":"%b","data":' % before[0].encode()
        taken = at
        for line in islice(found, at, None):
            begin = head + len(middle)
            if line[head:begin] != middle or not line.startswith(start) or line[-1:] != b"}":
                break
            data = line[begin:-1]
            try:
                row = lines.decode_row(data)
            except msgspec.MsgspecError:
                break
            hashed = leaf(data)
            code = code_of(row)
            if code < 0 or row.id <= last or (row.job_id, row.revision) not in known:
                break
            if line[head - 64 : head] != hashed.hex().encode():
                break
            self._keep_plain(row, hashed, code)
            last, earlier = row.id, last
            middle = b'","after":"%b/0","data":' % last.encode()
            taken += 1
        if taken > at:
            self._before = [f"{last}/0", f"{earlier}/0" if taken > at + 1 else before[0]]
            self._last = (last, 0)
            self.segment.rows += taken - at
            self.segment.executions += taken - at
            self._report.rows += taken - at
        return taken

    def _keep_plain(self, row: Row, hashed: bytes, code: int) -> None:
        instant = row.scheduled_s
        mine = self._plain.get(row.job_id)
        if mine is None:
            mine = self._plain[row.job_id] = Ran(array("q"), bytearray(), bytearray())
        instants, statuses, marks = mine
        instants.append(instant)
        statuses.append(code)
        marks += hashed[:MARK_BYTES]
        self._tree.add(hashed)
        self._reach(instant, instant)

    def _take_leaf(self, said: lines.LeafLine) -> None:
        self._tree.add(unhexed(said.leaf))
        self.segment.is_whole = False
        self.segment.dropped += said.why == "dropped"
        self._follows(said.after, said.id, said.series)
        at = instant_in(said.id)
        if at is not None:
            self._reach(at, at)

    def _count(self, row: Row) -> None:
        if row.type == "range":
            self.segment.skipped += row.count
        elif row.kind == "schedule" and row.series == 0:
            self.segment.executions += 1
        self._reach(row.instant_s, row.end_s)

    def _reach(self, first_s: int, last_s: int) -> None:
        self.segment.first_s = min(self.segment.first_s, first_s)
        self.segment.last_s = max(self.segment.last_s, last_s)

    def _follows(self, after: str | None, row_id: str, series: int) -> None:
        self._follows_id(after)
        self._before = [f"{row_id}/{series}" if row_id else "", self._before[0]]
        if not row_id:
            return
        if (row_id, series) <= self._last:
            self._wrong_at(Wrong.ROW_ADDED, f"{row_id} is not in its order in segment {self.segment.number}", row_id)
        self._last = (row_id, series)

    def _follows_id(self, after: str | None) -> None:
        expected, earlier = self._before
        if after is None or after == expected:
            return
        if after == earlier:
            self._wrong_at(Wrong.ROW_ADDED, f"{expected} was put into segment {self.segment.number}", expected)
        else:
            self._wrong_at(Wrong.ROW_MISSING, f"{after} was taken out of segment {self.segment.number}", after)

    def finish(self, said: lines.SegmentEnd | None) -> None:
        """The segment is over; without a line that says so, it was cut off."""
        self._export.plain.keep(self.segment.number, self._plain)
        self.segment.is_ended = said is not None
        self.segment.root = self._tree.root()
        if said is None:
            self._report.wrong(Wrong.CUT_OFF, f"segment {self.segment.number} has no end")
            return
        self._follows_id(said.after)
        if said.rows != self.segment.rows:
            self._report.wrong(
                Wrong.SEGMENT_DIFFERS,
                f"segment {self.segment.number} has {self.segment.rows} rows instead of {said.rows}",
                instant_s=self.segment.stated_first_s,
                until_s=self.segment.stated_last_s,
            )

    def _wrong(self, kind: Wrong, what: str, row: Row) -> None:
        name = f"{row.namespace}/{row.job_name}"
        self._report.wrong(kind, what, job=name, job_id=row.job_id, instant_s=row.instant_s, until_s=row.end_s)

    def _wrong_at(self, kind: Wrong, what: str, row_id: str) -> None:
        self._report.wrong(kind, what, instant_s=instant_in(row_id.partition("/")[0]))


def _lies_at(places: list[Place], place: Place) -> None:
    file, start, end = place
    if places and places[-1][0] == file and places[-1][2] == start:
        places[-1] = (file, places[-1][1], end)
    else:
        places.append(place)


def _words(row: Row) -> str:
    return f"the range record {row.row_id}" if row.type == "range" else f"execution {row.id}"
