"""What is said of a job again without working it out anew is what working it out would say."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from tests.unit.scheduler.harness import BEGIN_S, Node, World, lasting

from chronos.dispatch.port import Delivery, Outcome, Refused
from chronos.model.job import Job
from chronos.scheduler.plan import Plan
from chronos.scheduler.successes import Successes
from chronos.server.lastruns import LastRuns
from chronos.server.rest.jobs import show
from chronos.store.commands import PutDocument
from chronos.testing import virtual_time

CLOSED = b'{"blackouts": [{"start": "2020-01-01T00:00:00Z", "end": "2070-01-01T00:00:00Z"}]}'


class Window:
    """Looks at a node's jobs as a list of them does."""

    def __init__(self, node: Node) -> None:
        view = node.commands.view
        self._last_runs = LastRuns(node.queries)
        node.commands.subscribe(self._last_runs.on_events)
        successes = Successes(view, node.scheduler.plan_of, node.queries.all_jobs)
        self._core = cast(Any, SimpleNamespace(scheduler=node.scheduler, clock=node.world.clock, successes=successes))
        self._jobs = node.jobs

    async def job(self, name: str) -> Job:
        return await self._jobs.get(name, namespace="default")

    async def shown(self, name: str) -> dict[str, Any]:
        job = await self.job(name)
        last = (await self._last_runs.of([job]))[job.id]
        document: dict[str, Any] = msgspec.json.decode(show(self._core, job, last=last))
        return document

    async def worked_out(self, name: str) -> dict[str, Any]:
        job = await self.job(name)
        last = (await self._last_runs.of([job]))[job.id]
        # What follows a change is never taken from what was said before.
        document: dict[str, Any] = msgspec.json.decode(show(self._core, job, [], last=last))
        del document["already_sent"]
        return document


async def refuse(delivery: Delivery) -> Outcome:
    return Refused("HTTP 400", "http_status", permanent=True)


@virtual_time
async def test_what_is_said_of_jobs_is_true_at_every_moment() -> None:
    world = World()
    said = set()
    async with Node(world) as node:
        window = Window(node)
        await node.commands.propose(PutDocument("calendars", "default", "open", b"{}", "ann", replans=True))
        await node.create("often", schedule="*/3 * * * * *", jitter="1s")
        await node.create("under", schedule="*/5 * * * * *", calendar="open")
        await node.create("never", schedule="0 0 1 1 *")
        await node.create("once", schedule=f"@at {datetime.fromtimestamp(BEGIN_S + 20, UTC):%Y-%m-%dT%H:%M:%SZ}")
        await node.create("long", schedule="*/3 * * * * *", concurrency="allow")  # an older run ends beside a newer one
        world.answers |= {"often": refuse, "long": lasting(4)}
        for step in range(240):
            await world.until(1 + step / 4)
            if step == 40:
                del world.answers["often"]
            if step == 80:
                await node.jobs.pause("often", namespace="default", by="ann")
            if step == 120:
                await node.jobs.resume("often", namespace="default", by="ann")
            if step == 150:
                await node.commands.propose(PutDocument("calendars", "default", "open", CLOSED, "ann", replans=True))
            if step == 180:
                await node.put("often", schedule="*/7 * * * * *", description="less often")
            if step == 200:
                await node.commands.propose(PutDocument("calendars", "default", "open", b"{}", "ann", replans=True))
            if step == 210:
                world.latency = lambda: 60.0  # what comes due from now on is not decided in time
            for name in ("often", "under", "never", "once", "long"):
                shown = await window.shown(name)
                assert shown == await window.worked_out(name), (name, step)
                said.add(msgspec.json.encode(shown))
    assert len(said) > 60, "they said many things"


@virtual_time
async def test_a_job_is_looked_into_once_until_it_comes_due(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    upcoming_s = Plan.upcoming_s

    def counted(self: Plan, after: int, count: int) -> list[int]:
        looked.append(self.job.name)
        return upcoming_s(self, after, count)

    monkeypatch.setattr(Plan, "upcoming_s", counted)
    world = World()
    async with Node(world) as node:
        window = Window(node)
        await node.create("seldom", schedule="*/30 * * * * *")
        for second in range(1, 29):
            await world.until(second)
            await window.shown("seldom")
        assert looked == ["seldom"]
        await world.until(31)
        await window.shown("seldom")
        assert looked == ["seldom", "seldom"]
