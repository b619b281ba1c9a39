"""History on disk: a row of segment files, the newest being written, the oldest removed as a whole.

`History` belongs to the thread that writes; `HistoryReader` to the one that searches. What they share is the tuple
`History.infos`, which is replaced, never changed.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import apsw
import msgspec
from msgspec import Struct

from chronos.failpoints import reach
from chronos.model.execution import RangeRecord
from chronos.model.formats import MANIFEST as MANIFEST_FORMAT
from chronos.store.background.files import AnySegment
from chronos.store.commands import Seal
from chronos.store.generation import Generation
from chronos.store.jobindex import GLANCED_MAX, WAITING_MAX
from chronos.store.records import AFTER_ALL, Position, Record, RecordFilter, Row, row_of
from chronos.store.refolding import Journaled, Refolding
from chronos.store.segment import SegmentInfo, SegmentReader, SegmentSource, SegmentWriter, read_info
from chronos.store.sqlitefile import translated

MANIFEST = "manifest.json"
OPEN_MAX = 8
FILTERED_MAX = 1_000
"""Of so many segments, the newest, it is known without opening them which jobs are in: about a megabyte or two."""

_DAY_US = 86_400 * 1_000_000
STRETCH_US = 6 * 3_600 * 1_000_000
"""Members of a cluster cut history where log time passes a multiple of this, and nowhere else."""


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
    """Writes ended executions and range records; at any time complete up to one entry of the log.

    There is one segment being written for each length of time that records are kept, so that what is old goes by
    whole files. Segments are numbered in the order in which they were begun, and no number is used twice.

    Attributes:
        is_cut_alike: Whether segments are those of every member of a cluster: a seal that one of them writes has to
            vouch for the rows of all. Then they are cut by log time alone, and not when they have so many rows.
    """

    def __init__(self, folder: Path, settings: HistorySettings | None = None, *, vfs: str | None = None) -> None:
        self._folder = folder
        self._vfs = vfs
        self._settings = settings or HistorySettings()
        self._live: dict[int, AnySegment] = {}
        self._open: Callable[[Path, SegmentInfo], AnySegment] = self._open_here
        self._closed: tuple[SegmentInfo, ...] = ()
        self._newest = 0
        self._refolding: Refolding | None = None
        self.is_cut_alike = False
        self._written_us = 0
        self.complete_to = 0
        """Everything up to this entry of the log is here, through a power cut too."""
        self.infos: tuple[SegmentInfo, ...] = ()

    def check(self) -> None:
        """See whether this release can read what is there; nothing is changed.

        Raises:
            FormatUnreadable: A newer release has written some of it.
            StateDamaged: Something is not what was written.
        """
        with translated(self._folder):
            self._infos()

    def open(self, above: int = 0) -> None:
        """Look at every segment, and open those that were being written.

        Args:
            above: Numbers up to here were used, whether or not their files are still there.
        """
        self._open = self._open_here
        with translated(self._folder):
            found = self._found()
            self._newest = max([above, *(info.number for info in found)])
            self.complete_to = max((info.complete_to for info in found), default=0)
            ended = _with_ends(found)
            self._closed = tuple(info for info in ended if info.closed_us)
            for info in ended:
                if not info.closed_us:
                    self._live[info.days] = self._open(self._path(info.number), info)
            self._publish()

    def _found(self) -> list[SegmentInfo]:
        """Return what is known of each file; one that a crash has kept from being begun will be begun anew."""
        infos = []
        for number, info in self._infos():
            if info.number != number:  # a crash has kept it from being given the name of its seal
                self._path(number).rename(self._path(info.number))
            infos.append(info)
        return sorted(infos, key=lambda info: info.number)

    def _infos(self) -> list[tuple[int, SegmentInfo]]:
        known = {info.number: info for info in _read_manifest(self._folder)}
        numbers = sorted(int(path.stem) for path in self._folder.glob("[0-9]*.db"))
        found = [(number, known.get(number) or read_info(self._path(number), self._vfs)) for number in numbers]
        return [(number, info) for number, info in found if info is not None]

    def _open_here(self, path: Path, fresh: SegmentInfo) -> SegmentWriter:
        return SegmentWriter(path, fresh, self._vfs)

    def hand_over(self, opened: Callable[[Path, SegmentInfo], AnySegment]) -> None:
        """Have what is being written, and will be, written by what `opened` returns of (path, what is known of it)."""
        self._open = opened
        with translated(self._folder):
            for days, live in list(self._live.items()):
                self._live[days] = opened(self._path(live.info.number), live.info)
                live.close()

    def write_all(self, batch: Generation, index: int, time_us: int) -> None:
        """Write what a generation has for history, which ends with entry `index`, durably."""
        if batch.journal:
            self.refold(batch.journal, index, time_us)
            return
        for part in (part for part in batch.parts if not part.is_written):  # one behind it may have failed
            self.write(part.records.values(), part.index, part.time_us, part.days)
            part.is_written = True
        self.write(batch.last.values(), index, time_us, batch.days)

    def write(
        self, records: Collection[Record], index: int, time_us: int, days: Mapping[tuple[str, int], int] | None = None
    ) -> None:
        """Write what has ended up to entry `index`, durably. Without records there is nothing to write.

        Args:
            days: By (id, series), how long each is kept; None for as long as the server says for all.

        Raises:
            StorageFull: Nobody may count on what was written of it; writing it again is harmless.
        """
        self._written_us = max(self._written_us, time_us)
        if not records:
            return
        groups = _by_days(records, days) if days and any(days.values()) else {0: records}
        with translated(self._folder):
            # Members begin segments in the order of the log, however much each of them writes at a time.
            ordered = list(groups.items()) if self.is_cut_alike else sorted(groups.items())
            for left, (kept, group) in enumerate(ordered, 1 - len(groups)):
                # Only the last file says how far all of them have come: a crash may come between two of them.
                complete_to = index if left == 0 else self.complete_to
                self._writer(kept, time_us).write(group, complete_to, time_us)
            self.complete_to = index
        self._publish()

    def _writer(self, days: int, time_us: int) -> AnySegment:
        live = self._live.get(days)
        if live is not None and self._is_due(live.info, time_us):
            self._close_segment(days, time_us)
        return self._begun(days, time_us)

    def _begun(self, days: int, time_us: int) -> AnySegment:
        live = self._live.get(days)
        if live is None:
            fresh = SegmentInfo(self._newest + 1, opened_us=time_us, complete_to=self.complete_to, days=days)
            live = self._live[days] = self._open(self._path(fresh.number), fresh)
            self._newest += 1
        return live

    # While history is folded once more.

    def expect(self, seals: Sequence[Seal]) -> None:
        """Cut what is written from now on into the segments that these seals vouch for, until `expect` none."""
        closed = {info.number for info in self._closed}
        refolding = Refolding(self, seals, closed)
        self._refolding = refolding if refolding.left else None
        # What fits no seal must not be taken for what one vouches for.
        self._newest = max([self._newest, *(seal.segment for seal in refolding.left)])

    @property
    def missing(self) -> list[Seal]:
        """The seals that were expected, and whose rows have not come."""
        return self._refolding.left if self._refolding is not None else []

    def refold(self, journal: Sequence[Journaled], index: int, time_us: int) -> None:
        """Write what was made up to entry `index`, as `write` does, and cut it by the seals that are expected."""
        assert self._refolding is not None
        with translated(self._folder):
            self._refolding.write(journal, index, time_us)
            self.complete_to = index
        self._publish()

    def rows_of(self, days: int) -> Iterator[Row]:
        live = self._live.get(days)
        return iter(()) if live is None else live.in_order()

    def put(self, days: int, records: Collection[Record], time_us: int, complete_to: int = 0) -> None:
        self.complete_to = max(self.complete_to, complete_to)
        self._begun(days, time_us).write(records, self.complete_to, time_us)

    def close_as(self, days: int, seal: Seal) -> None:
        self._take_closed(self._renamed(days, seal.segment, seal))

    def keep_apart(self) -> None:
        """Let no segment that is being written keep a number for which there is a seal it does not fit."""
        for days, live in list(self._live.items()):
            if live.info.number in {seal.segment for seal in self.missing}:
                self._newest += 1
                info = self._renamed(days, self._newest)
                self._live[days] = self._open(self._path(info.number), info)
        self._publish()

    def _renamed(self, days: int, number: int, seal: Seal | None = None) -> SegmentInfo:
        """Give the segment of a class another number, in itself first, and let go of it; close it when it is sealed."""
        live = self._live.pop(days)
        before = self._path(live.info.number)
        if seal is None:
            info = live.note(number=number)
        else:
            info = live.finish(seal.closed_us, opened_us=seal.opened_us, number=number)
        live.close()
        before.rename(self._path(number))
        return info

    def close_due(self, time_us: int) -> None:
        """Close the segments whose time is over, though nothing is written.

        Raises:
            StorageFull: It is tried again later.
        """
        if self.is_cut_alike:
            time_us = min(time_us, self._written_us)  # what is not written yet may belong to what is closed
        with translated(self._folder):
            due = [days for days, live in self._live.items() if self._is_due(live.info, time_us)]
            for days in due:
                self._close_segment(days, time_us)
        if due:
            self._publish()

    def is_new_stretch(self, before_us: int, time_us: int) -> bool:
        """Whether history is cut between these two instants of log time; for any thread."""
        return self.is_cut_alike and before_us // STRETCH_US != time_us // STRETCH_US

    def _is_due(self, info: SegmentInfo, time_us: int) -> bool:
        if self.is_cut_alike:
            return info.opened_us // STRETCH_US < time_us // STRETCH_US
        return info.rows >= self._settings.segment_rows or time_us - info.opened_us >= self._settings.segment_us

    def _close_segment(self, days: int, time_us: int) -> None:
        """Close durably, in the file itself: what is sealed must never be written to again, whatever crashes."""
        live = self._live[days]
        # It is not younger for nobody having looked: behind its time nothing was written to it.
        info = live.finish(min(time_us, live.info.opened_us + self._settings.segment_us))
        reach("history.rotate-midway")
        live.close()
        del self._live[days]
        self._take_closed(info)

    def _take_closed(self, info: SegmentInfo) -> None:
        closed = sorted((*self._closed, info), key=lambda one: one.number)
        for place in range(len(closed) - FILTERED_MAX):
            if closed[place].jobs:
                closed[place] = msgspec.structs.replace(closed[place], jobs=b"")
        self._closed = tuple(closed)
        self._write_manifest()

    def remove(self, numbers: Collection[int]) -> int:
        """Delete closed segments; return how many there were. Those being written stay."""
        gone = [info.number for info in self._closed if info.number in numbers]
        if not gone:
            return 0
        self._closed = tuple(info for info in self._closed if info.number not in gone)
        self._publish()
        with translated(self._folder):
            self._write_manifest()
            for number in gone:
                self._unlink(number)
        return len(gone)

    def is_at_hand(self, wanted: RecordFilter) -> bool:
        """Whether a page of it is found without going through many rows one by one."""
        return wanted.job_id is None or sum(live.waiting for live in self._live.values()) <= GLANCED_MAX

    def is_untidy(self, pages_max: int) -> bool:
        """Whether `tidy` has something to do; for any thread, while nothing is written."""
        live = self._live.values()
        return any(one.waiting > WAITING_MAX for one in live) or sum(one.wal_pages for one in live) >= pages_max

    def tidy(self, pages_max: int) -> None:
        """Put what was written where a search for its job finds it at once, and fold long write-ahead logs in.

        Raises:
            StorageFull: It is tried again after the next write.
        """
        with translated(self._folder):
            for live in self._live.values():
                if live.waiting > WAITING_MAX:
                    live.catch_up()
            if self.is_untidy(pages_max):
                self.checkpoint()

    def checkpoint(self) -> None:
        """Fold the write-ahead logs of what is being written in."""
        with translated(self._folder):
            for live in self._live.values():
                live.checkpoint()

    def close(self) -> None:
        """Close the files."""
        with translated(self._folder):
            while self._live:
                self._live.popitem()[1].close()

    def _publish(self) -> None:
        live = [writer.info for writer in self._live.values()]
        self.infos = tuple(sorted((*self._closed, *live), key=lambda info: info.number))

    def _unlink(self, number: int) -> None:
        for suffix in ("-shm", "-wal", ""):  # the file last: as long as it is there, the rest is found again
            self._path(number, suffix).unlink(missing_ok=True)

    def _path(self, number: int, suffix: str = "") -> Path:
        return segment_path(self._folder, number, suffix)

    def _write_manifest(self) -> None:
        temporary = self._folder / (MANIFEST + ".new")
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(_Manifest(segments=list(self._closed))))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._folder / MANIFEST)


def _by_days(records: Iterable[Record], days: Mapping[tuple[str, int], int]) -> dict[int, Collection[Record]]:
    groups: dict[int, list[Record]] = {}
    for record in records:
        row = row_of(record)
        groups.setdefault(days[row.key], []).append(record)
    return dict(groups)


def _read_manifest(folder: Path) -> list[SegmentInfo]:
    """The manifest saves opening every file at the start; without it each file is asked."""
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
        if text.startswith(b"["):  # the segments alone, as the first releases wrote it
            return msgspec.json.decode(text, type=list[SegmentInfo])
        MANIFEST_FORMAT.check(path, *manifest_head(text))
        return msgspec.json.decode(text, type=_Manifest).segments
    except (FileNotFoundError, msgspec.DecodeError, ValueError):
        return []


def closed_segments(folder: Path) -> list[int]:
    """Return the segments in `folder` that are known to be closed, without opening any."""
    return [info.number for info in _read_manifest(folder) if info.closed_us]


def manifest_head(text: bytes) -> tuple[int, str]:
    """Return the format of a manifest, and the first release that reads it.

    Raises:
        msgspec.DecodeError: It is none.
    """
    if text.startswith(b"["):
        return 1, ""
    head = msgspec.json.decode(text, type=_Head)
    return head.format, head.needs


def _with_ends(infos: list[SegmentInfo]) -> list[SegmentInfo]:
    """Return the same, each closed when the next of its kind was opened: in older files it is not noted."""
    opened: dict[int, int] = {}
    found = []
    for info in reversed(infos):
        follower_us, opened[info.days] = opened.get(info.days, 0), info.opened_us
        found.append(info if info.closed_us else msgspec.structs.replace(info, closed_us=follower_us))
    return found[::-1]


def segment_path(folder: Path, number: int, suffix: str = "") -> Path:
    """Return where a segment lies."""
    return folder / f"{number:06d}.db{suffix}"


class GivenUp(Exception):
    """Nobody waits for what is searched."""


class HistoryReader:
    """Opens segments as they are asked for, and keeps the last few open.

    Attributes:
        is_given_up: Whether nobody waits any more for the search at hand; asked before a segment is.
    """

    def __init__(self, folder: Path, *, vfs: str | None = None) -> None:
        self._folder = folder
        self._vfs = vfs
        self._open: OrderedDict[int, SegmentReader] = OrderedDict()
        self._infos: tuple[SegmentInfo, ...] = ()
        self.is_given_up: Callable[[], bool] = lambda: False

    def sources(
        self, infos: tuple[SegmentInfo, ...], wanted: RecordFilter, before: Position = AFTER_ALL
    ) -> list[SegmentSource]:
        """Return the segments in which there may be records that match and stand before `before`, the newest first."""
        return [
            SegmentSource(info, partial(self.reader, info.number))
            for info in reversed(infos)
            if info.may_hold(wanted, before)
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
        """Return the open segment; None when retention has taken it meanwhile.

        Raises:
            GivenUp: Nobody waits for it.
        """
        if self.is_given_up():
            raise GivenUp
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

    def forget(self, numbers: Collection[int]) -> None:
        """Close segments that are gone: as long as they are open, their space is not free."""
        for number in numbers:
            if (reader := self._open.pop(number, None)) is not None:
                reader.close()

    def forget_gone(self, infos: tuple[SegmentInfo, ...]) -> None:
        """Close the segments that were there when this was called last, and are no longer."""
        if infos is not self._infos:
            self.forget({info.number for info in self._infos} - {info.number for info in infos})
            self._infos = infos

    def close(self) -> None:
        """Close all segments."""
        while self._open:
            self._open.popitem()[1].close()
