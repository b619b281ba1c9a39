"""One node under random faults: whatever happens, each planned instant has exactly one record."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from tests.dose import dose
from tests.unit.scheduler.harness import BEGIN_S, Node, World, a_spec

from chronos.dispatch.port import Delivered, Delivery, NoAnswer, Outcome, Refused
from chronos.errors import ChronosError
from chronos.model.execution import Execution, RangeRecord
from chronos.model.job import Job
from chronos.store.tables import REVISIONS, Revision
from chronos.testing import run_virtual
from chronos.timing.schedule import parse_schedule

SCHEDULES = ["* * * * * *", "*/3 * * * * *", "*/20 * * * * *", "0 * * * * *", "0 */5 * * * *", "@every 7s"]
POLICIES = ["allow", "forbid", "queue", "replace"]
MISSED = ["execute_one", "execute_all", "ignore"]
SECONDS = 3_600


class Chaos:
    """Faults and edits drawn from one seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.world = World(seed=seed)
        self.world.latency = lambda: self.draw.choice([0.0005, 0.002, 0.005, 0.005, 0.4 if self.slow else 0.01])
        self.slow = False
        self.node: Node

    async def target(self, delivery: Delivery) -> Outcome:
        await asyncio.sleep(self.draw.choice([0.0, 0.01, 0.2, 2.0, 15.0]))
        refused = Refused("HTTP 503", "http_status")
        outcomes: list[Outcome] = [Delivered(), Delivered(), refused, NoAnswer("timed out", "timeout")]
        return self.draw.choice(outcomes)

    def spec(self) -> dict[str, Any]:
        return {
            "schedule": self.draw.choice(SCHEDULES),
            "concurrency": self.draw.choice(POLICIES),
            "missed_run_policy": self.draw.choice(MISSED),
            "jitter": self.draw.choice([None, "2s"]),
            "retry_policy": {"retry_holds_slot": self.draw.random() < 0.5, "max_interval": "10s"},
        }

    async def live(self) -> None:
        await self.begin()
        for n in range(6):
            name = f"job{n}"
            self.world.answers[name] = self.target
            await self.node.create(name, **self.spec())
        while self.world.now < SECONDS:
            await asyncio.sleep(self.draw.choice([0.1, 0.75, 1.0, 5.0, 30.0]) * self.draw.random())
            await self.draw.choice([self.edit, self.edit, self.pause, self.resume, self.trigger, self.disk, self.die])()
        await self.resume_all()
        self.slow = False
        await self.world.until(SECONDS + 200)

    async def begin(self) -> None:
        self.node = Node(self.world)
        await self.node.__aenter__()

    async def die(self) -> None:
        if self.draw.random() < 0.5:
            self.node.crash()
        else:
            await self.node.__aexit__()
        await asyncio.sleep(self.draw.choice([0.0, 0.5, 3.0, 90.0, 400.0]))
        await self.begin()

    async def disk(self) -> None:
        self.slow = not self.slow

    async def edit(self) -> None:
        name = self._name()
        job = await self.node.jobs.get(name, namespace="default")
        spec = self.spec() if self.draw.random() < 0.5 else {"schedule": job.spec.schedules[0], "description": "x"}
        await self._try(self.node.put(name, **spec))

    async def pause(self) -> None:
        await self._try(self.node.jobs.pause(self._name(), namespace="default", by="ann"))

    async def resume(self) -> None:
        await self._try(self.node.jobs.resume(self._name(), namespace="default", by="ann"))

    async def resume_all(self) -> None:
        for n in range(6):
            await self.node.jobs.resume(f"job{n}", namespace="default", by="ann")

    async def trigger(self) -> None:
        await self._try(self.node.jobs.trigger(self._name(), namespace="default", by="ann"))

    def _name(self) -> str:
        return f"job{self.draw.randrange(6)}"

    async def _try(self, request: Awaitable[object]) -> None:
        try:
            await request
        except ChronosError:
            pass  # refused for the moment: that is an answer


def planned(revisions: list[Revision], until_s: int) -> Iterator[int]:
    """Yield every instant that the job's definitions owed, found the slow way; paused time included."""
    spans: list[tuple[int, int, Job]] = []
    for revision in revisions:
        job = revision.job
        if spans and job.owed_since_us == spans[-1][2].owed_since_us:
            continue  # an edit that left what is owed as it was
        if spans:
            spans[-1] = (spans[-1][0], job.owed_since_us // 1_000_000, spans[-1][2])
        spans.append((job.owed_since_us // 1_000_000, until_s, job))
    for since_s, to_s, job in spans:
        spec = a_spec("x", job.spec.schedules[0])
        assert spec.schedule is not None
        schedule = parse_schedule(spec.schedule, anchor=job.anchor_s, hash_key=f"default/{job.name}")
        yield from schedule.between_s(since_s, to_s)


def written(job: Job, records: list[Execution | RangeRecord], owed: set[int]) -> Counter[int]:
    """Return how often each instant is written down; a range stands for the planned instants inside it."""
    found: Counter[int] = Counter()
    for record in records:
        if isinstance(record, RangeRecord):
            inside = [second for second in owed if record.first_s <= second <= record.last_s]
            assert len(inside) == record.count or record.count < len(inside), record
            if len(inside) == record.count:
                found.update(inside)
            else:
                found.update(inside[:0])
                found[-record.first_s] += record.count
        elif record.kind.value == "schedule":
            found[record.scheduled_s] += 1
    return found


@pytest.mark.parametrize("seed", dose(range(8), 3))
def test_every_planned_instant_has_exactly_one_record(seed: int) -> None:
    chaos = Chaos(seed)

    async def main() -> None:
        await chaos.live()
        node = chaos.node
        until_s = node.scheduler.shard.hwm_s
        for job in node.queries.all_jobs():
            rows = node.state.scan(REVISIONS, f"{job.id}/", f"{job.id}/~", 100_000)
            owed = set(planned([revision for _, revision in rows], until_s))
            found = written(job, await node.records(job), owed)
            lost = sorted(second - BEGIN_S for second in owed if not found[second])
            twice = sorted(second - BEGIN_S for second in owed if found[second] > 1)
            assert not lost, (job.name, lost)
            assert not twice, (job.name, twice)
        numbers: dict[str, list[int]] = {}
        for sent in chaos.world.sent:
            numbers.setdefault(sent.id, []).append(sent.attempt)
        assert all(later > earlier for tries in numbers.values() for earlier, later in pairwise(tries))
        await node.__aexit__()

    run_virtual(main, seed=seed)


@pytest.mark.parametrize("seed", range(5))
def test_after_a_crash_the_same_execution_is_sent_again_with_the_next_number(seed: int) -> None:
    async def main() -> None:
        world = World(seed=seed)

        async def hang(_: Delivery) -> Outcome:
            await asyncio.sleep(1_000)
            return Delivered()

        world.answers["nightly"] = hang
        node = Node(world)
        await node.__aenter__()
        job = await node.create(schedule="0 * * * * *")
        await world.until(61)
        node.crash()
        world.answers.clear()
        async with Node(world) as again:
            await world.until(70)
            ended = await again.one(job)
        assert [(sent.attempt, sent.id) for sent in world.sent] == [(1, ended.id), (2, ended.id)]
        assert [attempt.status.value for attempt in ended.attempts] == ["unknown", "success"]
        assert (ended.unknowns, ended.tries) == (1, 1)

    run_virtual(main, seed=seed)
