"""What writes a file through the process, and goes on by itself should that end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import structlog
from msgspec import Raw

from chronos.model.execution import RangeRecord
from chronos.store.background import protocol
from chronos.store.background.process import BackgroundProcess, Lost
from chronos.store.background.protocol import SegmentIs, StateIs
from chronos.store.records import Record, Row
from chronos.store.segment import SegmentInfo, SegmentReader, SegmentWriter
from chronos.store.state import Key
from chronos.store.statefile import StateWriter, raise_highest

log = structlog.get_logger("chronos.state")

T = TypeVar("T")
W = TypeVar("W", StateWriter, SegmentWriter)


class _Handed(ABC, Generic[W]):
    """A file that the process writes; without it, a writer of our own does."""

    def __init__(self, process: BackgroundProcess, path: Path) -> None:
        self._process = process
        self._path = path
        self._here: W | None = None

    def checkpoint(self) -> None:
        """Fold the write-ahead log into the file."""
        self._do((), protocol.Checkpoint(str(self._path)), lambda writer: writer.checkpoint())

    def close(self) -> None:
        """Fold the write-ahead log in, and close."""
        if (writer := self._asked((), protocol.Close(str(self._path)))[1]) is not None:
            writer.close()

    def _do(self, rows: Iterable[protocol.Row], request: protocol.Request, here: Callable[[W], object]) -> None:
        """Have it done, by the process or here, and note how the file stands then."""
        answer, writer = self._asked(rows, request)
        if writer is not None:
            here(writer)
        self._take(answer if writer is None else writer)

    def _asked(
        self, rows: Iterable[protocol.Row], request: protocol.Request
    ) -> tuple[protocol.Answer | None, W | None]:
        """Return what the process answers, or who does it here: the process is gone."""
        if self._here is None:
            try:
                return self._process.write(rows, request), None
            except Lost:
                log.warning("background_lost", file=str(self._path), pid=self._process.pid)
                self._here = self._open()
        return None, self._here

    @abstractmethod
    def _open(self) -> W: ...

    @abstractmethod
    def _take(self, now: Any) -> None: ...


class BackgroundState(_Handed[StateWriter]):
    """`StateWriter`, done by the process.

    Args:
        before: What has written the file up to now.

    Raises:
        Lost: The process is gone.
    """

    def __init__(self, process: BackgroundProcess, path: Path, pages_max: int, before: AnyState) -> None:
        super().__init__(process, path)
        self._pages_max = pages_max
        self.highest: dict[str, str] = before.highest
        self._take(process.ask(protocol.OpenState(str(path), pages_max)))

    def write(self, puts: Mapping[Key, Any], applied: int, time_us: int, fresh: Set[Key] = frozenset()) -> None:
        """See `StateWriter.write`."""
        raise_highest(self.highest, puts)

        def write_here(writer: StateWriter) -> None:
            if writer.applied != applied:  # or the process has still come to it
                writer.write(puts, applied, time_us, fresh)

        self._do(_rows_of(puts), protocol.WriteState(str(self._path), applied, time_us, list(fresh)), write_here)

    def _open(self) -> StateWriter:
        return StateWriter(self._path, self._pages_max)

    def _take(self, now: StateIs | StateWriter) -> None:
        self.applied, self.time_us, self.durable, self.wal_pages = now.applied, now.time_us, now.durable, now.wal_pages
        self.digest = int.from_bytes(now.digest, "big") if isinstance(now, StateIs) else now.digest


class BackgroundSegment(_Handed[SegmentWriter]):
    """`SegmentWriter`, done by the process."""

    def __init__(self, process: BackgroundProcess, path: Path, fresh: SegmentInfo) -> None:
        super().__init__(process, path)
        self.info = fresh
        self.waiting = self.wal_pages = 0
        self._do((), protocol.OpenSegment(str(path), fresh), lambda _: None)

    def write(self, records: Iterable[Record], complete_to: int, time_us: int) -> None:
        """See `SegmentWriter.write`."""
        kept = list(records)
        request = protocol.WriteSegment(str(self._path), complete_to, time_us)
        self._do(_rows_in(kept), request, lambda writer: writer.write(kept, complete_to, time_us))

    def catch_up(self) -> None:
        """See `SegmentWriter.catch_up`."""
        self._do((), protocol.CatchUp(str(self._path)), SegmentWriter.catch_up)

    def finish(self, closed_us: int, **known: int) -> SegmentInfo:
        """See `SegmentWriter.finish`."""
        request = protocol.Finish(str(self._path), closed_us, dict(known))
        self._do((), request, lambda writer: writer.finish(closed_us, **known))
        return self.info

    def note(self, **known: int | bytes) -> SegmentInfo:
        """See `SegmentWriter.note`."""
        self._do((), protocol.Note(str(self._path), dict(known)), lambda writer: writer.note(**known))
        return self.info

    def in_order(self) -> Iterator[Row]:
        """See `SegmentWriter.in_order`."""
        reader = SegmentReader(self._path)
        try:
            after = ("", -1)
            while rows := reader.in_order(after, protocol.ROWS_MAX):
                yield from rows
                after = rows[-1].id, rows[-1].series
        finally:
            reader.close()

    def _open(self) -> SegmentWriter:
        return SegmentWriter(self._path, self.info)

    def _take(self, now: SegmentIs | SegmentWriter) -> None:
        self.info, self.waiting, self.wal_pages = now.info, now.waiting, now.wal_pages


AnyState = StateWriter | BackgroundState
AnySegment = SegmentWriter | BackgroundSegment


# Values and records become bytes on their way: five hundred at once are encoded in a third of the time.


def _rows_of(puts: Mapping[Key, Any]) -> Iterator[protocol.Row]:
    for chunk in _chunks(puts.items()):
        yield protocol.StateRows(chunk)


def _rows_in(records: Sequence[Record]) -> Iterator[protocol.Row]:
    for chunk in _chunks(record for record in records if not isinstance(record, RangeRecord)):
        yield protocol.Executions(cast("list[Raw]", chunk))
    for ranges in _chunks(record for record in records if isinstance(record, RangeRecord)):
        yield protocol.Ranges(cast("list[Raw]", ranges))


def _chunks(rows: Iterable[T]) -> Iterator[list[T]]:
    each = iter(rows)
    while chunk := list(islice(each, protocol.ROWS_MAX)):
        yield chunk
