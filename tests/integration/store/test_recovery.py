"""After any crash, state and history are what folding the log gives."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.store.workload import Workload

from chronos.cluster.local import LocalLog, LocalLogSettings
from chronos.cluster.memory import MemoryLog
from chronos.errors import StorageFull
from chronos.store.commandlog import CommandLog
from chronos.store.commands import PutDocument
from chronos.store.history import HistorySettings
from chronos.store.offload import Inline
from chronos.store.records import AFTER_ALL, Record, RecordFilter, row_of
from chronos.store.sqlite import SqliteState, StateSettings
from chronos.store.state import KEY_MAX, MemoryState
from chronos.store.tables import DOCUMENTS
from chronos.store.truncation import Truncation, TruncationSettings
from chronos.timing.clock import SeededChance

TINY = StateSettings(checkpoint_pages=30, history=HistorySettings(segment_rows=25))


class SteppingClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        self.now += 7
        return self.now

    def boottime(self) -> float:
        return self.now


class Node:
    """Log, state and the door to both, in one folder."""

    def __init__(self, folder: Path, settings: StateSettings = TINY) -> None:
        (folder / "log").mkdir(parents=True, exist_ok=True)
        self.log = LocalLog(folder / "log", LocalLogSettings(checkpoint_pages=40))
        # Inline, so that nothing moves while a test copies the files.
        self.state = SqliteState(folder, settings, offload=Inline)
        self.commands = CommandLog(self.log, self.state, SteppingClock(), SeededChance(random.Random(3)))

    async def records(self) -> dict[tuple[str, int], Record]:
        found = await self.state.find_records(RecordFilter(), AFTER_ALL, 100_000)
        return {(row_of(record).id, row_of(record).series): record for record in found}


@asynccontextmanager
async def running(folder: Path, settings: StateSettings = TINY) -> AsyncIterator[Node]:
    node = Node(folder, settings)
    await node.log.start()
    await node.state.start()
    await node.commands.start("n1", "n1-1")
    try:
        yield node
    finally:
        await node.commands.stop()
        await node.state.stop()
        await node.log.stop()


async def folded_in_memory(folder: Path) -> tuple[str, dict[tuple[str, int], Record]]:
    """What folding the whole log of `folder` gives, done by other means."""
    log, replay = MemoryLog(), MemoryState()
    epoch = await log.campaign()
    async with LocalLog(folder / "log") as source:
        async for entry in source.tail(1):
            await log.append(entry.index, entry.data, epoch)
    commands = CommandLog(log, replay, SteppingClock(), SeededChance(random.Random(3)))
    await commands._recover()  # without a boot record of its own
    found = await replay.find_records(RecordFilter(), AFTER_ALL, 100_000)
    return await replay.digest(), {(row_of(record).id, row_of(record).series): record for record in found}


def copy_files(source: Path, to: Path, *names: str) -> None:
    """Copy what a crash leaves: the files as they are, without the shared memory that dies with the process."""
    for name in names:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, to / name, ignore=shutil.ignore_patterns("*-shm"))
        else:
            for suffix in ("", "-wal"):
                if (source / (name + suffix)).exists():
                    shutil.copy(source / (name + suffix), to / (name + suffix))


@pytest.mark.parametrize("seed", range(3))
def test_a_copy_of_the_files_at_any_moment_recovers_to_what_the_log_says(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    async def run() -> None:
        copies: list[Path] = []
        async with running(tmp_path / "node") as node:
            work = Workload(seed, node.commands, node.state)
            for step in range(120):
                await work.step()
                if chance.random() < 0.2:
                    await node.state.flush()
                if chance.random() < 0.08:
                    copies.append(tmp_path / f"copy-{step}")
                    copy_files(tmp_path / "node", copies[-1], "log", "state.db", "history")
            assert len(await node.records()) > 40
        for copy in copies:
            await recovers_to_what_the_log_says(copy)

    asyncio.run(run())


async def recovers_to_what_the_log_says(folder: Path) -> None:
    async with running(folder) as node:
        digest, records = await node.state.digest(), await node.records()
    expected_digest, expected_records = await folded_in_memory(folder)
    assert records == expected_records
    assert digest == expected_digest


def test_a_power_cut_that_takes_state_further_back_than_history_and_the_log_loses_nothing(tmp_path: Path) -> None:
    """The log is never behind history, history never behind state; any distance between them is made up for."""

    async def run() -> None:
        moments: list[Path] = []
        async with running(tmp_path / "node") as node:
            work = Workload(5, node.commands, node.state)
            for step in range(90):
                await work.step()
                if step % 10 == 9:
                    await node.state.flush()
                    moments.append(tmp_path / f"moment-{step}")
                    copy_files(tmp_path / "node", moments[-1], "log", "state.db", "history")
        for number, (old, middle, new) in enumerate([(0, 1, 2), (0, 8, 8), (3, 3, 8), (1, 5, 6), (7, 8, 8)]):
            mixed = tmp_path / f"mixed-{number}"
            copy_files(moments[old], mixed, "state.db")
            copy_files(moments[middle], mixed, "history")
            copy_files(moments[new], mixed, "log")
            await recovers_to_what_the_log_says(mixed)

    asyncio.run(run())


def test_a_lost_state_is_rebuilt_from_the_log_alone(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path / "node") as node:
            work = Workload(6, node.commands, node.state)
            for _ in range(60):
                await work.step()
        copy_files(tmp_path / "node", tmp_path / "bare", "log")
        await recovers_to_what_the_log_says(tmp_path / "bare")

    asyncio.run(run())


def test_a_truncated_log_is_enough_for_the_next_start(tmp_path: Path) -> None:
    async def run() -> None:
        folder = tmp_path / "node"
        async with running(folder) as node:
            work = Workload(8, node.commands, node.state)
            for step in range(80):
                await work.step()
                if step == 70:
                    turn = Truncation(node.log, node.state, await node.log.campaign(), settings)
                    first = await turn.turn()
            assert await node.log.bounds() == (first, node.commands.applied)
            assert first == 72 - settings.reserve_entries + 1
            digest, records = await node.state.digest(), await node.records()
            copy_files(folder, tmp_path / "copy", "log", "state.db", "history")
        again = SqliteState(tmp_path / "copy", TINY, offload=Inline)
        async with LocalLog(tmp_path / "copy" / "log") as log:
            await again.start()
            commands = CommandLog(log, again, SteppingClock(), SeededChance(random.Random(3)))
            await commands._recover()
            assert await again.digest() == digest
            found = await again.find_records(RecordFilter(), AFTER_ALL, 100_000)
            assert {(row_of(record).id, row_of(record).series): record for record in found} == records
            await again.stop()

    settings = TruncationSettings(reserve_entries=5)
    asyncio.run(run())


def test_what_is_not_in_state_stays_in_the_log_however_little_is_to_be_kept(tmp_path: Path) -> None:
    class Unwritable(SqliteState):
        async def checkpoint(self, *, patiently: bool = False) -> int:
            return 3

    async def run() -> None:
        async with running(tmp_path / "node") as node:
            for _ in range(10):
                await node.commands.propose(PutDocument("p", "default", "k", b""))
            node.state.__class__ = Unwritable
            settings = TruncationSettings(reserve_entries=1, reserve_bytes=0)
            await Truncation(node.log, node.state, await node.log.campaign(), settings).turn()
            assert (await node.log.bounds())[0] == 4

    asyncio.run(run())


def test_when_state_has_no_space_nothing_is_lost_and_all_goes_on_when_there_is(tmp_path: Path) -> None:
    async def run() -> None:
        settings = StateSettings(pages_max=40)
        async with running(tmp_path / "node", settings) as node:
            for number in range(100):
                try:
                    await node.commands.propose(document(number))
                except StorageFull:
                    break
            assert node.commands.storage_full
            assert 5 < number < 99
            written = number
            digest_after_space = await with_space(node)
            assert (await node.commands.propose(document(200))).ok
            assert node.state.scan(DOCUMENTS, "", KEY_MAX, 1_000)[0][0] == "p/default/000"
            assert len(node.state.scan(DOCUMENTS, "", KEY_MAX, 1_000)) == written + 1
            assert digest_after_space
        await recovers_to_what_the_log_says(tmp_path / "node")

    def document(number: int) -> PutDocument:
        return PutDocument("p", "default", f"{number:03d}", bytes(4_000))

    async def with_space(node: Node) -> str:
        writer: Any = node.state._writer
        writer._db.pragma("max_page_count", 100_000)
        return await digest_when_it_can(node)

    async def digest_when_it_can(node: Node) -> str:
        while node.commands.storage_full:
            await asyncio.sleep(0)
            await node.commands._flush()
        return await node.state.digest()

    asyncio.run(run())
