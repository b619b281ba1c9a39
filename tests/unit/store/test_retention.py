from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.store.keepers import DAY_S, START_S, Kept, kept, run, skipped

from chronos.model.events import Event, EventType
from chronos.model.execution import Execution
from chronos.store import proof
from chronos.store.archive import FIRST
from chronos.store.commands import DeleteJob, KeepingRule
from chronos.store.keeping import class_of
from chronos.store.retention import RetentionSettings
from chronos.store.state import KEY_MAX
from chronos.store.tables import DROPS, SEALS
from chronos.testing import virtual_time
from chronos.timing.duration import DAY_US


@pytest.mark.parametrize(
    ("wanted", "days"), [("1s", 1), ("24h", 1), ("25h", 7), ("7d", 7), ("30d", 30), ("31d", 90), ("365d", 365)]
)
def test_a_record_is_kept_for_the_next_longer_class(wanted: str, days: int) -> None:
    assert class_of(wanted) == days


async def live(store: Kept, days: int, *jobs: str) -> None:
    """End one execution of each job a day, and keep house."""
    for _ in range(days):
        await store.end(*(run(job, int(store.clock.now)) for job in jobs))
        store.clock.now += DAY_S
        await store.put("any")
        await store.keep()


@virtual_time
async def test_a_job_keeps_its_history_as_long_as_it_says_and_others_as_long_as_the_server(tmp_path: Path) -> None:
    async with kept(tmp_path, retention=RetentionSettings(default_us=3 * DAY_US)) as store:
        await store.put("long", retention="6d")
        await store.put("short", retention="5h")
        await live(store, 12, "any", "long", "short")
        assert await store.instants("any") == [8, 9, 10, 11]
        assert await store.instants("long") == [4, 5, 6, 7, 8, 9, 10, 11]
        assert await store.instants("short") == [10, 11]


@virtual_time
async def test_a_namespace_has_a_length_of_its_own(tmp_path: Path) -> None:
    rules = {"team": KeepingRule("1d")}
    async with kept(tmp_path, retention=RetentionSettings(namespaces=rules)) as store:
        await store.keep()
        await store.put("J", namespace="team")
        await store.put("K", namespace="team", retention="7d")
        for day in range(5):
            at = START_S + day * DAY_S
            await store.end(run("J", at, namespace="team"), run("K", at, namespace="team"))
            store.clock.now += DAY_S
            await store.put("any")
            await store.keep()
        assert await store.instants("J") == [3, 4]
        assert await store.instants("K") == [0, 1, 2, 3, 4]


@virtual_time
async def test_what_a_deleted_job_leaves_is_kept_as_long_as_the_job_said(tmp_path: Path) -> None:
    async with kept(tmp_path, retention=RetentionSettings(default_us=DAY_US)) as store:
        await store.put("gone", retention="7d")
        store.ending = [run("gone", START_S)]
        await store.commands.submit([DeleteJob("gone", "me")])
        await store.end(run("gone", START_S + 1))
        await live(store, 4, "any")
        assert len(await store.instants("gone")) == 2


@virtual_time
async def test_it_is_said_what_goes_before_it_goes_and_the_seal_stays(tmp_path: Path) -> None:
    told: list[Event] = []
    async with kept(tmp_path, retention=RetentionSettings(default_us=2 * DAY_US)) as store:
        store.commands.subscribe(told.extend)
        await live(store, 4, "any")
        drops = [drop for _, drop in store.state.scan(DROPS, "", KEY_MAX, 10)]
        assert [(drop.segment, drop.rows, drop.whole, drop.why) for drop in drops] == [(1, 1, True, "kept for 2 days")]
        assert [event.key for event in told if event.type is EventType.HISTORY_DROPPED] == ["1"]
        assert len(store.state.scan(SEALS, "", KEY_MAX, 10)) == 4


@virtual_time
async def test_nothing_goes_that_is_not_sealed(tmp_path: Path) -> None:
    async with kept(tmp_path, retention=RetentionSettings(default_us=DAY_US, max_count=1)) as store:
        for day in range(3):
            await store.end(run("any", START_S + day * DAY_S))
            store.clock.now += 9 * DAY_S
        await store.put("any")
        await store.retention.turn()
        await store.retention.thin_out()
        assert len(await store.instants("any")) == 3


@virtual_time
async def test_more_executions_than_are_wanted_leave_their_hashes(tmp_path: Path) -> None:
    async with kept(tmp_path, rows=100) as store:
        await store.put("few", max_count=3)
        runs = [run("few", START_S + n * 60) for n in range(8)]
        await store.end(*runs, *(run("any", START_S + n * 60) for n in range(8)), skipped("few", 1, 9, 4))
        store.clock.now += DAY_S
        await store.put("any")
        await store.keep()
        left = [record.scheduled_s for record in await found(store, "few")]
        assert left == [START_S + n * 60 for n in (5, 6, 7)]
        assert len(await found(store, "any")) == 8
        rows = await store.state.archive.rows(1, FIRST, 100)
        assert rows is not None
        tree = proof.Tree()
        for row in rows:
            tree.add(row.leaf)
        seal = store.state.get(SEALS, "000000000001")
        assert seal is not None
        assert (seal.root, seal.rows) == (tree.root(), 17)
        assert sorted(row.id for row in rows if row.record is None) == [one.id for one in runs[:5]]
        drop = store.state.get(DROPS, "000000000001")
        assert drop is not None
        assert (drop.rows, drop.whole, drop.why) == (5, False, "1 jobs had more than `max_count`")
        await store.retention.thin_out()
        assert store.state.get(DROPS, "000000000001") == drop


async def found(store: Kept, job_id: str) -> list[Execution]:
    """Return the executions of a job that can be found, those due first in front."""
    records = (await store.records()).values()
    mine = [record for record in records if isinstance(record, Execution) and record.job_id == job_id]
    return sorted(mine, key=lambda one: one.scheduled_s)


@virtual_time
async def test_a_namespace_keeps_so_many_of_all_its_jobs_together(tmp_path: Path) -> None:
    rules = {"team": KeepingRule("", 3)}
    async with kept(tmp_path, rows=2, retention=RetentionSettings(namespaces=rules)) as store:
        for n in range(4):
            await store.end(run("J", START_S + n, namespace="team"), run("K", START_S + n, namespace="team"))
        await store.end(run("any", START_S))
        store.clock.now += DAY_S
        await store.put("any")
        await store.keep()
        assert [one.scheduled_s - START_S for one in await found(store, "J")] in ([3], [2, 3])
        assert len(await found(store, "J")) + len(await found(store, "K")) == 3
        assert len(await found(store, "any")) == 1


@virtual_time
async def test_the_space_of_a_segment_that_was_thinned_out_is_given_back(tmp_path: Path) -> None:
    async with kept(tmp_path, rows=2_000, retention=RetentionSettings(max_count=10)) as store:
        await store.put("many")
        await store.end(*(run("many", START_S + n) for n in range(1_000)))
        store.clock.now += DAY_S
        await store.put("any")
        await store.sealing.turn()
        before = (tmp_path / "history" / "000001.db").stat().st_size
        assert await store.retention.thin_out() == 990
        assert (tmp_path / "history" / "000001.db").stat().st_size < 0.6 * before
        assert len(await store.instants("many")) == 10


@virtual_time
async def test_what_a_crash_has_kept_from_being_removed_is_removed_though_it_would_be_kept_by_now(
    tmp_path: Path,
) -> None:
    async with kept(tmp_path, retention=RetentionSettings(default_us=DAY_US)) as store:
        await store.end(run("any", START_S))
        store.clock.now += 3 * DAY_S
        await store.put("any")
        await store.sealing.turn()
        [info] = store.state.archive.closed
        await store.retention._say(info, 1, whole=True, why="kept for 1d")
        store.retention._settings = RetentionSettings()
        assert await store.retention.turn() == 1
