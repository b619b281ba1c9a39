"""Disks that fail while a log is at work: failed syncs, failed writes, no space, flipped bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import apsw
import pytest
from tests.crash.logwork import BYTES_MAX, LogWork
from tests.crash.places import memory_folder, seeds

from chronos.cluster.logfile import LogFile
from chronos.errors import ChronosError, LogDamaged, LogFailed, StorageFull
from chronos.testing.disk import POWER_CUTS, CrashDisk, Doing, Fault, Keeps, Wrong, flipped, read_folder, write_folder

STEPS_MAX = 120

Restart = Callable[[CrashDisk], dict[int, bytes]]


def by_the_rule(disk: CrashDisk) -> dict[int, bytes]:
    """Start as the product does, and return the entries it would serve."""
    file = LogFile(disk.root / "log.db", BYTES_MAX, disk.vfs)
    file.open()
    file.verify()
    first, last = file.bounds()
    found = {entry.index: entry.data for entry in file.read(first, last, BYTES_MAX)}
    assert file._db is not None
    file._db.close()
    return found


def with_a_checkpoint_only(disk: CrashDisk) -> dict[int, bytes]:
    return _carelessly(disk, "PRAGMA wal_checkpoint(TRUNCATE)")


def with_nothing(disk: CrashDisk) -> dict[int, bytes]:
    return _carelessly(disk, "SELECT 1")


def _carelessly(disk: CrashDisk, first: str) -> dict[int, bytes]:
    db = apsw.Connection(str(disk.root / "log.db"), vfs=disk.vfs)
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    db.execute("PRAGMA locking_mode=EXCLUSIVE")
    db.execute(first)
    found = {int(index): bytes(data) for index, data in db.execute("SELECT idx, data FROM entries")}
    db.close()
    return found


def after_a_failed_sync(seed: int, restart: Restart) -> str:
    """Fail one sync, start again, serve what is there, cut the power; return what came of what was served."""
    chance = Random(seed)
    with memory_folder() as folder:
        (folder / "disk").mkdir()
        with CrashDisk(folder / "disk", f"failed-sync-{restart.__name__}-{seed}") as disk:
            work = LogWork(disk, chance)
            disk.faults.append(Fault(on=Doing.SYNC, nth=chance.randint(1, 40)))
            for _ in range(STEPS_MAX):
                try:
                    work.step()
                except LogFailed:
                    break
            else:
                return "no sync failed"
            with pytest.raises(LogFailed):
                work.append()
            work.file.close()
            disk.faults.clear()
            try:
                promised = restart(disk)
            except apsw.Error:
                return "corrupt"
            disk.crash(folder / "left", Keeps.NOTHING, chance)
            return _kept(promised, folder / "left")


def _kept(promised: dict[int, bytes], left: Path) -> str:
    file = LogFile(left / "log.db", BYTES_MAX)
    try:
        file.open()
        file.verify()
        first, last = file.bounds()
        found = {entry.index: entry.data for entry in file.read(first, last, BYTES_MAX)}
        assert file._db is not None
        ok = file._db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    except ChronosError:
        return "corrupt"
    finally:
        if file._db is not None:
            file._db.close()
    if not ok:
        return "corrupt"
    return "kept" if promised.items() <= found.items() else "lost"


@pytest.mark.parametrize("batch", seeds(8))
def test_what_is_served_after_a_failed_sync_survives_the_next_power_cut(batch: int) -> None:
    outcomes = Counter(after_a_failed_sync(batch * 250 + number, by_the_rule) for number in range(250))
    assert outcomes.keys() <= {"kept", "no sync failed"}, outcomes
    assert outcomes["kept"] > 200


@pytest.mark.parametrize("careless", [with_a_checkpoint_only, with_nothing])
def test_a_start_without_checkpoint_and_boot_record_is_caught(careless: Restart) -> None:
    outcomes = Counter(after_a_failed_sync(seed, careless) for seed in range(200, 400))
    assert outcomes["lost"] + outcomes["corrupt"] > 0, outcomes


@pytest.mark.parametrize("seed", seeds(4))
def test_a_disk_that_never_syncs_again_serves_nothing(seed: int) -> None:
    with memory_folder() as folder:
        (folder / "disk").mkdir()
        with CrashDisk(folder / "disk", f"never-syncs-{seed}") as disk:
            work = LogWork(disk, Random(seed))
            for _ in range(20):
                work.append()
            disk.faults.append(Fault(on=Doing.SYNC, forever=True))
            with pytest.raises(LogFailed):
                work.append()
            work.file.close()
            again = LogFile(disk.root / "log.db", BYTES_MAX, disk.vfs)
            with pytest.raises(LogFailed, match="Check the disk"):
                again.open()
            again.close()
            for keeps in POWER_CUTS:
                disk.crash(folder / "left", keeps, Random(seed))
                work.check(folder / "left")


@pytest.mark.parametrize("doing", [Doing.READ, Doing.WRITE])
@pytest.mark.parametrize("seed", seeds(60))
def test_an_input_or_output_error_ends_it_and_loses_nothing(seed: int, doing: Doing) -> None:
    chance = Random(seed)
    with memory_folder() as folder:
        (folder / "disk").mkdir()
        with CrashDisk(folder / "disk", f"eio-{doing}-{seed}") as disk:
            work = LogWork(disk, chance)
            disk.faults.append(Fault(on=doing, nth=chance.randint(1, 60), forever=chance.random() < 0.3))
            for _ in range(STEPS_MAX):
                try:
                    work.step()
                except LogFailed:
                    break
            work.file.close()
            for keeps in POWER_CUTS:
                disk.crash(folder / "left", keeps, chance)
                work.check(folder / "left")


@pytest.mark.parametrize("wrong", [Wrong.FULL, Wrong.SHORT])
@pytest.mark.parametrize("nth", range(1, 101))
def test_no_space_at_any_write_is_said_and_waited_out(nth: int, wrong: Wrong) -> None:
    chance = Random(nth)
    refused = 0
    with memory_folder() as folder:
        (folder / "disk").mkdir()
        with CrashDisk(folder / "disk", f"full-{wrong}-{nth}") as disk:
            work = LogWork(disk, chance)
            disk.faults.append(Fault(on=Doing.WRITE, wrong=wrong, nth=nth, forever=True))
            for number in range(40):
                try:
                    work.step() if number < 35 else work.append()
                except StorageFull:
                    refused += 1
                    work.under_way = {}  # nothing was written, it says
                    if refused == 3:
                        disk.faults.clear()
            assert refused == 3
            assert len(work.acknowledged) > 5
            for keeps in POWER_CUTS:
                disk.crash(folder / "left", keeps, chance)
                work.check(folder / "left")


@pytest.mark.parametrize("seed", seeds(8))
def test_a_flipped_bit_is_noticed_or_does_not_matter(seed: int) -> None:
    chance = Random(seed)
    with memory_folder() as folder:
        (folder / "disk").mkdir()
        with CrashDisk(folder / "disk", f"flipped-{seed}") as disk:
            work = LogWork(disk, chance)
            for _ in range(25):
                work.step()
            work.file.close()
        files = read_folder(disk.root)
        data = files["log.db"]
        noticed = 0
        for _ in range(150):
            write_folder(folder / "left", {"log.db": flipped(data, chance.randrange(len(data) * 8))})
            damage = damage_of(folder / "left" / "log.db")
            if damage is None:
                # Nothing was noticed, so nothing may be wrong.
                work.check(folder / "left")
            else:
                noticed += 1
                assert damage.facts["last_good"] in {None, *range(work.last + 1)}
        assert noticed > 20


def damage_of(path: Path) -> LogDamaged | None:
    """Open and verify a log as a start does, and return what it complains of."""
    file = LogFile(path, BYTES_MAX)
    try:
        file.open()
        file.verify()
    except LogDamaged as damage:
        return damage
    finally:
        file.close()
    return None
