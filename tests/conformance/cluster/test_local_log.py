"""What only a log on disk can suffer: damage, and a disk that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from chronos.cluster.local import LocalLog, LocalLogSettings
from chronos.cluster.logfile import Fork, LogFile
from chronos.cluster.logrecovery import good_entries, recover
from chronos.errors import LogDamaged, LogFailed


async def fill(folder: Path, count: int, settings: LocalLogSettings | None = None) -> None:
    async with LocalLog(folder, settings) as log:
        epoch = await log.campaign()
        for index in range(1, count + 1):
            await log.append(index, b"entry %d" % index, epoch)


async def open_and_close(folder: Path) -> None:
    async with LocalLog(folder):
        pass


def vandalise(folder: Path, sql: str) -> None:
    db = apsw.Connection(str(folder / "log.db"))
    db.execute(sql)
    db.close()


@pytest.mark.parametrize(
    ("sql", "last_good"),
    [
        ("UPDATE entries SET data = x'00' WHERE idx = 7", 6),
        ("UPDATE entries SET data = zeroblob(length) WHERE idx = 7", 6),
        ("UPDATE entries SET epoch = 2 WHERE idx = 7", 6),
        ("UPDATE entries SET hash = zeroblob(32) WHERE idx = 10", 9),
        ("DELETE FROM entries WHERE idx = 7", 6),
        ("DELETE FROM entries WHERE idx = 1", 0),
        ("UPDATE meta SET value = zeroblob(31) WHERE key = 'base_hash'", 0),
    ],
)
def test_a_damaged_log_is_refused_and_the_last_good_entry_named(tmp_path: Path, sql: str, last_good: int) -> None:
    asyncio.run(fill(tmp_path, 10))
    vandalise(tmp_path, sql)
    with pytest.raises(LogDamaged) as caught:
        asyncio.run(open_and_close(tmp_path))
    assert caught.value.facts["last_good"] == last_good
    assert "recover --truncate-at" in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"this is not a log at all, but it is long enough to be read as a header" * 20)
    with pytest.raises(LogDamaged):
        asyncio.run(open_and_close(tmp_path))


def test_a_damaged_log_can_be_cut_off_and_goes_on(tmp_path: Path) -> None:
    async def go_on() -> list[bytes]:
        async with LocalLog(tmp_path) as log:
            await log.append(7, b"anew", await log.campaign())
            return [data async for _, _, data in log.tail(6)]

    asyncio.run(fill(tmp_path, 10))
    vandalise(tmp_path, "UPDATE entries SET data = x'00' WHERE idx = 7")
    with pytest.raises(LogDamaged):
        recover(tmp_path / "log.db", 8)
    assert good_entries(tmp_path / "log.db") == (1, 6)
    assert recover(tmp_path / "log.db", 6, time_us=5) == Fork(6, 10, 1, 5)
    assert (tmp_path / "log.db.damaged-6").is_file()
    assert asyncio.run(go_on()) == [b"entry 6", b"anew"]


def test_a_log_that_state_is_ahead_of_goes_on_behind_it_and_says_so_for_ever(tmp_path: Path) -> None:
    async def go_on() -> tuple[int, int]:
        async with LocalLog(tmp_path) as log:
            await log.append(9, b"anew", await log.campaign())
            return await log.bounds()

    asyncio.run(fill(tmp_path, 10))
    vandalise(tmp_path, "UPDATE entries SET data = x'00' WHERE idx = 7")
    recover(tmp_path / "log.db", 6, applied=8, time_us=5)
    assert asyncio.run(go_on()) == (9, 9)
    file = LogFile(tmp_path / "log.db", 1 << 30)
    file.open()
    assert file.forks() == [Fork(6, 10, 9, 5)]
    assert file.verify() == 1
    file.close()


def test_the_chain_reaches_back_to_what_was_truncated(tmp_path: Path) -> None:
    async def run() -> None:
        async with LocalLog(tmp_path) as log:
            await log.truncate(6, await log.campaign())

    asyncio.run(fill(tmp_path, 10))
    asyncio.run(run())
    vandalise(tmp_path, "UPDATE meta SET value = zeroblob(32) WHERE key = 'base_hash'")
    with pytest.raises(LogDamaged) as caught:
        asyncio.run(open_and_close(tmp_path))
    assert caught.value.facts["last_good"] == 5


class FailingDisk(apsw.VFS):
    """A file system on which fsync fails while `broken` is set."""

    def __init__(self, name: str) -> None:
        self.broken = False
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return FailingFile(self, name, flags)


class FailingFile(apsw.VFSFile):
    def __init__(self, disk: FailingDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("", name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._disk.broken:
            raise apsw.IOError("the disk is gone")
        super().xSync(flags)


def test_after_a_failed_fsync_the_log_is_not_tried_again_until_it_is_opened_anew(tmp_path: Path) -> None:
    disk = FailingDisk("failing-log-disk")

    async def run() -> None:
        log = LocalLog(tmp_path, vfs="failing-log-disk")
        await log.start()
        epoch = await log.campaign()
        await log.append(1, b"one", epoch)
        disk.broken = True
        with pytest.raises(LogFailed):
            await log.append(2, b"two", epoch)
        disk.broken = False
        with pytest.raises(LogFailed):
            await log.append(2, b"two", epoch)
        assert not (await log.health()).ok
        await log.stop()

    async def run_again() -> None:
        async with LocalLog(tmp_path) as log:
            _, last = await log.bounds()
            assert last in (1, 2)  # a commit that failed is unknown, not undone
            await log.append(last + 1, b"on", await log.campaign())

    asyncio.run(run())
    asyncio.run(run_again())


def test_the_write_ahead_log_is_folded_in_while_writing(tmp_path: Path) -> None:
    async def run() -> int:
        async with LocalLog(tmp_path, LocalLogSettings(checkpoint_pages=10)) as log:
            epoch = await log.campaign()
            for index in range(1, 101):
                await log.append(index, bytes(10_000), epoch)
            return (tmp_path / "log.db-wal").stat().st_size

    assert asyncio.run(run()) < 20 * 4_096 + 200_000


def test_a_copy_taken_at_any_moment_opens_with_all_that_was_acknowledged(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()

    async def check(folder: Path, count: int) -> None:
        async with LocalLog(folder) as log:
            assert await log.bounds() == (1, count)
            assert await log.verify() == count

    async def run(copy: Callable[[int], Path]) -> None:
        async with LocalLog(source, LocalLogSettings(checkpoint_pages=5)) as log:
            epoch = await log.campaign()
            for index in range(1, 31):
                await log.append(index, bytes([index]) * 3_000, epoch)
                if index % 3 == 0:
                    await check(copy(index), index)

    def copy(index: int) -> Path:
        folder = tmp_path / f"copy-{index}"
        folder.mkdir()
        for name in ("log.db", "log.db-wal"):
            (folder / name).write_bytes((source / name).read_bytes())
        return folder

    asyncio.run(run(copy))


def test_a_stopped_log_says_so_and_stops_twice(tmp_path: Path) -> None:
    async def run() -> None:
        log = LocalLog(tmp_path)
        await log.start()
        await log.stop()
        await log.stop()
        with pytest.raises(LogFailed, match="closed"):
            await log.bounds()

    asyncio.run(run())


def test_a_log_that_never_started_stops(tmp_path: Path) -> None:
    asyncio.run(LocalLog(tmp_path).stop())
