"""Bits of state and history that are the other way round: noticed at the start, or of no consequence."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from tests.crash.nodework import Store, running, work
from tests.crash.places import memory_folder, seeds
from tests.integration.store.workload import Workload

from chronos.errors import LogDamaged, LogFailed
from chronos.store.records import AFTER_ALL, RecordFilter
from chronos.store.state import JobFilter
from chronos.testing.disk import flipped, read_folder, write_folder

FLIPS = 60


async def said(folder: Path) -> tuple[str, list[str], int]:
    """Return what a start finds: the digest, the jobs as a search finds them, and how many records there are.

    Raises:
        LogDamaged, LogFailed: It does not start.
    """
    store = Store(folder)
    try:
        await store.recover()
        jobs, total = await store.state.find_jobs(JobFilter(), ("", ""), 1_000)
        records = await store.state.find_records(RecordFilter(), AFTER_ALL, 10_000)
        return await store.state.digest(), [f"{job.name} {job.namespace} {total}" for job in jobs], len(records)
    finally:
        state = store.state
        for reader in (state._searcher, state._reader, state._searches.reader, state._lookups.reader):
            if reader is not None:
                reader.close()
        holders: list[Any] = [store.log._file, state._writer, *state.history._live.values()]
        for holder in holders:
            if holder is not None and holder._db is not None:
                holder._db.close()
        store.log._place._executor.shutdown()


@pytest.mark.parametrize("seed", seeds(4))
def test_a_flipped_bit_of_state_is_noticed_or_does_not_matter(seed: int) -> None:
    chance = random.Random(seed)
    with memory_folder() as folder:
        asyncio.run(a_day(folder / "data", seed))
        files = read_folder(folder / "data")
        write_folder(folder / "left", files)
        right = asyncio.run(said(folder / "left"))
        noticed = 0
        for _ in range(FLIPS):
            bit = chance.randrange(len(files["state.db"]) * 8)
            write_folder(folder / "left", files | {"state.db": flipped(files["state.db"], bit)})
            try:
                found = asyncio.run(said(folder / "left"))
            except (LogDamaged, LogFailed):
                noticed += 1
            else:
                assert found == right, f"bit {bit}"
        assert noticed > 0


async def a_day(folder: Path, seed: int) -> None:
    async with running(folder) as store:
        await work(store, Workload(seed, store.commands, store.state), random.Random(seed), 40)
