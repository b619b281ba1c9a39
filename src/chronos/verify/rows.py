"""The second pass: rows in the order of their instants, from all segments at once, a block of a file at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final, Self

import msgspec

from chronos.verify import lines
from chronos.verify.lines import Row
from chronos.verify.plain import Ran, Stock
from chronos.verify.reading import Export, Segment

_BLOCK: Final = 1 << 17


class Rows:
    """Gives out what is due in one stretch of time after the other."""

    def __init__(self, export: Export) -> None:
        self._export = export
        self._files: list[int] = []
        self._stack = ExitStack()
        # The segment that begins first is the last, so that it can be taken off.
        self._waiting = sorted((s for s in export.segments.values() if s.rows), key=_begin, reverse=True)
        self._open: list[_Cursor] = []
        self._stocks: list[Stock] = []
        self.bytes_read = 0

    def __enter__(self) -> Self:
        for path in self._export.paths:
            self._files.append(self._stack.enter_context(path.open("rb")).fileno())
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()
        self._export.plain.close()

    @property
    def next_s(self) -> int | None:
        """The lowest instant that has not been given out, or a little less; None when there is nothing left."""
        found = [*(cursor.peek_s for cursor in self._open), *(stock.next_s for stock in self._stocks)]
        if self._waiting:
            found.append(_begin(self._waiting[-1]))
        return min(found, default=None)

    def up_to(self, instant_s: int) -> Iterator[Row]:
        """Yield the rows that are about instants up to `instant_s` and that were not yielded before."""
        self._begin_up_to(instant_s)
        for cursor in self._open:
            yield from cursor.up_to(instant_s)
        self._open = [cursor for cursor in self._open if not cursor.is_over]

    def _begin_up_to(self, instant_s: int) -> None:
        while self._waiting and _begin(self._waiting[-1]) <= instant_s:
            segment = self._waiting.pop()
            # Ranges stand behind the executions: each has a cursor, so that both come in their time.
            self._open += [_Cursor(self._decoded(segment, is_range=kind)) for kind in (False, True)]
            if self._export.plain.has(segment.number):
                self._stocks.append(Stock(self._export.plain.take(segment.number)))

    def plain_up_to(self, instant_s: int) -> dict[str, list[Ran]]:
        """Return the plain executions, by job, that are about instants up to `instant_s` and were not returned before.

        One list for each segment that has any.
        """
        self._begin_up_to(instant_s)
        found: dict[str, list[Ran]] = {}
        for stock in self._stocks:
            for job_id, ran in stock.up_to(instant_s).items():
                found.setdefault(job_id, []).append(ran)
        self._stocks = [stock for stock in self._stocks if not stock.is_over]
        return found

    def _decoded(self, segment: Segment, *, is_range: bool) -> Iterator[Row]:
        for file, start, end in segment.range_pieces if is_range else segment.execution_pieces:
            for line in self._lines(self._files[file], start, end):
                row = _row(line)
                if row is not None:
                    yield row

    def _lines(self, file: int, start: int, end: int) -> Iterator[bytes]:
        rest = b""
        while start < end:
            block = os.pread(file, min(_BLOCK, end - start), start)
            if not block:
                return
            start += len(block)
            self.bytes_read += len(block)
            *whole, rest = (rest + block).split(b"\n")
            yield from whole
        if rest:
            yield rest


def _begin(segment: Segment) -> int:
    return segment.first_s


def _row(line: bytes) -> Row | None:
    """Return the row of a line; one that is not here is one without a job."""
    try:
        said = lines.decode_row_line(line)
    except msgspec.MsgspecError:
        return None  # the first pass has said so
    if not isinstance(said, lines.LeafLine):
        return said.data
    return Row(type="leaf", id=said.id, series=said.series) if said.id else None


class _Cursor:
    """A stream of rows, and the first of those that have not been given out."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    @property
    def is_over(self) -> bool:
        return self._next is None

    @property
    def peek_s(self) -> int:
        return self._next.due_s if self._next is not None else 1 << 62

    def up_to(self, instant_s: int) -> Iterator[Row]:
        while self._next is not None and self._next.due_s <= instant_s:
            yield self._next
            self._next = next(self._rows, None)
