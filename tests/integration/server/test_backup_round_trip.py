"""Backups of a store at work, brought back as of any instant: what is there is what folding the log gives."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from tests.crash.nodework import Oracle, SteppingClock, Store, running, work
from tests.integration.store.workload import Workload

from chronos.errors import Overloaded
from chronos.model.job import JobSpec, MissedRunPolicy
from chronos.model.target import HttpTarget
from chronos.server.backup.restoring import NotReached, Report, Wanted, restore
from chronos.server.backup.saving import Target, save_running
from chronos.server.backup.service import Backups, read_last
from chronos.store.commands import Decide, PutJob, ResetClock, decode_entry
from chronos.store.tables import SHARDS, Shard
from chronos.timing.clock import SeededChance

LATER = 1_900_000_000.0
PAUSES = 4


async def back_up(store: Store, path: Path) -> None:
    backups = Backups(store.folder, store.log, store.state, SteppingClock())
    pieces = [piece async for piece in await backups.stream()]
    save_running(pieces, Target(path, SeededChance(random.Random(1))), keys_from=None)


async def steps(workload: Workload, count: int) -> None:
    for _ in range(count):
        await workload.step()


async def bring_back(path: Path, folder: Path, as_of_us: int | None = None, base: Path | None = None) -> Report:
    wanted = Wanted(backup=path, folder=folder, as_of_us=as_of_us, base=base)
    return await restore(wanted, SteppingClock(LATER), SeededChance(random.Random(2)))


async def check(folder: Path, entries: dict[int, bytes], last: int) -> None:
    """See to it that a folder holds the entries up to `last`, a boot record and an epoch, and all they fold into."""
    store = Store(folder)
    end = await store.recover()
    assert end == last + 2
    log = {index: data for index, data in entries.items() if index <= last}
    first, _ = await store.log.bounds()
    async for entry in store.log.tail(first):
        assert log.setdefault(entry.index, entry.data) == entry.data
    [reset] = decode_entry(log[end]).commands
    assert isinstance(reset, ResetClock)
    oracle = Oracle(log)
    await oracle.fold()
    assert await store.state.digest() == oracle.digests[end]
    assert await store.records() == oracle.records[end]
    await store.state.stop()
    await store.log.stop()


def times_of(entries: dict[int, bytes]) -> dict[int, int]:
    return {index: decode_entry(data).time_us for index, data in entries.items()}


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(3))
async def test_a_backup_at_any_moment_comes_back_as_of_any_instant_it_reaches(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    entries: dict[int, bytes] = {}
    taken: list[tuple[Path, int]] = []
    async with running(tmp_path / "data", entries=entries) as store:
        workload = Workload(seed, store.commands, store.state)
        for number in range(PAUSES):
            await work(store, workload, chance, steps=25)
            path = tmp_path / f"{number}.backup"
            at_least = store.commands.durable
            # The workload goes on while the backup is gathered and written.
            await asyncio.gather(back_up(store, path), steps(workload, 15))
            taken.append((path, at_least))
    times, earlier = times_of(entries), 0
    for path, at_least in taken:
        whole = await bring_back(path, tmp_path / f"{path.stem}-whole")
        assert whole.last_entry >= at_least, "what was acknowledged before is there"
        assert whole.entries_left_out == 0
        await check(tmp_path / f"{path.stem}-whole", entries, whole.last_entry)
        near = range(max(1, whole.last_entry - 12), whole.last_entry)
        for index in {chance.choice(sorted(entries)), *chance.sample(near, 2)}:
            last = max(other for other, time_us in times.items() if time_us <= times[index])
            folder = tmp_path / f"{path.stem}-{index}"
            try:
                report = await bring_back(path, folder, times[index])
            except NotReached:
                assert not folder.exists()
                continue
            assert report.last_entry == min(last, whole.last_entry)
            await check(folder, entries, report.last_entry)
            earlier += report.entries_left_out > 0
    assert earlier, "no backup was restored as of an instant inside it"


@pytest.mark.asyncio
async def test_an_older_backup_and_the_log_of_a_newer_one_reach_every_instant_in_between(tmp_path: Path) -> None:
    entries: dict[int, bytes] = {}
    async with running(tmp_path / "data", entries=entries) as store:
        workload = Workload(11, store.commands, store.state)
        await steps(workload, 60)
        await store.state.flush()
        await back_up(store, tmp_path / "older")
        between = store.commands.durable + 1
        await steps(workload, 60)
        await store.state.flush()
        await back_up(store, tmp_path / "newer")
        await store.log.truncate(between, await store.log.campaign())
        await back_up(store, tmp_path / "cut")
        await store.log.truncate(between + 30, await store.log.campaign())
        await back_up(store, tmp_path / "gone")
    times = times_of(entries)
    as_of = times[between + 20]
    with pytest.raises(NotReached, match="--base OLDER"):
        await bring_back(tmp_path / "cut", tmp_path / "refused", as_of)
    with pytest.raises(NotReached, match="does not go on from where"):
        await bring_back(tmp_path / "gone", tmp_path / "refused", as_of, base=tmp_path / "older")
    with pytest.raises(NotReached, match="give an older one"):
        await bring_back(tmp_path / "cut", tmp_path / "refused", as_of, base=tmp_path / "newer")
    assert not (tmp_path / "refused").exists()
    last = max(index for index, time_us in times.items() if time_us <= as_of)
    for name in ("newer", "cut"):
        report = await bring_back(tmp_path / name, tmp_path / f"from-{name}", as_of, base=tmp_path / "older")
        assert report.last_entry == last
        await check(tmp_path / f"from-{name}", entries, last)


@pytest.mark.asyncio
async def test_an_instant_before_the_first_entry_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as store:
        await back_up(store, tmp_path / "b")
    with pytest.raises(NotReached, match="first entry"):
        await bring_back(tmp_path / "b", tmp_path / "to", 1)


@pytest.mark.asyncio
async def test_the_log_is_not_truncated_while_a_backup_is_gathered_and_the_last_one_is_remembered(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "data") as store:
        backups = Backups(store.folder, store.log, store.state, SteppingClock(LATER))
        assert backups.age_s() == -1
        async with backups.quiet:
            waiting = asyncio.create_task(backups.stream())
            for _ in range(20):
                await asyncio.sleep(0)
            assert not waiting.done()
            with pytest.raises(Overloaded):
                await backups.stream()
        async for _ in await waiting:
            pass
        stream = await backups.stream()
        async for _ in stream:
            assert (store.folder / "backup.new").is_dir()
        assert not (store.folder / "backup.new").exists()
        assert 0 <= backups.age_s() < 60
        last = read_last(store.folder)
        assert last is not None
        assert last.entry == store.commands.durable


class StandingClock(SteppingClock):
    """A clock that stands still."""

    def time(self) -> float:
        return self.now


@pytest.mark.asyncio
async def test_the_report_says_what_each_policy_makes_of_the_time_since(tmp_path: Path) -> None:
    mark_s = 1_800_000_000
    async with running(tmp_path / "data") as store:
        for policy in MissedRunPolicy:
            target = HttpTarget(url="http://localhost/")
            spec = JobSpec(name=policy.value, target=target, schedules=["* * * * *"], missed_run_policy=policy)
            await store.commands.propose(PutJob(f"J-{policy.value}", spec, "me"))
        shard = store.state.get(SHARDS, "0") or Shard()
        await store.commands.propose(Decide(0, 0, mark_s + 600, shard.plan_version))
        await back_up(store, tmp_path / "b")
    wanted = Wanted(backup=tmp_path / "b", folder=tmp_path / "to")
    begun_s = mark_s + 600 + 3 * 3600 + 30
    report = await restore(wanted, StandingClock(begun_s), SeededChance(random.Random(2)))
    # Of 180 minutes the last is on time for all three; of the others one runs none, one the latest, one a hundred.
    assert (report.missed, report.missed_will_run) == (3 * 180, (0 + 1) + (1 + 1) + (100 + 1))
    assert report.restore_epoch == begun_s

    later = Wanted(backup=tmp_path / "b", folder=tmp_path / "later", as_of_us=(begun_s - 90) * 1_000_000)
    given_up = await restore(later, StandingClock(begun_s), SeededChance(random.Random(2)))
    assert (given_up.missed, given_up.missed_will_run) == (3, 3), "one minute of three jobs, and in time"
