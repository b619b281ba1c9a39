"""Jobs under calendars are made, edited, paused and resumed around the mark: every planned instant has one record."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.dose import PROOF
from tests.unit.scheduler.harness import BEGIN_S, Node, World
from tests.unit.verify.exporting import Exporter

from chronos.cluster.memory import MemoryLog
from chronos.model.execution import Execution, RangeRecord
from chronos.model.job import Job
from chronos.scheduler.settings import SchedulerSettings
from chronos.store.commands import PutDocument, decode_entry
from chronos.store.port import Changes
from chronos.testing import run_virtual
from chronos.verify.verifying import verify

# In 118 and 170 a calendar changes in the very second in which the job under it is made, decided ahead and edited.
SEEDS = range(200) if PROOF else [*range(12), 118, 170]
SECONDS = 40
NS: dict[str, Any] = {"namespace": "default", "by": "ann"}
SCHEDULES = ("* * * * * *", "*/2 * * * * *", "*/3 * * * * *", "0 0 * * * *")
CALENDARS = {
    "open": b"{}",
    "closed": b'{"blackouts": [{"start": "2020-01-01T00:00:00Z", "end": "2070-01-01T00:00:00Z", "reason": "closed"}]}',
    "partly": b'{"blackouts": [%s]}'
    % b", ".join(
        b'{"start": "2027-01-01T12:00:%02dZ", "end": "2027-01-01T12:00:%02dZ"}' % (second, second + 4)
        for second in range(3, 50, 7)
    ),
}


def exporting(node: Node) -> Exporter:
    """Return what will have taken everything that the node's fold changes from now on."""
    exporter, commit = Exporter(rows_max=1_000_000), node.state.commit

    def both(changes: Sequence[Changes], index: int, time_us: int) -> None:
        commit(changes, index, time_us)
        exporter.take(changes, time_us)

    node.state.commit = both  # type: ignore[method-assign]
    return exporter


class People:
    """Somebody who cannot leave a job alone, least of all when it is due."""

    def __init__(self, node: Node, chance: random.Random) -> None:
        self.node, self.chance = node, chance
        self.job: Job | None = None

    async def step(self) -> None:
        """Do something to the job."""
        spec: dict[str, Any] = {
            "schedule": self.chance.choice(SCHEDULES),
            "calendar": self.chance.choice([None, *CALENDARS]),
        }
        if self.job is None:
            self.job = await self.node.create(enabled=self.chance.random() < 0.8, **spec)
            return
        what = self.chance.choice(["edit", "edit", "edit", "pause", "resume", "resume", "enable", "delete"])
        if what == "edit":
            await self.node.put(**spec)
        elif what == "enable":
            await self.node.put(enabled=self.chance.random() < 0.7, **spec)
        elif what == "pause":
            await self.node.jobs.pause("nightly", **NS)
        elif what == "resume":
            await self.node.jobs.resume("nightly", **NS)
        elif self.chance.random() < 0.2:
            await self.node.jobs.delete("nightly", **NS)
            self.job = None


def about(chance: random.Random, second: int) -> float:
    """Return a moment near a full second: most often between the decision and what it decides."""
    return second + chance.choice([-0.26, -0.25, -0.24, -0.2, -0.1, -0.01, -0.001, 0.0, 0.001, 0.1, 0.5])


async def told_once(node: Node) -> None:
    """See to it that no instant of any job has two records."""
    found: Counter[tuple[str, int]] = Counter()
    for exported in [*node.state._history.values(), *node.state.open_executions()]:
        if isinstance(exported, RangeRecord):
            span = range(exported.first_s, exported.last_s + 1)
            found.update((exported.job_id, second) for second in (span if exported.count == len(span) else span[:1]))
        elif isinstance(exported, Execution):
            found[exported.job_id, exported.scheduled_s] += 1
    twice = [(job, instant - BEGIN_S) for (job, instant), count in found.items() if count > 1]
    assert not twice


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_done_around_the_mark_every_planned_instant_has_exactly_one_record(
    seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)

    async def main() -> Exporter:
        world = World(seed=seed, latency=chance.choice([0.0005, 0.03, 0.2]))
        node = Node(world, settings=SchedulerSettings(claim_lead_us=chance.choice([250_000, 250_000, 900_000])))
        exporter = exporting(node)
        async with node:
            for name, rules in CALENDARS.items():
                await node.commands.propose(PutDocument("calendars", "default", name, rules, "ann", replans=True))
            if chance.random() < 0.8:
                await node.create("busy")
            people = People(node, chance)
            for second in range(2, SECONDS):
                await world.until(about(chance, second))
                for _ in range(chance.choice([0, 1, 1, 2])):
                    await people.step()
            await world.until(SECONDS + 2.5)
            await told_once(node)
        return exporter

    judge(run_virtual(main), tmp_path)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_is_so_of_a_crowd_that_is_decided_in_parts_whoever_goes_on_with_them(
    seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    counted: Counter[str] = Counter()

    async def main() -> Exporter:
        world = World(seed=seed, latency=chance.choice([0.0005, 0.03, 0.03, 0.1]))
        settings = SchedulerSettings(
            part_jobs=chance.choice([1, 1, 2, 3]), claim_lead_us=chance.choice([250_000, 900_000])
        )
        node = Node(world, settings=settings)
        exporter = exporting(node)
        await node.__aenter__()
        for name, rules in CALENDARS.items():
            await node.commands.propose(PutDocument("calendars", "default", name, rules, "ann", replans=True))
        people, early = People(node, chance), chance.random() < 0.5
        if early:
            await people.step()  # so that it is decided before the others, and after them otherwise
        for number in range(chance.choice([4, 6, 9])):
            await node.create(
                f"busy-{number}", chance.choice(SCHEDULES[:3]), calendar=chance.choice([None, None, "partly"])
            )
        for second in range(2, SECONDS):
            await world.until(about(chance, second))
            for _ in range(chance.choice([0, 1, 1, 2])):
                await people.step()
            if chance.random() < 0.1:
                rules = chance.choice(list(CALENDARS.values()))
                await node.commands.propose(PutDocument("calendars", "default", "partly", rules, "ann", replans=True))
            counted["open"] += bool(node.scheduler.shard.catchup_to_s)
            if chance.random() < 0.15:
                await world.until(second + chance.choice([-0.1, 0.05, 0.3, 0.6]))
                node.crash()
                if chance.random() < 0.5:
                    await world.until(about(chance, second + chance.choice([1, 1, 3])))
                people.node = node = Node(world, settings=settings)
                exporter = exporting(node)
                await node.__aenter__()
        await world.until(SECONDS + 4.5)
        await told_once(node)
        assert not node.scheduler.shard.catchup_to_s
        await node.__aexit__()
        entries = [decode_entry(row.data) async for row in MemoryLog(world.disk).tail(1)]
        counted.update(type(command).__name__ for entry in entries for command in entry.commands)
        return exporter

    judge(run_virtual(main), tmp_path)
    assert counted["Catchup"] > counted["BeginCatchup"] > 0


def judge(exporter: Exporter, folder: Path) -> None:
    """See to it that an export can be verified."""
    (folder / "export.ndjson").write_bytes(b"".join(exporter.lines()))
    report = verify([folder / "export.ndjson"])
    assert [(p.kind, p.what, p.job, (p.instant_s or 0) - BEGIN_S) for p in report.problems] == []
    assert report.counts.planned > 0
