"""What every executor promises: in this process, and behind a socket. On virtual time."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from tests.unit.dispatch.fakes import Begun, Recorder, Reports, a_delivery, us
from tests.unit.dispatch.workers.links import MemoryLauncher
from tests.unit.kept import Kept

from chronos.dispatch.executor import ExecutorSettings, LocalExecutor, TellCancelled
from chronos.dispatch.port import Cancelled, Deliver, Delivered, Delivery, Executor, Lost, NoAnswer, NotSent, Outcome
from chronos.dispatch.underway import Begin
from chronos.dispatch.workers.lanes import Lanes
from chronos.dispatch.workers.pool import PoolSettings, WorkerPool
from chronos.telemetry import Telemetry
from chronos.testing import VirtualClock, run_virtual

SETTLED_S = 0.1
"""By then, what was said has been heard."""

Make = Callable[..., AbstractAsyncContextManager[Executor]]


@asynccontextmanager
async def here(
    deliver: Deliver,
    reports: Reports,
    clock: VirtualClock,
    settings: ExecutorSettings | None = None,
    tell_cancelled: TellCancelled | None = None,
    telemetry: Telemetry | None = None,
    seed: int = 0,
    *,
    begin: Begin | None = None,
) -> AsyncIterator[Executor]:
    async with LocalExecutor(
        deliver, reports, clock, settings, begin=begin, tell_cancelled=tell_cancelled, telemetry=telemetry
    ) as executor:
        yield executor


def without_tasks(deliver: Deliver, *rest: Any, **named: Any) -> AbstractAsyncContextManager[Executor]:
    return here(deliver, *rest, begin=Begun.beginner(deliver), **named)


def in_workers(count: int) -> Make:
    @asynccontextmanager
    async def make(
        deliver: Deliver,
        reports: Reports,
        clock: VirtualClock,
        settings: ExecutorSettings | None = None,
        tell_cancelled: TellCancelled | None = None,
        telemetry: Telemetry | None = None,
        seed: int = 0,
    ) -> AsyncIterator[Executor]:
        settings = settings or ExecutorSettings()
        launcher = MemoryLauncher(deliver, clock, tell_cancelled=tell_cancelled, chance=random.Random(seed))
        limits = PoolSettings(workers=count, executor=settings, max_held=settings.max_held)
        async with WorkerPool(launcher, lambda: b"", reports, clock, limits, telemetry=telemetry) as pool:
            await pool.ready()
            yield pool

    return make


@asynccontextmanager
async def in_lanes(
    deliver: Deliver,
    reports: Reports,
    clock: VirtualClock,
    settings: ExecutorSettings | None = None,
    tell_cancelled: TellCancelled | None = None,
    telemetry: Telemetry | None = None,
    seed: int = 0,
) -> AsyncIterator[Executor]:
    """Every other execution stays here."""
    local = LocalExecutor(deliver, reports, clock, settings, tell_cancelled=tell_cancelled, telemetry=telemetry)
    limits = PoolSettings(executor=settings or ExecutorSettings())
    launcher = MemoryLauncher(deliver, clock, tell_cancelled=tell_cancelled)
    pool = WorkerPool(launcher, lambda: b"", reports, clock, limits, telemetry=telemetry)
    async with Lanes(local, pool, lambda delivery: zlib.crc32(delivery.execution_id.encode()) % 2 == 0) as lanes:
        await pool.ready()
        yield lanes


EXECUTORS = {
    "here": here,
    "without tasks": without_tasks,
    "one worker": in_workers(1),
    "three workers": in_workers(3),
    "both": in_lanes,
}


@pytest.fixture(params=EXECUTORS)
def make(request: pytest.FixtureRequest) -> Make:
    return EXECUTORS[request.param]


def on_virtual_time(scenario: Callable[..., Any]) -> Callable[..., None]:
    def test(make: Make) -> None:
        run_virtual(lambda: scenario(make))

    test.__name__, test.__doc__ = scenario.__name__, scenario.__doc__
    return test


@on_virtual_time
async def test_nothing_leaves_before_its_time(make: Make) -> None:
    clock, reports = VirtualClock(), Reports()
    recorder = Recorder(clock)
    async with make(recorder.deliver, reports, clock) as executor:
        executor.submit([a_delivery("late", not_before_us=us(clock, 7200.5)), a_delivery("now")])
        executor.submit([a_delivery("soon", not_before_us=us(clock, 0.25))])
        assert executor.in_flight() == 3
        await asyncio.sleep(7201)
        assert executor.in_flight() == 0
    assert recorder.order == ["now", "soon", "late"]
    assert [began for _, began in recorder.began] == pytest.approx([0, 0.25, 7200.5], abs=1e-3)
    assert all(began >= due for (_, began), due in zip(recorder.began, [0, 0.25, 7200.5], strict=True))


@on_virtual_time
async def test_a_wall_clock_set_forward_is_noticed_within_two_seconds(make: Make) -> None:
    clock = VirtualClock()
    recorder = Recorder(clock)
    async with make(recorder.deliver, Reports(), clock) as executor:
        executor.submit([a_delivery(not_before_us=us(clock, 3600))])
        await asyncio.sleep(10)
        clock.step(3600)
        await asyncio.sleep(2)
        assert recorder.order == ["occ_a"]


@on_virtual_time
async def test_a_wall_clock_set_back_delays_what_is_held(make: Make) -> None:
    clock = VirtualClock()
    recorder = Recorder(clock)
    async with make(recorder.deliver, Reports(), clock) as executor:
        executor.submit([a_delivery(not_before_us=us(clock, 5))])
        await asyncio.sleep(SETTLED_S)
        clock.step(-60)
        await asyncio.sleep(64)
        assert recorder.order == []
        await asyncio.sleep(2)
        assert recorder.order == ["occ_a"]


@on_virtual_time
async def test_what_came_of_an_attempt_is_reported_as_it_was(make: Make) -> None:
    clock, reports = VirtualClock(), Reports()
    outcomes: dict[str, Outcome] = {
        "yes": Delivered(resent=True),
        "silence": NoAnswer("not done within 30 s", "timeout"),
        "not now": NotSent("breaker", retry_after_s=2.5),
    }
    recorder = Recorder(clock, 1, lambda delivery: outcomes[delivery.execution_id])
    async with make(recorder.deliver, reports, clock) as executor:
        executor.submit([a_delivery(key, attempt=7) for key in outcomes])
        start = us(clock)
        await asyncio.sleep(2)
    assert reports.outcomes == outcomes
    assert {done.attempt for done in reports.all} == {7}
    assert all(done.started_at_us == pytest.approx(start, abs=2000) for done in reports.all)
    assert all(done.ended_at_us - done.started_at_us == pytest.approx(1_000_000, abs=2000) for done in reports.all)


@on_virtual_time
async def test_what_has_not_begun_can_be_recalled_and_is_not_reported(make: Make) -> None:
    clock, reports = VirtualClock(), Reports()
    recorder = Recorder(clock, seconds=10)
    async with make(recorder.deliver, reports, clock) as executor:
        executor.submit([a_delivery("held", not_before_us=us(clock, 5)), a_delivery("running")])
        await asyncio.sleep(1)
        answers = await executor.recall(["held", "running", "never"])
        assert answers == {"held": "dropped", "running": "sent", "never": "unknown"}
        assert executor.in_flight() == 1
        await asyncio.sleep(60)
        assert executor.in_flight() == 0
    assert recorder.order == ["running"]
    assert [done.execution_id for done in reports.all] == ["running"]


@on_virtual_time
async def test_a_later_attempt_held_beside_one_that_runs_comes_back_with_the_recall(make: Make) -> None:
    clock, reports = VirtualClock(), Reports()
    recorder = Recorder(clock, seconds=10)
    async with make(recorder.deliver, reports, clock) as executor:
        executor.submit([a_delivery("one", attempt=1)])
        executor.submit([a_delivery("one", attempt=2, not_before_us=us(clock, 5))])
        await asyncio.sleep(1)
        assert await executor.recall(["one"]) == {"one": "sent"}
        await asyncio.sleep(SETTLED_S)
        assert [(done.attempt, done.outcome) for done in reports.all] == [(2, NotSent("recalled"))]
        assert executor.in_flight() == 1
        await asyncio.sleep(60)
        assert executor.in_flight() == 0
    assert len(recorder.began) == 1


@on_virtual_time
async def test_what_was_given_on_this_very_turn_can_be_recalled(make: Make) -> None:
    clock, reports = VirtualClock(), Reports()
    recorder = Recorder(clock)
    async with make(recorder.deliver, reports, clock) as executor:
        executor.submit([a_delivery("held", not_before_us=us(clock, 5))])
        assert await executor.recall(["held"]) == {"held": "dropped"}
        await asyncio.sleep(60)
    assert recorder.order == []
    assert reports.all == []


@on_virtual_time
async def test_a_recall_of_what_has_ended_is_answered_as_it_was_reported(make: Make) -> None:
    clock, reports = VirtualClock(), Reports()
    async with make(Recorder(clock).deliver, reports, clock) as executor:
        executor.submit([a_delivery("one")])
        await asyncio.sleep(1)
        assert reports.outcomes.keys() == {"one"}
        assert await executor.recall(["one"]) == {"one": "unknown"}


@on_virtual_time
async def test_a_cancelled_attempt_is_stopped_its_target_told_and_reported_once(make: Make) -> None:
    clock, reports = VirtualClock(), Reports()
    recorder = Recorder(clock, seconds=100)
    told: list[str] = []

    async def tell(delivery: Delivery) -> None:
        assert recorder.cut == [delivery.execution_id]  # stopped before it is told
        told.append(delivery.execution_id)

    async with make(recorder.deliver, reports, clock, tell_cancelled=tell) as executor:
        executor.submit([a_delivery("one"), a_delivery("held", not_before_us=us(clock, 50))])
        await asyncio.sleep(1)
        await executor.cancel(["one", "held", "never"])
        await executor.cancel(["one"])
        await asyncio.sleep(1)
        assert reports.outcomes == {"one": Cancelled(), "held": NotSent("recalled")}
        assert executor.in_flight() == 0
    assert told == ["one"]
    assert len(reports.all) == 2


@on_virtual_time
async def test_a_cancel_without_its_url_tells_nobody(make: Make) -> None:
    clock, reports = VirtualClock(), Reports()
    told: list[str] = []

    async def tell(delivery: Delivery) -> None:
        told.append(delivery.execution_id)

    async with make(Recorder(clock, 9).deliver, reports, clock, tell_cancelled=tell) as executor:
        executor.submit([a_delivery("one")])
        await asyncio.sleep(1)
        await executor.cancel(["one"], cancel_url=False)
        await asyncio.sleep(1)
        assert reports.outcomes == {"one": Cancelled()}
    assert told == []


@on_virtual_time
async def test_a_drain_lets_run_what_runs_and_gives_back_the_rest(make: Make) -> None:
    clock, reports = VirtualClock(), Reports()

    async def deliver(delivery: Delivery) -> Outcome:
        await asyncio.sleep(delivery.priority)
        return Delivered()

    async with make(deliver, reports, clock) as executor:
        executor.submit(
            [
                a_delivery("short", priority=3),
                a_delivery("long", priority=9),
                a_delivery("held", not_before_us=us(clock, 4)),
            ]
        )
        await asyncio.sleep(1)
        await executor.drain(5)
        assert reports.outcomes == {"short": Delivered(), "long": Lost("drain"), "held": NotSent("drain")}
        assert executor.in_flight() == 0
        executor.submit([a_delivery("after")])
        await asyncio.sleep(0)
        assert reports.outcomes["after"] == NotSent("drain")
        await executor.drain(0)
        assert executor.in_flight() == 0
    assert len(reports.all) == 4


@on_virtual_time
async def test_a_drain_does_not_wait_for_a_long_grace(make: Make) -> None:
    clock, reports = VirtualClock(), Reports()

    async def graceful(delivery: Delivery) -> Outcome:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(600)
            raise
        raise AssertionError

    async with make(graceful, reports, clock) as executor:
        executor.submit([a_delivery("one")])
        await asyncio.sleep(1)
        before = clock.boottime()
        await executor.drain(5)
        assert clock.boottime() - before < 24
        assert reports.outcomes == {"one": Lost("drain")}


@on_virtual_time
async def test_leaving_without_a_drain_reports_everything_as_well(make: Make) -> None:
    clock, reports = VirtualClock(), Reports()
    async with make(Recorder(clock, 100).deliver, reports, clock) as executor:
        executor.submit([a_delivery("running"), a_delivery("held", not_before_us=us(clock, 50))])
        await asyncio.sleep(1)
    assert reports.outcomes == {"running": Lost("drain"), "held": NotSent("drain")}


@on_virtual_time
async def test_what_is_beyond_the_bound_is_given_back(make: Make) -> None:
    clock, reports = VirtualClock(), Reports()
    settings = ExecutorSettings(max_held=2)
    if make is in_lanes:
        pytest.skip("each lane has a bound of its own")
    async with make(Recorder(clock, 1).deliver, reports, clock, settings) as executor:
        executor.submit([a_delivery("one"), a_delivery("two"), a_delivery("three")])
        await asyncio.sleep(0)
        assert reports.outcomes == {"three": NotSent("capacity", retry_after_s=1.0)}
        await asyncio.sleep(2)


@on_virtual_time
async def test_how_late_an_attempt_leaves_is_measured_wherever_it_runs(make: Make) -> None:
    clock, telemetry, kept = VirtualClock(), Telemetry(), Kept()
    telemetry.add_sink(kept)
    async with make(Recorder(clock, 3).deliver, Reports(), clock, telemetry=telemetry) as executor:
        executor.submit([a_delivery("late", due_us=us(clock, -7), not_before_us=us(clock, 20))])
        await asyncio.sleep(60)
    assert kept.of("start_lateness_seconds") == pytest.approx([27], abs=0.01)


@pytest.mark.parametrize("seed", range(40))
def test_every_attempt_is_reported_once_or_recalled_whatever_happens(make: Make, seed: int) -> None:
    """Random submissions, recalls, cancels and a drain, on every order of events the seed draws."""
    draw = random.Random(seed)

    async def scenario() -> None:
        clock, reports = VirtualClock(), Reports()
        dropped: set[str] = set()
        given: set[str] = set()

        async def deliver(delivery: Delivery) -> Outcome:
            await asyncio.sleep(draw.random() * 3)
            return Delivered()

        settings = ExecutorSettings(max_concurrent=draw.choice([1, 3, 50]))
        async with make(deliver, reports, clock, settings, seed=seed) as executor:
            for step in range(60):
                ids = [f"{step}.{n}" for n in range(draw.randrange(5))]
                url = f"http://target-{draw.randrange(5)}.test/"
                executor.submit([a_delivery(i, url=url, not_before_us=us(clock, draw.random() * 2)) for i in ids])
                given.update(ids)
                some = draw.sample(sorted(given), min(len(given), 2))
                if draw.random() < 0.3:
                    answers = await executor.recall(some)
                    dropped |= {i for i, answer in answers.items() if answer == "dropped"}
                if draw.random() < 0.3:
                    await executor.cancel(some)
                await asyncio.sleep(draw.random() * 0.5)
            await executor.drain(draw.random() * 2)
            assert executor.in_flight() == 0
        reported = [done.execution_id for done in reports.all]
        assert len(reported) == len(set(reported))
        assert set(reported) | dropped == given
        assert not set(reported) & dropped

    run_virtual(scenario, seed=seed)
