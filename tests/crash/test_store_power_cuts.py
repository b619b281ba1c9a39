"""The power fails, or a sync does, anywhere in log, state and history at work; what is left folds to the same."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.crash.nodework import Images, Oracle, Promised, Store, running, work
from tests.crash.places import memory_folder, seeds
from tests.integration.store.workload import Workload

from chronos.errors import LogFailed, StorageFull, Unavailable
from chronos.model.execution import RangeRecord, SkipReason
from chronos.store import sqlitefile
from chronos.store.segment import SegmentInfo, SegmentWriter
from chronos.store.statefile import StateWriter
from chronos.testing.disk import CrashDisk, Doing, Fault, Keeps, Wrong, write_folder

STEPS = 60


@pytest.mark.parametrize("seed", seeds(6))
def test_a_power_cut_anywhere_leaves_what_the_acknowledged_entries_fold_to(seed: int) -> None:
    assert asyncio.run(power_cuts(seed)) > 150


async def power_cuts(seed: int) -> int:
    """Crash a store at work everywhere and check what is left; return how often."""
    chance = random.Random(seed)
    with memory_folder() as folder:
        (folder / "disk").mkdir()
        entries: dict[int, bytes] = {}
        with CrashDisk(folder / "disk", f"store-cuts-{seed}") as disk:
            images = Images(disk, random.Random(seed + 1), every=9)
            async with running(disk.root, disk.vfs, entries) as store:
                disk.listen(lambda doing, _: images.at(doing, store))
                await work(store, Workload(seed, store.commands, store.state), chance, STEPS)
        oracle = Oracle(entries)
        await oracle.fold()
        for image, promised in images.taken:
            write_folder(folder / "left", image)
            await oracle.check(folder / "left", promised)
        assert oracle.seals > 0
        return len(images.taken)


async def after_a_failed_sync(seed: int) -> None:
    """Fail one sync of any file; start again on what looks written; work; cut the power; check."""
    chance = random.Random(seed)
    with memory_folder() as folder:
        (folder / "disk").mkdir()
        entries: dict[int, bytes] = {}
        with CrashDisk(folder / "disk", f"store-syncs-{seed}") as disk:
            where = chance.choice(["log", "state.db", "history"])
            fault = Fault(on=Doing.SYNC, where=where, nth=chance.randint(1, 30))
            disk.faults.append(fault)
            await until_it_fails(disk, entries, chance, seed)
            disk.faults.clear()
            acknowledged = await a_second_life(disk, entries, chance, seed)
            oracle = Oracle(entries)
            await oracle.fold()
            for keeps in (Keeps.NOTHING, Keeps.SUBSET):
                disk.crash(folder / "left", keeps, chance)
                await oracle.check(folder / "left", Promised(acknowledged, max(entries)))


async def until_it_fails(disk: CrashDisk, entries: dict[int, bytes], chance: random.Random, seed: int) -> None:
    store = Store(disk.root, disk.vfs, entries)
    try:
        await store.log.start()
        await store.state.start()
        await store.commands.start("n1", "n1-1")
        await work(store, Workload(seed, store.commands, store.state), chance, STEPS)
    except (LogFailed, Unavailable):
        pass
    await abandon(store)


async def a_second_life(disk: CrashDisk, entries: dict[int, bytes], chance: random.Random, seed: int) -> int:
    """Start again, work a little, and end as suddenly; return up to where everything is acknowledged."""
    store = Store(disk.root, disk.vfs, entries)
    await store.log.start()
    _, last = await store.log.bounds()
    for index in [index for index in entries if index > last]:
        del entries[index]
    await store.state.start()
    await store.commands.start("n1", "n1-2")
    await work(store, Workload(seed + 1, store.commands, store.state), chance, chance.randrange(12))
    # A turn as it is taken when nothing has ended since the start: state counts as safe then, and history must be.
    await store.state.checkpoint()
    acknowledged = store.log.acknowledged
    await abandon(store)
    return acknowledged


async def abandon(store: Store) -> None:
    """End as a process does that stops at once: nothing is flushed, nothing folded in."""
    for task in store.commands._tasks:
        task.cancel()
    await asyncio.gather(*store.commands._tasks, return_exceptions=True)
    store.log._place._executor.shutdown()  # a write of its thread goes on after its task was cancelled
    file, state = store.log._file, store.state
    if state._searcher is not None:
        state._searcher.close()
    if state._reader is not None:
        state._reader.close()
    state._searches.reader.close()
    state._lookups.reader.close()
    state.archive._reader.close()
    holders: list[Any] = [file, state._writer, *state.history._live.values()]
    for holder in holders:
        if holder is not None and holder._db is not None:
            holder._db.close()


# What fails while SQLite already undoes something cannot be raised; that it goes on failing is what is tested.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("batch", seeds(4))
def test_a_start_after_a_failed_sync_keeps_everything_through_the_next_power_cut(batch: int) -> None:
    for seed in range(batch * 25, batch * 25 + 25):
        asyncio.run(after_a_failed_sync(seed))


def segment_after_a_failed_sync(disk: CrashDisk) -> int:
    """Fail the sync of a segment's second write and start again; return up to where it says it is complete."""
    path = disk.root / "000001.db"
    segment = SegmentWriter(path, SegmentInfo(1), disk.vfs)
    segment.write([RangeRecord("J", "default", 1, 2, 2, SkipReason.MISFIRE)], 1, 1)
    disk.faults.append(Fault(on=Doing.SYNC))
    with pytest.raises(apsw.IOError):
        segment.write([RangeRecord("K", "default", 1, 2, 2, SkipReason.MISFIRE)], 2, 2)
    segment._db.close()
    again = SegmentWriter(path, SegmentInfo(1), disk.vfs)
    again._db.close()
    return again.info.complete_to


def state_after_a_failed_sync(disk: CrashDisk) -> int:
    """Fail the sync of a checkpoint of state and start again; return up to where it says it is durable."""
    path = disk.root / "state.db"
    writer = StateWriter(path, 0, disk.vfs)
    writer.write({}, 1, 1)
    writer.checkpoint()
    writer.write({}, 2, 2)
    writer.write({}, 3, 3)
    disk.faults.append(Fault(on=Doing.SYNC))
    with pytest.raises(apsw.IOError):
        writer.checkpoint()
    writer._db.close()
    again = StateWriter(path, 0, disk.vfs)
    again._db.close()
    return again.durable


def segment_left(folder: Path) -> int:
    return SegmentWriter(folder / "000001.db", SegmentInfo(1)).info.complete_to


def state_left(folder: Path) -> int:
    return StateWriter(folder / "state.db").applied


FILES = [(segment_after_a_failed_sync, segment_left), (state_after_a_failed_sync, state_left)]


@pytest.mark.parametrize(("restarted", "left"), FILES)
def test_what_a_file_says_after_a_failed_sync_is_so_after_a_power_cut(
    restarted: Callable[[CrashDisk], int], left: Callable[[Path], int], tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    with CrashDisk(tmp_path / "disk", f"says-so-{left.__name__}") as disk:
        said = restarted(disk)
        disk.crash(tmp_path / "left", Keeps.NOTHING, random.Random(0))
    assert left(tmp_path / "left") == said > 1


@pytest.mark.parametrize(("restarted", "left"), FILES[:1])
def test_a_file_that_is_only_checkpointed_when_it_is_opened_is_caught(
    restarted: Callable[[CrashDisk], int],
    left: Callable[[Path], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlitefile, "record_boot", lambda _: None)
    (tmp_path / "disk").mkdir()
    with CrashDisk(tmp_path / "disk", f"careless-{left.__name__}") as disk:
        said = restarted(disk)
        disk.crash(tmp_path / "left", Keeps.NOTHING, random.Random(0))
    assert left(tmp_path / "left") < said


@pytest.mark.parametrize("wrong", [Wrong.FULL, Wrong.SHORT])
@pytest.mark.parametrize("seed", seeds(12))
def test_a_disk_that_is_full_for_a_while_costs_nothing_that_was_acknowledged(seed: int, wrong: Wrong) -> None:
    asyncio.run(full_for_a_while(seed, wrong))


async def full_for_a_while(seed: int, wrong: Wrong) -> None:
    chance = random.Random(seed)
    with memory_folder() as folder:
        (folder / "disk").mkdir()
        entries: dict[int, bytes] = {}
        with CrashDisk(folder / "disk", f"store-full-{wrong}-{seed}") as disk:
            async with running(disk.root, disk.vfs, entries) as store:
                workload = Workload(seed, store.commands, store.state)
                await work(store, workload, chance, 15)
                where = chance.choice(["", "log", "state.db", "history"])
                disk.faults.append(
                    Fault(on=Doing.WRITE, wrong=wrong, nth=chance.randint(1, 20), where=where, forever=True)
                )
                refused = 0
                for _ in range(40):
                    try:
                        await work(store, workload, chance, 1)
                    except StorageFull:
                        refused += 1
                        await store.commands._flush()  # a turn later
                    if refused == 4:
                        disk.faults.clear()
                disk.faults.clear()
                for _ in range(3):
                    await store.commands._flush()
                await work(store, workload, chance, 10)
            oracle = Oracle(entries)
            await oracle.fold()
            for keeps in Keeps:
                disk.crash(folder / "left", keeps, chance)
                await oracle.check(folder / "left", Promised(store.log.acknowledged, max(entries)))
