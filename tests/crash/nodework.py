"""A whole store at work on a disk that crashes: log, state, history, truncation; and what must be found of it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from tests.integration.store.workload import Workload

from chronos.cluster.local import LocalLog, LocalLogSettings
from chronos.cluster.port import Epoch
from chronos.store.archive import FIRST
from chronos.store.commandlog import CommandLog
from chronos.store.commands import decode_entry
from chronos.store.entryfold import fold_entry
from chronos.store.history import MANIFEST, HistorySettings
from chronos.store.machine import apply
from chronos.store.offload import Inline
from chronos.store.port import At
from chronos.store.proof import Tree
from chronos.store.records import AFTER_ALL, Record, RecordFilter, row_of
from chronos.store.sealing import Sealing
from chronos.store.sqlite import SqliteState, StateSettings
from chronos.store.state import KEY_MAX, MemoryState
from chronos.store.tables import SEALS
from chronos.store.truncation import Truncation, TruncationSettings
from chronos.testing.disk import POWER_CUTS, CrashDisk, Doing
from chronos.timing.clock import SeededChance

TINY = StateSettings(checkpoint_pages=30, history=HistorySettings(segment_rows=6))
FEW = TruncationSettings(reserve_entries=3)

Records = dict[tuple[str, int], Record]


class SteppingClock:
    """A clock on which every look costs seven seconds."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def time(self) -> float:
        self.now += 7
        return self.now

    def boottime(self) -> float:
        return self.now


class Promised(NamedTuple):
    """What had been said at one moment.

    Attributes:
        acknowledged: Up to this entry, everything was.
        written: Up to this entry, something may be on the disk.
    """

    acknowledged: int
    written: int


class RememberingLog(LocalLog):
    """A log that keeps what it is given, to compare with later."""

    def remember(self, entries: dict[int, bytes]) -> None:
        """Keep entries in `entries`; what was acknowledged is counted from the one before."""
        self.entries = entries
        self.acknowledged = 0

    async def append(self, index: int, data: bytes, epoch: Epoch) -> None:
        self.entries[index] = data
        await super().append(index, data, epoch)
        self.acknowledged = index


class Store:
    """Log, state and the door to both in one folder."""

    def __init__(self, folder: Path, vfs: str | None = None, entries: dict[int, bytes] | None = None) -> None:
        (folder / "log").mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = RememberingLog(folder / "log", LocalLogSettings(checkpoint_pages=40), vfs=vfs)
        self.log.remember({} if entries is None else entries)
        self.state = SqliteState(folder, TINY, offload=Inline, vfs=vfs)
        self.commands = CommandLog(self.log, self.state, SteppingClock(), SeededChance(random.Random(3)))

    async def recover(self) -> int:
        """Fold what the log has and state has not; return the last entry."""
        await self.log.start()
        await self.state.start()
        await self.commands._recover()  # without a boot record, so that nothing is there that was not before
        return self.state.applied_index

    async def records(self) -> Records:
        """Return all of history."""
        found = await self.state.find_records(RecordFilter(), AFTER_ALL, 100_000)
        return {(row_of(record).id, row_of(record).series): record for record in found}


@asynccontextmanager
async def running(
    folder: Path, vfs: str | None = None, entries: dict[int, bytes] | None = None
) -> AsyncIterator[Store]:
    """Run a store for as long as the block lasts."""
    store = Store(folder, vfs, entries)
    await store.log.start()
    await store.state.start()
    await store.commands.start("n1", "n1-1")
    try:
        yield store
    finally:
        await store.commands.stop()
        await store.state.stop()
        await store.log.stop()


class Oracle:
    """What folding the entries gives, by other means, at every one of them."""

    def __init__(self, entries: dict[int, bytes]) -> None:
        self.seals = 0
        self.digests: dict[int, str] = {}
        self.records: dict[int, Records] = {}
        self._entries = entries

    async def fold(self) -> None:
        """Fold them all, in memory."""
        state = MemoryState()
        self.digests[0], self.records[0] = await state.digest(), {}
        for index, data in sorted(self._entries.items()):
            entry = decode_entry(data)
            at = At(index, entry.time_us)
            state.commit(fold_entry(apply, state, entry.commands, at), index, entry.time_us)
            found = await state.find_records(RecordFilter(), AFTER_ALL, 100_000)
            self.digests[index] = await state.digest()
            self.records[index] = {(row_of(record).id, row_of(record).series): record for record in found}

    async def check(self, folder: Path, promised: Promised) -> None:
        """Recover what a crash has left: nothing acknowledged is missing, and all of it agrees."""
        store = Store(folder)
        last = await store.recover()
        assert promised.acknowledged <= last <= promised.written, "acknowledged and lost, or never written"
        first, _ = await store.log.bounds()
        assert await store.log.verify() == last - first + 1
        async for entry in store.log.tail(first):
            assert entry.data == self._entries[entry.index]
        assert await store.state.digest() == self.digests[last]
        assert await store.records() == self.records[last]
        self.seals += await _check_seals(store)
        await store.state.stop()
        await store.log.stop()


async def _check_seals(store: Store) -> int:
    """Every segment that was sealed is what it was sealed as; return how many there are."""
    seals = store.state.scan(SEALS, "", KEY_MAX, 1_000)
    for _, seal in seals:
        tree = Tree()
        for row in await store.state.archive.rows(seal.segment, FIRST, 100_000) or []:
            tree.add(row.leaf)
        assert (tree.leaves, tree.root()) == (seal.rows, seal.root), "written to after it was sealed"
    return len(seals)


class Images:
    """What crashes at every boundary would leave, one way of losing after the other."""

    def __init__(self, disk: CrashDisk, chance: random.Random, every: int) -> None:
        self._disk = disk
        self._chance = chance
        self._every = every
        self._count = 0
        self._manifests: list[bytes] = []
        self.taken: list[tuple[dict[str, bytes], Promised]] = []

    def at(self, doing: Doing, store: Store) -> None:
        """Take an image before every sync, and before one write in so many."""
        self._count += 1
        if doing is not Doing.SYNC and self._count % self._every:
            return
        log = store.log
        promised = Promised(log.acknowledged, max(log.entries, default=0))
        image = self._disk.model.image(self._chance.choice(POWER_CUTS), self._chance)
        self.taken.append((self._with_some_manifest(image, store.folder), promised))

    def _with_some_manifest(self, image: dict[str, bytes], folder: Path) -> dict[str, bytes]:
        """Add the manifest as it is now or was once: it is replaced whole, and may be older than the segments."""
        path = folder / "history" / MANIFEST
        if path.exists() and (text := path.read_bytes()) not in self._manifests:
            self._manifests.append(text)
        if not self._manifests or self._chance.random() < 0.3:
            return image
        return image | {f"history/{MANIFEST}": self._chance.choice(self._manifests)}


async def work(store: Store, workload: Workload, chance: random.Random, steps: int) -> None:
    """Live through a day in commands, with flushes and turns of sealing and truncation in between."""
    epoch = await store.log.campaign()
    for _ in range(steps):
        await workload.step()
        if chance.random() < 0.3:
            await store.state.flush()
        if chance.random() < 0.2:
            await Sealing(store.state.archive, store.commands).turn()
        if chance.random() < 0.06:
            await Truncation(store.log, store.state, epoch, FEW).turn()
