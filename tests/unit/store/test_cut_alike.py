"""Members cut history alike, however often each of them writes and wherever it crashes: one seal vouches for all."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from tests.unit.store.keepers import DAY_S, START_S, run, skipped

from chronos.errors import StorageFull
from chronos.model.execution import RangeRecord
from chronos.model.job import HistoryPolicy, JobSpec
from chronos.model.target import HttpTarget
from chronos.store.archive import FIRST
from chronos.store.commands import PutJob
from chronos.store.history import STRETCH_US
from chronos.store.machine import apply
from chronos.store.offload import Inline
from chronos.store.port import At, Changes, Result
from chronos.store.records import Record
from chronos.store.sealing import seal_of
from chronos.store.sqlite import SqliteState

KEPT = ("1d", "90d", "365d")


class Entry:
    """One entry: when it is, what ends with it, and who wants history to be kept for how long."""

    def __init__(self, at_s: int, records: list[Record], wants: tuple[str, str] | None) -> None:
        self.at_us = at_s * 1_000_000
        self.records = records
        self.wants = wants


def entries_of(draw: random.Random, count: int) -> list[Entry]:
    """Return a history in which stretches of log time end, ranges grow, and jobs change what they want to keep."""
    now_s, found, ranges = START_S, [], dict[str, int]()
    for number in range(count):
        now_s += draw.choice((0, 1, 600, 600, 3_600, 20_000, DAY_S))
        records: list[Record] = []
        for _ in range(draw.choice((0, 0, 1, 3))):
            job = draw.choice("ABC")
            if draw.random() < 0.3:
                ranges[job] = ranges.get(job, 0) + 1
                records.append(skipped(job, START_S, START_S + ranges[job], ranges[job]))
            else:
                records.append(run(job, START_S + number))
        wants = (draw.choice("ABC"), draw.choice(KEPT)) if draw.random() < 0.2 else None
        found.append(Entry(now_s, records, wants))
    return found


class Member:
    """A state that folds entries, is flushed when its own dice say so, and loses what it has not written."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder, self.draw = folder, draw
        folder.mkdir()
        self.state: SqliteState

    async def open(self) -> None:
        self.state = SqliteState(self.folder, offload=Inline)
        self.state.cut_alike()
        await self.state.start()

    def fold(self, index: int, entry: Entry) -> None:
        at = At(index, entry.at_us)
        changes = [Changes(Result())]
        if entry.wants is not None:
            job, kept = entry.wants
            spec = JobSpec(
                name=job,
                target=HttpTarget(url="http://localhost/"),
                schedules=["@daily"],
                history=HistoryPolicy(retention=kept),
            )
            changes.append(apply(self.state, PutJob(job, spec, "me", -1 if index > 1 else 0), at))
        for record in entry.records:
            (changes[0].ranges if isinstance(record, RangeRecord) else changes[0].ended).append(record)  # type: ignore[arg-type]
        self.state.commit(changes, index, entry.at_us)

    async def live(self, entries: Sequence[Entry]) -> None:
        """Fold everything, in several lives."""
        await self.open()
        index = 0
        while index < len(entries):
            index += 1
            self.fold(index, entries[index - 1])
            what = self.draw.random()
            if what < 0.3:
                await self.state.flush()
            elif what < 0.4:
                await self.fail_to_write()
            elif what < 0.5:
                await self.state.archive.close_due(entries[index - 1].at_us)
            elif what < 0.55:
                index = await self.crash()
        await self.state.flush()

    async def fail_to_write(self) -> None:
        """Have a flush fail, before or behind what is written to history."""
        write = self.state._history.write
        fails_at = self.draw.choice((0, 1, 2))
        calls = 0

        def failing(*given: Any) -> None:
            nonlocal calls
            calls += 1
            if calls > fails_at:
                raise StorageFull
            write(*given)

        with patch.object(self.state._history, "write", failing), suppress(StorageFull):
            await self.state.flush()

    async def crash(self) -> int:
        """Lose what was not flushed; return the entry that state has."""
        copy = self.folder.with_name(f"{self.folder.name}+")
        shutil.copytree(self.folder, copy)
        await self.state.stop()
        shutil.rmtree(self.folder)
        copy.rename(self.folder)
        await self.open()
        return self.state.applied_index

    async def sealed(self, until_us: int) -> dict[int, tuple[int, bytes]]:
        """Return, of each segment that is closed, its rows and its root."""
        await self.state.archive.close_due(until_us)
        found = {}
        for info in self.state.archive.closed:
            seal = await seal_of(self.state.archive, info)
            assert seal is not None
            found[info.number] = (seal.rows, seal.root)
        return found


async def seals_of(folder: Path, entries: Sequence[Entry], seed: str) -> dict[int, tuple[int, bytes]]:
    """Return what one member seals, with all of its rows."""
    member = Member(folder, random.Random(seed))
    await member.live(entries)
    found = await member.sealed(entries[-1].at_us)
    archive = member.state.archive
    rows = sum([len(await archive.rows(info.number, FIRST, 10_000) or []) for info in archive.infos])
    assert rows == sum(rows for rows, _ in found.values()), "everything is closed"
    await member.state.stop()
    return found


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 138])
async def test_the_segments_of_all_members_are_the_same(seed: int, tmp_path: Path) -> None:
    entries = entries_of(random.Random(seed), 30)
    entries.append(Entry(entries[-1].at_us // 1_000_000 + 2 * STRETCH_US // 1_000_000, [], None))
    found = [await seals_of(tmp_path / str(number), entries, f"{seed} {number}") for number in range(3)]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) > 3


@pytest.mark.asyncio
async def test_nothing_is_closed_that_something_unwritten_belongs_to(tmp_path: Path) -> None:
    member = Member(tmp_path / "one", random.Random(1))
    await member.open()
    member.fold(1, Entry(START_S, [run("A", START_S)], None))
    await member.state.flush()
    member.fold(2, Entry(START_S + 1, [run("A", START_S + 1)], None))
    later_us = START_S * 1_000_000 + 2 * STRETCH_US
    await member.state.archive.close_due(later_us)
    assert member.state.archive.closed == []
    member.fold(3, Entry(later_us // 1_000_000, [], None))
    await member.state.flush()
    [(rows, _)] = (await member.sealed(later_us)).values()
    assert rows == 2
    await member.state.stop()
