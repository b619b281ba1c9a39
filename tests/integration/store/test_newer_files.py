"""Files of a newer release: each is refused by name, whoever opens it, and is left as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from chronos.cluster import logrecovery
from chronos.cluster.logfile import LogFile
from chronos.errors import FormatUnreadable, LogDamaged, StateDamaged
from chronos.store import recovery
from chronos.store.commands import LogEntry, NewLeader, decode_entry, encode_entry
from chronos.store.history import MANIFEST, History, HistoryReader
from chronos.store.segment import SegmentInfo, SegmentReader, SegmentWriter, read_info
from chronos.store.statefile import StateReader, StateWriter

MEBIBYTE = 1 << 20


def make_log(folder: Path) -> Path:
    log = LogFile(folder / "log.db", MEBIBYTE)
    log.open()
    log.append(1, b"one", 1)
    log.close()
    return folder / "log.db"


def make_state(folder: Path) -> Path:
    StateWriter(folder / "state.db").close()
    return folder / "state.db"


def make_segment(folder: Path) -> Path:
    SegmentWriter(folder / "000001.db", SegmentInfo(1)).close()
    return folder / "000001.db"


def open_log(path: Path) -> None:
    LogFile(path, MEBIBYTE).open()


def open_history(path: Path) -> None:
    History(path.parent).open()


OPENED: list[tuple[Callable[[Path], Path], Callable[[Path], object]]] = [
    (make_log, open_log),
    (make_log, logrecovery.good_entries),
    (make_log, lambda path: logrecovery.recover(path, 1)),
    (make_state, StateWriter),
    (make_state, StateReader),
    (make_state, lambda path: recovery.applied_entry(path.parent)),
    (make_segment, SegmentReader),
    (make_segment, read_info),
    (make_segment, open_history),
]


def say(path: Path, **said: str | int) -> None:
    """Let a file say something else of itself."""
    db = apsw.Connection(str(path))
    for key, value in said.items():
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def said_by(path: Path) -> tuple[list[Any], Any]:
    """Return what a file says of itself, and how often it was opened to be written."""
    db = apsw.Connection(str(path))
    rows = db.execute("SELECT key, value FROM meta ORDER BY key").fetchall()
    opened = db.pragma("user_version")
    db.close()
    return rows, opened


@pytest.mark.parametrize(("make", "use"), OPENED)
def test_a_newer_file_is_refused_with_words_and_left_as_it_is(
    tmp_path: Path, make: Callable[[Path], Path], use: Callable[[Path], object]
) -> None:
    path = make(tmp_path)
    say(path, format=7, needs="99.1.0")
    before = said_by(path)

    with pytest.raises(FormatUnreadable, match=rf"{path.name} .* format 7; .*release 99\.1\.0 or newer"):
        use(path)
    assert said_by(path) == before


@pytest.mark.parametrize("make", [make_log, make_state, make_segment])
def test_every_file_says_its_format_and_which_release_reads_it(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    rows, _ = said_by(make(tmp_path))

    assert ("format", 1) in rows
    assert ("needs", "0.1.0") in rows


@pytest.mark.parametrize(("make", "use"), OPENED)
@pytest.mark.parametrize("said", [{"format": "x"}, {"format": 3, "needs": "0.0.9"}])
def test_a_file_whose_format_is_none_is_damaged(
    tmp_path: Path, make: Callable[[Path], Path], use: Callable[[Path], object], said: dict[str, Any]
) -> None:
    path = make(tmp_path)
    say(path, **said)

    with pytest.raises((LogDamaged, StateDamaged)):
        use(path)


@pytest.mark.parametrize(("make", "use"), [(make, use) for make, use in OPENED if make is not make_log])
def test_a_file_that_says_nothing_is_of_the_first_format(
    tmp_path: Path, make: Callable[[Path], Path], use: Callable[[Path], object]
) -> None:
    path = make(tmp_path)
    db = apsw.Connection(str(path))
    db.execute("DELETE FROM meta WHERE key IN ('format', 'needs')")
    db.close()

    use(path)


def test_the_list_of_segments_of_the_first_releases_is_read(tmp_path: Path) -> None:
    SegmentWriter(tmp_path / "000001.db", SegmentInfo(1)).close()
    old = [SegmentInfo(1, rows=5, closed_us=9)]
    (tmp_path / MANIFEST).write_bytes(msgspec.json.encode(old))

    history = History(tmp_path)
    history.open()
    assert history.infos[0].rows == 5
    history.close()


def test_a_newer_list_of_segments_is_refused(tmp_path: Path) -> None:
    make_segment(tmp_path)
    (tmp_path / MANIFEST).write_text(json.dumps({"format": 2, "needs": "99.0.0", "shards": {}}))

    with pytest.raises(FormatUnreadable, match=r"manifest\.json .*99\.0\.0"):
        History(tmp_path).open()


def test_a_newer_segment_among_older_ones_is_refused_when_it_is_searched(tmp_path: Path) -> None:
    say(make_segment(tmp_path), format=2, needs="99.0.0")

    with pytest.raises(FormatUnreadable, match=r"000001\.db"):
        HistoryReader(tmp_path).reader(1)


def test_an_entry_of_a_newer_format_is_refused() -> None:
    data = encode_entry(LogEntry(2, 5, b"", [NewLeader("a", "b")]))

    with pytest.raises(FormatUnreadable, match="an entry of the log"):
        decode_entry(data)


def test_a_command_that_only_a_newer_release_knows_is_refused_with_words() -> None:
    data = msgspec.msgpack.encode([1, 5, b"", [[120, "what nobody knows yet"]]])

    with pytest.raises(FormatUnreadable, match="a newer one wrote it"):
        decode_entry(data)
