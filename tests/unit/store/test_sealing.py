from __future__ import annotations

from pathlib import Path

from tests.unit.store.keepers import DAY_S, START_S, HandClock, kept, run, skipped

from chronos.cluster.memory import MemoryLog, SharedLog
from chronos.store import proof
from chronos.store.state import KEY_MAX
from chronos.store.tables import META, SEALS
from chronos.testing import virtual_time


@virtual_time
async def test_a_segment_is_sealed_when_its_day_is_over_though_nothing_more_happens(tmp_path: Path) -> None:
    async with kept(tmp_path) as store:
        runs = [run("J", START_S + n) for n in range(3)]
        await store.end(*runs, skipped("J", START_S + 60, START_S + 600, 10))
        assert await store.sealing.turn() == 0
        store.clock.now += DAY_S
        await store.put("any")
        assert await store.sealing.turn() == 1
        assert await store.sealing.turn() == 0
        [(key, seal)] = store.state.scan(SEALS, "", KEY_MAX, 10)
        assert (key, seal.rows, seal.executions, seal.skipped) == ("000000000001", 4, 3, 10)


@virtual_time
async def test_the_root_is_that_of_the_rows_in_the_order_of_their_ids(tmp_path: Path) -> None:
    async with kept(tmp_path) as store:
        records = [run("J", START_S + n) for n in (3, 1, 2)] + [run("K", START_S + 1)]
        await store.end(*records)
        store.clock.now += DAY_S
        await store.put("any")
        await store.sealing.turn()
        tree = proof.Tree()
        for record in sorted(records, key=lambda one: one.id):
            tree.add(proof.leaf(proof.record_line(record)))
        [(_, seal)] = store.state.scan(SEALS, "", KEY_MAX, 10)
        assert seal.root == tree.root()


@virtual_time
async def test_segments_are_sealed_in_the_order_of_their_numbers_whatever_their_class(tmp_path: Path) -> None:
    async with kept(tmp_path, rows=2) as store:
        await store.put("short", retention="1d")
        await store.end(run("any", START_S))  # 1 stays open
        await store.end(run("short", START_S))
        await store.end(run("short", START_S + 1))
        await store.end(run("short", START_S + 2))  # 2 is full, 3 begun
        assert [(info.number, info.days, bool(info.closed_us)) for info in store.state.archive.infos] == [
            (1, 0, False),
            (2, 1, True),
            (3, 1, False),
        ]
        assert await store.sealing.turn() == 0, "the one before is written to"
        store.clock.now += DAY_S
        await store.put("any")
        assert await store.sealing.turn() == 3
        seals = [seal for _, seal in store.state.scan(SEALS, "", KEY_MAX, 10)]
        assert [seal.segment for seal in seals] == [1, 2, 3]
        assert seals[1].previous == proof.leaf(proof.seal_line(seals[0]))


@virtual_time
async def test_what_is_closed_is_never_written_to_again_not_even_after_a_start(tmp_path: Path) -> None:
    shared, clock = SharedLog(), HandClock()
    async with kept(tmp_path, log=MemoryLog(shared), clock=clock) as store:
        await store.end(run("any", START_S))
        clock.now += DAY_S
        await store.put("any")
        await store.sealing.turn()
    (tmp_path / "history" / "manifest.json").unlink()
    async with kept(tmp_path, log=MemoryLog(shared), clock=clock) as store:
        await store.end(run("any", START_S + 1))
        assert [(info.number, info.rows) for info in store.state.archive.infos] == [(1, 1), (2, 1)]
        assert len(await store.records()) == 2


@virtual_time
async def test_a_number_that_was_sealed_is_not_used_again_when_its_file_is_gone(tmp_path: Path) -> None:
    shared, clock = SharedLog(), HandClock()
    async with kept(tmp_path, log=MemoryLog(shared), clock=clock) as store:
        await store.end(run("any", START_S))
        for _ in range(40):
            clock.now += DAY_S
            await store.put("any")
        await store.keep()
        assert store.state.archive.infos == ()
    async with kept(tmp_path, log=MemoryLog(shared), clock=clock) as store:
        await store.end(run("any", START_S + 1))
        assert [info.number for info in store.state.archive.infos] == [2]
        meta = store.state.get(META, "meta")
        assert meta is not None
        assert meta.sealed == 1
