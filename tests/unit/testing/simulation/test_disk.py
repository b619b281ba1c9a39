"""The disk of a simulation keeps what was synced, and nothing else for certain."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from chronos.testing.simulation.disk import Loss, Mount, SimDisk


@pytest.fixture
def disk() -> SimDisk:
    return SimDisk()


@pytest.fixture
def mount(disk: SimDisk, tmp_path: Path) -> Iterator[Mount]:
    (tmp_path / "1").mkdir()
    mount = Mount(disk, tmp_path / "1")
    yield mount
    mount.close()


def database(mount: Mount, synchronous: str = "FULL") -> apsw.Connection:
    db = apsw.Connection(str(mount.folder / "t.db"), vfs=mount.vfs)
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "wal_autocheckpoint=0"):
        db.execute("PRAGMA " + pragma)
    db.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, text BLOB)")
    return db


def rows_after(disk: SimDisk, before: Mount, tmp_path: Path) -> list[int]:
    again = Mount(disk, tmp_path / "2", before.folder)
    try:
        db = apsw.Connection(str(again.folder / "t.db"), vfs=again.vfs)
        assert db.pragma("integrity_check") == "ok"
        return [n for (n,) in db.execute("SELECT n FROM t ORDER BY n")]
    finally:
        again.close()


@pytest.mark.parametrize("seed", range(30))
def test_what_was_committed_survives_every_power_cut(disk: SimDisk, mount: Mount, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    db = database(mount)
    count = draw.randint(1, 20)
    for n in range(count):
        db.execute("INSERT INTO t VALUES (?, ?)", (n, draw.randbytes(draw.choice((10, 5_000)))))
    db.execute("BEGIN")
    db.execute("INSERT INTO t VALUES (?, ?)", (1_000, draw.randbytes(100_000)))  # not committed
    mount.sever()
    disk.cut_power(draw)
    assert rows_after(disk, mount, tmp_path) == list(range(count))


def test_what_was_not_synced_is_lost_now_and_then(tmp_path: Path) -> None:
    lost = 0
    for seed in range(20):
        disk = SimDisk()
        folder = tmp_path / str(seed)
        (folder / "1").mkdir(parents=True)
        mount = Mount(disk, folder / "1")
        db = database(mount, "NORMAL")  # commits are not synced: the negative control
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for n in range(10):
            db.execute("INSERT INTO t VALUES (?, ?)", (n, bytes(100)))
        mount.sever()
        disk.cut_power(random.Random(seed))
        lost += len(rows_after(disk, mount, folder)) < 10
        mount.close()
    assert 5 < lost < 20


def test_a_killed_process_leaves_everything_it_wrote(disk: SimDisk, mount: Mount, tmp_path: Path) -> None:
    db = database(mount, "OFF")
    db.execute("INSERT INTO t VALUES (1, x'')")
    assert disk.unsynced > 0
    mount.sever()
    assert rows_after(disk, mount, tmp_path) == [1]


def test_nothing_that_a_dead_process_writes_reaches_the_disk(disk: SimDisk, mount: Mount) -> None:
    db = database(mount)
    mount.sever()
    before = {name: bytes(file.seen) for name, file in disk.files.items()}
    with pytest.raises(apsw.IOError):
        db.execute("INSERT INTO t VALUES (1, x'')")
    assert {name: bytes(file.seen) for name, file in disk.files.items()} == before


def test_a_failed_sync_leaves_what_it_lost_readable_until_the_power_goes(
    disk: SimDisk, mount: Mount, tmp_path: Path
) -> None:
    db = database(mount)
    disk.sync_failures = 1
    with pytest.raises(apsw.IOError):
        db.execute("INSERT INTO t VALUES (1, x'')")
    mount.sever()
    assert disk.hits == {"fsync_eio": 1}
    assert rows_after(disk, mount, tmp_path) == [1]  # it looks written
    disk.cut_power(random.Random(1))
    again = Mount(disk, tmp_path / "3", mount.folder)
    db = apsw.Connection(str(again.folder / "t.db"), vfs=again.vfs)
    assert db.execute("SELECT count(*) FROM t").fetchone() == (0,)  # and it is not
    again.close()


def test_a_full_disk_refuses_what_grows_and_serves_what_is_there(disk: SimDisk, mount: Mount) -> None:
    db = database(mount)
    db.execute("INSERT INTO t VALUES (1, x'')")
    disk.full = True
    with pytest.raises(apsw.FullError):
        db.execute("INSERT INTO t VALUES (2, ?)", (bytes(100_000),))
    assert db.execute("SELECT n FROM t").fetchall() == [(1,)]
    disk.heal()
    db.execute("INSERT INTO t VALUES (2, x'')")


def test_every_kind_of_loss_occurs(tmp_path: Path) -> None:
    seen: set[Loss] = set()
    for seed in range(20):
        disk = SimDisk()
        mount = Mount(disk, tmp_path / str(seed), None)
        mount.folder.mkdir()
        database(mount, "OFF").execute("INSERT INTO t VALUES (1, ?)", (bytes(9_000),))
        mount.sever()
        seen |= set(disk.cut_power(random.Random(seed)))
        mount.close()
    assert seen == set(Loss)


def test_a_disk_can_be_shown_as_real_files_and_taken_from_them(disk: SimDisk, mount: Mount, tmp_path: Path) -> None:
    database(mount).execute("INSERT INTO t VALUES (7, x'00')")
    (tmp_path / "real").mkdir()
    disk.show(tmp_path / "real")
    shown = apsw.Connection(str(tmp_path / "real" / "t.db"))
    assert shown.execute("SELECT n FROM t").fetchall() == [(7,)]
    shown.execute("INSERT INTO t VALUES (8, x'00')")
    shown.close()
    mount.sever()
    disk.take(tmp_path / "real")
    disk.cut_power(random.Random(1))
    assert set(disk.files) == {"t.db"}
    assert rows_after(disk, mount, tmp_path) == [7, 8]
