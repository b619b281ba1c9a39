"""History on disk: a row of segment files, the newest being written, the oldest dropped as a whole.

`History` belongs to the thread that writes; `HistoryReader` to the one that searches. What they share is the tuple
`History.infos`, which is replaced, never changed.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Collection
from functools import partial
from itertools import pairwise
from pathlib import Path

import apsw
import msgspec
from msgspec import Struct

from chronos.failpoints import reach
from chronos.model.execution import RangeRecord
from chronos.model.formats import MANIFEST as MANIFEST_FORMAT
from chronos.store.records import Record, RecordFilter, Row, Source
from chronos.store.segment import SegmentInfo, SegmentReader, SegmentSource, SegmentWriter, read_info
from chronos.store.sqlitefile import translated

MANIFEST = "manifest.json"
OPEN_MAX = 8
_DAY_US = 86_400 * 1_000_000


class _Manifest(Struct, frozen=True, kw_only=True):
    """What `manifest.json` says."""

    format: int = MANIFEST_FORMAT.current
    needs: str = MANIFEST_FORMAT.since
    segments: list[SegmentInfo]


class _Head(Struct, frozen=True, kw_only=True):
    """What every format of it says."""

    format: int
    needs: str = ""


class HistorySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a segment is closed."""

    segment_rows: int = 1_000_000
    segment_us: int = _DAY_US


class History:
    """Writes ended executions and range records; at any time complete up to one entry of the log."""

    def __init__(self, folder: Path, settings: HistorySettings | None = None, *, vfs: str | None = None) -> None:
        self._folder = folder
        self._vfs = vfs
        self._settings = settings or HistorySettings()
        self._live: SegmentWriter | None = None
        self._closed: tuple[SegmentInfo, ...] = ()
        self.infos: tuple[SegmentInfo, ...] = ()

    @property
    def complete_to(self) -> int:
        """Everything up to this entry of the log is here, through a power cut too."""
        return self.infos[-1].complete_to if self.infos else 0

    def open(self) -> None:
        """Open the newest segment, or begin the first."""
        with translated(self._folder):
            numbers = sorted(int(path.stem) for path in self._folder.glob("[0-9]*.db"))
            known = {info.number: info for info in self._read_manifest()}
            live = numbers.pop() if numbers else 1
            found = [known.get(number) or read_info(self._path(number), self._vfs) for number in numbers]
            self._closed = tuple(info for info in found if info is not None)
            complete_to = self._closed[-1].complete_to if self._closed else 0
            self._live = SegmentWriter(self._path(live), SegmentInfo(live, complete_to=complete_to), self._vfs)
            self._closed = _with_ends((*self._closed, self._live.info))
            self._publish()

    def write(self, records: Collection[Record], index: int, time_us: int) -> None:
        """Write what has ended up to entry `index`, durably. Without records there is nothing to write.

        Raises:
            StorageFull: Nothing was written.
        """
        if not records:
            return
        assert self._live is not None
        with translated(self._folder):
            if self._is_due(time_us):
                self._rotate(time_us)
            self._live.write(records, index, time_us)
        self._publish()

    def _is_due(self, time_us: int) -> bool:
        assert self._live is not None
        info = self._live.info
        if info.rows >= self._settings.segment_rows:
            return True
        return info.rows > 0 and time_us - info.opened_us >= self._settings.segment_us

    def _rotate(self, time_us: int) -> None:
        assert self._live is not None
        info = msgspec.structs.replace(self._live.info, closed_us=time_us)
        fresh = SegmentInfo(info.number + 1, opened_us=time_us, complete_to=info.complete_to)
        successor = SegmentWriter(self._path(fresh.number), fresh, self._vfs)
        self._live.close()
        self._live, self._closed = successor, (*self._closed, info)
        reach("history.rotate-midway")
        self._write_manifest()

    def retire(self, before_us: int) -> int:
        """Delete the segments that were closed before `before_us` (log time); return how many."""
        old = [info for info in self._closed if 0 < info.closed_us < before_us]
        if not old:
            return 0
        self._closed = tuple(info for info in self._closed if info not in old)
        self._publish()
        with translated(self._folder):
            self._write_manifest()
            for info in old:
                for suffix in ("", "-wal", "-shm"):
                    self._path(info.number, suffix).unlink(missing_ok=True)
        return len(old)

    def checkpoint(self) -> None:
        """Fold the newest segment's write-ahead log in."""
        assert self._live is not None
        with translated(self._folder):
            self._live.checkpoint()

    def close(self) -> None:
        """Close the newest segment."""
        if self._live is not None:
            with translated(self._folder):
                self._live.close()
            self._live = None

    def _publish(self) -> None:
        assert self._live is not None
        self.infos = (*self._closed, self._live.info)

    def _path(self, number: int, suffix: str = "") -> Path:
        return segment_path(self._folder, number, suffix)

    def _read_manifest(self) -> list[SegmentInfo]:
        """The manifest saves opening every file at the start; without it each file is asked."""
        path = self._folder / MANIFEST
        try:
            text = path.read_bytes()
            if text.startswith(b"["):  # the segments alone, as the first releases wrote it
                return msgspec.json.decode(text, type=list[SegmentInfo])
            MANIFEST_FORMAT.check(path, *manifest_head(text))
            return msgspec.json.decode(text, type=_Manifest).segments
        except (FileNotFoundError, msgspec.DecodeError, ValueError):
            return []

    def _write_manifest(self) -> None:
        temporary = self._folder / (MANIFEST + ".new")
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(_Manifest(segments=list(self._closed))))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._folder / MANIFEST)


def manifest_head(text: bytes) -> tuple[int, str]:
    """Return the format of a manifest, and the first release that reads it.

    Raises:
        msgspec.DecodeError: It is none.
    """
    if text.startswith(b"["):
        return 1, ""
    head = msgspec.json.decode(text, type=_Head)
    return head.format, head.needs


def _with_ends(infos: tuple[SegmentInfo, ...]) -> tuple[SegmentInfo, ...]:
    """Return all but the last, each closed when the next was opened: a crash may have kept that from being noted."""
    return tuple(
        info if info.closed_us else msgspec.structs.replace(info, closed_us=following.opened_us)
        for info, following in pairwise(infos)
    )


def segment_path(folder: Path, number: int, suffix: str = "") -> Path:
    """Return where a segment lies."""
    return folder / f"{number:06d}.db{suffix}"


class HistoryReader:
    """Opens segments as they are asked for, and keeps the last few open."""

    def __init__(self, folder: Path, *, vfs: str | None = None) -> None:
        self._folder = folder
        self._vfs = vfs
        self._open: OrderedDict[int, SegmentReader] = OrderedDict()

    def sources(self, infos: tuple[SegmentInfo, ...], wanted: RecordFilter) -> list[Source]:
        """Return the segments in which there may be records that match, the newest first."""
        return [
            SegmentSource(info, partial(self.reader, info.number))
            for info in reversed(infos)
            if info.covers(wanted.since_s, wanted.until_s)
        ]

    def get(self, infos: tuple[SegmentInfo, ...], record_id: str, instant_s: int) -> Row | None:
        """Return the newest version of a record."""
        covering = [info for info in reversed(infos) if info.covers(instant_s, instant_s)]
        readers = (self.reader(info.number) for info in covering)
        rows = (reader.get(record_id) for reader in readers if reader is not None)
        # Of equal series the first one found is the newest, and `max` keeps the first.
        return max((row for row in rows if row is not None), key=lambda row: row.series, default=None)

    def ranges_at(self, infos: tuple[SegmentInfo, ...], instant_s: int, most: int) -> list[RangeRecord]:
        """Return range records that `instant_s` lies in; of one that grew, each version there is."""
        found: list[RangeRecord] = []
        for info in reversed(infos):
            if info.covers(instant_s, instant_s) and (reader := self.reader(info.number)):
                found += reader.ranges_at(instant_s, most - len(found))
        return found

    def reader(self, number: int) -> SegmentReader | None:
        """Return the open segment; None when retention has taken it meanwhile."""
        reader = self._open.pop(number, None)
        if reader is None:
            try:
                reader = SegmentReader(segment_path(self._folder, number), self._vfs)
            except apsw.CantOpenError:
                return None
        self._open[number] = reader
        while len(self._open) > OPEN_MAX:
            self._open.popitem(last=False)[1].close()
        return reader

    def close(self) -> None:
        """Close all segments."""
        while self._open:
            self._open.popitem()[1].close()
