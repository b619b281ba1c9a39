from __future__ import annotations

import asyncio
import hashlib
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from tests.unit.scheduler.harness import Node, World

from chronos.model.execution import Status
from chronos.model.job import JobSpec
from chronos.model.principal import Principal
from chronos.plugin import Action, Call
from chronos.server.rest import core
from chronos.server.rest.batch import SLICE_BYTES, SLICE_LINES, SLICES_AT_ONCE, BatchAnswer, Batches
from chronos.server.settings import Settings
from chronos.store.commands import Decide, PutJob, decode_entry
from chronos.testing import run_virtual, virtual_time

ANN = Principal(id="ann", permissions=frozenset({"*"}))
HOOK = {"url": "http://127.0.0.1:9/"}


class Office:
    """A node, and the batch endpoint in front of it."""

    def __init__(self, node: Node) -> None:
        self.read = 0
        self.core = cast(
            Any, SimpleNamespace(clock=node.world.clock, jobs=node.jobs, settings=Settings(), admit=self.admit)
        )
        self.batches = Batches(self.core)

    async def admit(self, action: Action, spec: JobSpec, principal: Principal) -> None:
        self.read += 1

    async def send(self, *documents: Any, key: str | None = None, by: Principal = ANN) -> BatchAnswer:
        lines = [one if isinstance(one, bytes) else msgspec.json.encode(one) for one in documents]
        call = Call(by, "default", {}, raw=b"\n".join(lines), idempotency_key=key, route="POST /api/v1/jobs:batch")
        answer: BatchAnswer = (await self.batches.write(call)).value
        return answer


def a_job(name: str, schedule: str = "0 0 0 1 1 *", **more: Any) -> dict[str, Any]:
    return {"name": name, "schedule": schedule, "webhook": HOOK, **more}


def entries(world: World) -> list[list[Any]]:
    """Return the commands of each entry of the log."""
    return [decode_entry(entry.data).commands for entry in world.disk.entries.values()]


@virtual_time
async def test_every_line_is_answered_in_order_as_if_it_had_been_written_alone() -> None:
    async with Node(World()) as node:
        office = Office(node)
        answer = await office.send(a_job("a"), a_job("b", "nonsense"), b"{", a_job("c"), b"[]")

    assert [(item.line, item.status, item.name) for item in answer.results] == [
        (1, 201, "a"),
        (2, 422, "b"),
        (3, 400, ""),
        (4, 201, "c"),
        (5, 422, ""),
    ]
    assert (answer.succeeded, answer.failed) == (2, 3)


@virtual_time
async def test_of_several_lines_with_one_name_the_last_one_stands() -> None:
    async with Node(World()) as node:
        answer = await Office(node).send(*[a_job("a", description=f"{n}") for n in range(5)], a_job("b"))
        job = await node.jobs.get("a", namespace="default")

    assert [item.status for item in answer.results] == [201, 200, 200, 200, 200, 201]
    assert len({item.id for item in answer.results}) == 2
    assert (job.spec.description, job.revision) == ("4", 5)


@virtual_time
async def test_the_last_one_stands_even_if_an_earlier_slice_is_held_up() -> None:
    async with Node(World()) as node:
        office = Office(node)
        create_all, calls = node.jobs.create_all, []

        async def held_up(asked: Any, *, by: str) -> Any:
            calls.append(asked)
            await asyncio.sleep(0.1 if len(calls) == 1 else 0)
            return await create_all(asked, by=by)

        office.core.jobs = SimpleNamespace(create_all=held_up, replace_all=node.jobs.replace_all)
        others = [a_job(f"b{n}") for n in range(SLICE_LINES)]
        await office.send(a_job("a", description="first"), *others, a_job("a", description="last"))
        job = await node.jobs.get("a", namespace="default")

    assert len(calls) == 2
    assert (job.spec.description, job.revision) == ("last", 2)


@virtual_time
async def test_who_may_not_edit_is_refused_the_names_that_are_taken_and_creates_the_others() -> None:
    creator = Principal(id="bob", permissions=frozenset({"job:create"}))
    async with Node(World()) as node:
        office = Office(node)
        await office.send(a_job("a"))
        answer = await office.send(a_job("a", description="new"), a_job("b"), by=creator)
        job = await node.jobs.get("a", namespace="default")

    assert [item.status for item in answer.results] == [403, 201]
    assert job.revision == 1


@virtual_time
async def test_a_batch_sent_again_under_its_key_changes_nothing_and_is_answered_alike() -> None:
    documents = [a_job("a"), a_job("a", description="again"), a_job("b")]
    async with Node(World()) as node:
        office = Office(node)
        first = await office.send(*documents, key="k")
        again = await office.send(*documents, key="k")
        jobs = [await node.jobs.get(name, namespace="default") for name in "ab"]
        other = await office.send(a_job("c"), key="k")

    assert again == first
    assert [job.revision for job in jobs] == [2, 1]
    assert [item.status for item in other.results] == [422]


@virtual_time
async def test_the_body_is_hashed_once_however_many_lines_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = 0
    whole = hashlib.blake2b

    def counted(*given: Any, **more: Any) -> Any:
        nonlocal hashed
        hashed += 1
        return whole(*given, **more)

    async with Node(World()) as node:
        office = Office(node)
        with monkeypatch.context() as patched:
            patched.setattr(core, "hashlib", SimpleNamespace(blake2b=counted))
            answer = await office.send(*[a_job(f"job-{n}") for n in range(200)], key="k")

    assert (answer.failed, hashed) == (0, 1)


@pytest.mark.parametrize("padding", [0, SLICE_BYTES // 4, SLICE_BYTES + 1])
def test_batches_together_put_no_more_into_one_entry_than_their_slices(padding: int) -> None:
    async def main() -> World:
        world = World()
        async with Node(world) as node:
            office = Office(node)
            lines = [[a_job(f"{who}-{n}") for n in range(300 if not padding else 12)] for who in "xyz"]
            tags = {"pad": "x" * 200}
            for jobs in lines:
                for job in jobs:
                    job |= {"tags": tags, "description": "d" * min(padding, 2_000)}
            texts = [[msgspec.json.encode(job) + b" " * padding for job in jobs] for jobs in lines]
            answers = await asyncio.gather(*(office.send(*each) for each in texts))
            assert [answer.failed for answer in answers] == [0, 0, 0]
        return world

    world = run_virtual(main)
    sizes = [sum(isinstance(command, PutJob) for command in entry) for entry in entries(world)]
    at_once = SLICE_LINES if not padding else max(1, SLICE_BYTES // (padding + 400))
    assert 0 < max(sizes) <= SLICES_AT_ONCE * at_once
    assert sum(sizes) == (900 if not padding else 36)


@virtual_time
async def test_the_loop_turns_between_the_slices_of_a_batch() -> None:
    """Nothing else may wait for more than a slice, and for what is dear to read not even for that long."""
    async with Node(World(latency=0.0005)) as node:
        office = Office(node)
        began: list[int] = []

        async def tick() -> None:
            while True:
                await asyncio.sleep(0.0001)
                began.append(office.read)

        ticking = asyncio.create_task(tick())
        await office.send(*[a_job(f"job-{n}") for n in range(2_000)])
        ticking.cancel()

    steps = [after - before for before, after in pairwise(began)]
    assert max(steps) <= SLICES_AT_ONCE * SLICE_LINES
    assert office.read == 2_000


@virtual_time
async def test_what_is_dear_to_read_lets_the_loop_turn_every_few_milliseconds() -> None:
    async with Node(World()) as node:
        office = Office(node)
        now = 0.0
        turns: list[int] = []

        class Dear:
            """A clock on which each look takes two milliseconds: as if each line were that dear."""

            def boottime(self) -> float:
                nonlocal now
                now += 0.002
                return now

        office.core.clock = Dear()
        loop = asyncio.get_running_loop()

        def turn() -> None:
            turns.append(office.read)
            if office.read < 40:
                loop.call_soon(turn)

        loop.call_soon(turn)
        await office.send(*[a_job(f"job-{n}") for n in range(40)])

    steps = [after - before for before, after in pairwise(turns)]
    assert max(steps) <= 4


@pytest.mark.parametrize("latency", [0.01, 0.03])
def test_executions_are_on_time_and_decided_once_while_jobs_are_loaded_without_pause(latency: float) -> None:
    async def main() -> World:
        world = World(latency=latency)
        async with Node(world) as node:
            office = Office(node)
            await office.send(*[a_job(f"fires-{n}", "* * * * * *", concurrency="allow") for n in range(40)])
            for second in range(2, 6):
                await world.until(second - 0.3)
                while world.now < second + 0.05:
                    answer = await office.send(*[a_job(f"{world.now}-{n}", "@every 1h") for n in range(500)])
                    assert answer.failed == 0
            await world.until(8)
            for n in range(40):
                told = await node.told(await node.jobs.get(f"fires-{n}", namespace="default"))
                assert [one for one in told if one[0] <= 7] == [(s, Status.SUCCESS.value) for s in range(1, 8)]
        return world

    world = run_virtual(main)
    late = [sent.at - sent.instant for sent in world.sent]
    assert max(late) <= 0.02 + 3 * latency, sorted(late)[-5:]
    assert sum(isinstance(one, PutJob) for entry in entries(world) for one in entry) > 2_000
    decisions = sum(isinstance(one, Decide) for entry in entries(world) for one in entry)
    assert decisions <= 8 + 4, "of one that slices have overtaken the next try holds them back, and else they wait"
