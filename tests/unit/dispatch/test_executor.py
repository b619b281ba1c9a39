"""The executor of one process, on virtual time."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.unit.dispatch.fakes import Recorder, Reports, a_delivery, us
from tests.unit.kept import Kept

from chronos.dispatch.executor import ExecutorSettings, LocalExecutor
from chronos.dispatch.port import Cancelled, Delivered, Delivery, Lost, NoAnswer, NotSent, Outcome
from chronos.telemetry import Telemetry
from chronos.testing import VirtualClock, run_virtual, virtual_time


@virtual_time
async def test_nothing_leaves_before_its_time() -> None:
    clock, reports = VirtualClock(), Reports()
    recorder = Recorder(clock)
    async with LocalExecutor(recorder.deliver, reports, clock) as executor:
        executor.submit([a_delivery("late", not_before_us=us(clock, 7200.5)), a_delivery("now")])
        executor.submit([a_delivery("soon", not_before_us=us(clock, 0.25))])
        assert executor.in_flight() == 3
        await asyncio.sleep(7201)
        assert executor.in_flight() == 0
    assert recorder.order == ["now", "soon", "late"]
    assert [began for _, began in recorder.began] == pytest.approx([0, 0.25, 7200.5], abs=1e-3)
    assert all(began >= due for (_, began), due in zip(recorder.began, [0, 0.25, 7200.5], strict=True))


@virtual_time
async def test_a_wall_clock_set_forward_is_noticed_within_a_second() -> None:
    clock = VirtualClock()
    recorder = Recorder(clock)
    async with LocalExecutor(recorder.deliver, Reports(), clock) as executor:
        executor.submit([a_delivery(not_before_us=us(clock, 3600))])
        await asyncio.sleep(10)
        clock.step(3600)
        await asyncio.sleep(1.01)
        assert recorder.order == ["occ_a"]


@virtual_time
async def test_a_wall_clock_set_back_delays_what_is_held() -> None:
    clock = VirtualClock()
    recorder = Recorder(clock)
    async with LocalExecutor(recorder.deliver, Reports(), clock) as executor:
        executor.submit([a_delivery(not_before_us=us(clock, 5))])
        clock.step(-60)
        await asyncio.sleep(64)
        assert recorder.order == []
        await asyncio.sleep(2)
        assert recorder.order == ["occ_a"]


@virtual_time
async def test_higher_priority_goes_first_when_capacity_is_short_and_waiting_counts() -> None:
    clock, reports = VirtualClock(), Reports()
    recorder = Recorder(clock, seconds=100)
    settings = ExecutorSettings(max_concurrent=1)
    async with LocalExecutor(recorder.deliver, reports, clock, settings) as executor:
        executor.submit([a_delivery("first")])
        executor.submit([a_delivery("low", priority=2), a_delivery("high", priority=9)])
        await asyncio.sleep(90)
        # Two levels higher than `low`, but 90 seconds younger: nine levels of ageing against it.
        executor.submit([a_delivery("young", priority=4)])
        await asyncio.sleep(1000)
    assert recorder.order == ["first", "high", "low", "young"]
    assert recorder.at_once_max == 1
    waited = {done.execution_id: done.waited.capacity for done in reports.all}
    assert waited["first"] == 0
    assert waited["high"] == pytest.approx(100_000, abs=5)


@virtual_time
async def test_a_burst_to_one_host_stands_in_line_there_and_leaves_the_others_alone() -> None:
    clock, reports = VirtualClock(), Reports()
    recorder = Recorder(clock, seconds=1)
    async with LocalExecutor(recorder.deliver, reports, clock, ExecutorSettings(per_host_max=2)) as executor:
        executor.submit([a_delivery(f"busy-{n}", url="http://busy.test/") for n in range(5)])
        executor.submit([a_delivery("other", url="http://other.test/")])
        await asyncio.sleep(10)
    began = dict(recorder.began)
    assert began["other"] == pytest.approx(0, abs=1e-3)
    assert [began[f"busy-{n}"] for n in range(5)] == pytest.approx([0, 0, 1, 1, 2], abs=1e-2)
    waited = {done.execution_id: done.waited for done in reports.all}
    assert waited["busy-4"].host_cap == pytest.approx(2_000, abs=5)
    assert waited["busy-4"].capacity == 0


@virtual_time
async def test_who_stands_in_a_hosts_line_can_be_recalled_and_the_next_moves_up() -> None:
    clock, reports = VirtualClock(), Reports()
    recorder = Recorder(clock, seconds=1)
    async with LocalExecutor(recorder.deliver, reports, clock, ExecutorSettings(per_host_max=1)) as executor:
        executor.submit([a_delivery(name, url="http://busy.test/") for name in ("first", "second", "third")])
        await asyncio.sleep(0.5)
        assert await executor.recall(["second"]) == {"second": "dropped"}
        await asyncio.sleep(10)
    assert recorder.order == ["first", "third"]


@virtual_time
async def test_attempts_that_end_together_are_reported_together() -> None:
    clock, reports = VirtualClock(), Reports()
    recorder = Recorder(clock, seconds=1)
    async with LocalExecutor(recorder.deliver, reports, clock) as executor:
        start = us(clock)
        executor.submit([a_delivery(f"occ_{n}") for n in range(50)])
        await asyncio.sleep(2)
        assert [len(batch) for batch in reports.batches] == [50]
    done = reports.all[0]
    assert done.started_at_us == pytest.approx(start, abs=2000)
    assert done.ended_at_us - done.started_at_us == pytest.approx(1_000_000, abs=2000)


@virtual_time
async def test_what_has_not_begun_can_be_recalled_and_is_not_reported() -> None:
    clock, reports = VirtualClock(), Reports()
    recorder = Recorder(clock, seconds=10)
    async with LocalExecutor(recorder.deliver, reports, clock) as executor:
        executor.submit([a_delivery("held", not_before_us=us(clock, 5)), a_delivery("running")])
        await asyncio.sleep(1)
        answers = await executor.recall(["held", "running", "never"])
        assert answers == {"held": "dropped", "running": "sent", "never": "unknown"}
        assert executor.in_flight() == 1
        await asyncio.sleep(60)
    assert recorder.order == ["running"]
    assert [done.execution_id for done in reports.all] == ["running"]


@virtual_time
async def test_what_waits_for_capacity_can_be_recalled() -> None:
    clock, reports = VirtualClock(), Reports()
    recorder = Recorder(clock, seconds=10)
    async with LocalExecutor(recorder.deliver, reports, clock, ExecutorSettings(max_concurrent=1)) as executor:
        executor.submit([a_delivery("one"), a_delivery("two")])
        assert await executor.recall(["two"]) == {"two": "dropped"}
        await asyncio.sleep(60)
    assert recorder.order == ["one"]


@virtual_time
async def test_a_cancelled_attempt_is_stopped_its_target_told_and_reported_once() -> None:
    clock, reports = VirtualClock(), Reports()
    recorder = Recorder(clock, seconds=100)
    told: list[str] = []

    async def tell(delivery: Delivery) -> None:
        assert recorder.cut == [delivery.execution_id]  # stopped before it is told
        told.append(delivery.execution_id)

    async with LocalExecutor(recorder.deliver, reports, clock, tell_cancelled=tell) as executor:
        executor.submit([a_delivery("one"), a_delivery("held", not_before_us=us(clock, 50))])
        await asyncio.sleep(1)
        await executor.cancel(["one", "held", "never"])
        await executor.cancel(["one"])
        await asyncio.sleep(1)
        assert reports.outcomes == {"one": Cancelled(), "held": NotSent("recalled")}
        assert executor.in_flight() == 0
    assert told == ["one"]
    assert len(reports.all) == 2


@virtual_time
async def test_a_cancel_without_its_url_tells_nobody() -> None:
    clock, reports = VirtualClock(), Reports()
    told: list[str] = []

    async def tell(delivery: Delivery) -> None:
        told.append(delivery.execution_id)

    async with LocalExecutor(Recorder(clock, 9).deliver, reports, clock, tell_cancelled=tell) as executor:
        executor.submit([a_delivery("one")])
        await asyncio.sleep(1)
        await executor.cancel(["one"], cancel_url=False)
        await asyncio.sleep(1)
    assert told == []
    assert reports.outcomes == {"one": Cancelled()}


@virtual_time
async def test_an_attempt_cancelled_before_its_first_step_is_reported_all_the_same() -> None:
    clock, reports = VirtualClock(), Reports()
    recorder = Recorder(clock, seconds=10)
    async with LocalExecutor(recorder.deliver, reports, clock) as executor:
        executor.submit([a_delivery("one")])
        await executor.cancel(["one"])
        await asyncio.sleep(1)
    assert recorder.order == []
    assert reports.outcomes == {"one": NotSent("recalled")}


@virtual_time
async def test_what_an_attempt_came_to_first_wins_over_its_cancellation() -> None:
    clock, reports = VirtualClock(), Reports()

    async def stubborn(delivery: Delivery) -> Outcome:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return Delivered()
        raise AssertionError

    async with LocalExecutor(stubborn, reports, clock) as executor:
        executor.submit([a_delivery("one")])
        await asyncio.sleep(1)
        await executor.cancel(["one"])
        await asyncio.sleep(1)
    assert reports.outcomes == {"one": Delivered()}


@virtual_time
async def test_a_drain_lets_run_what_runs_and_gives_back_the_rest() -> None:
    clock, reports = VirtualClock(), Reports()

    async def deliver(delivery: Delivery) -> Outcome:
        await asyncio.sleep(delivery.priority)
        return Delivered()

    async with LocalExecutor(deliver, reports, clock) as executor:
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
        executor.submit([a_delivery("after")])
        await asyncio.sleep(0)
        assert reports.outcomes["after"] == NotSent("drain")
        assert executor.in_flight() == 0


@virtual_time
async def test_a_drain_does_not_wait_for_a_long_grace() -> None:
    clock, reports = VirtualClock(), Reports()

    async def graceful(delivery: Delivery) -> Outcome:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(600)
            raise
        raise AssertionError

    async with LocalExecutor(graceful, reports, clock) as executor:
        executor.submit([a_delivery("one")])
        await asyncio.sleep(1)
        before = clock.boottime()
        await executor.drain(5)
        assert clock.boottime() - before == pytest.approx(20)
        assert reports.outcomes == {"one": Lost("drain")}


@virtual_time
async def test_a_drain_with_nothing_to_wait_for_ends_at_once() -> None:
    clock = VirtualClock()
    before = clock.boottime()
    async with LocalExecutor(Recorder(clock).deliver, Reports(), clock) as executor:
        await executor.drain(30)
        await executor.drain(30)
    assert clock.boottime() == before


@virtual_time
async def test_leaving_without_a_drain_reports_everything_as_well() -> None:
    clock, reports = VirtualClock(), Reports()
    async with LocalExecutor(Recorder(clock, 100).deliver, reports, clock) as executor:
        executor.submit([a_delivery("running"), a_delivery("held", not_before_us=us(clock, 50))])
        await asyncio.sleep(1)
    assert reports.outcomes == {"running": Lost("drain"), "held": NotSent("drain")}


@virtual_time
async def test_an_executor_may_be_left_unentered_and_left_twice() -> None:
    clock = VirtualClock()
    executor = LocalExecutor(Recorder(clock).deliver, Reports(), clock)
    await executor.__aexit__(None, None, None)
    async with executor:
        pass
    await executor.__aexit__(None, None, None)


@virtual_time
async def test_a_bug_in_one_delivery_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    clock, reports = VirtualClock(), Reports()

    async def deliver(delivery: Delivery) -> Outcome:
        await asyncio.sleep(1)
        if delivery.execution_id == "bad":
            raise KeyError("a bug")
        return Delivered()

    async with LocalExecutor(deliver, reports, clock) as executor:
        executor.submit([a_delivery("bad"), a_delivery("good")])
        await asyncio.sleep(2)
    assert reports.outcomes["good"] == Delivered()
    bad = reports.outcomes["bad"]
    assert isinstance(bad, NoAnswer)
    assert bad.error_class == "internal"
    assert "a bug" in caplog.text


@virtual_time
async def test_what_is_beyond_the_bound_is_given_back() -> None:
    clock, reports = VirtualClock(), Reports()
    settings = ExecutorSettings(max_held=2)
    async with LocalExecutor(Recorder(clock, 1).deliver, reports, clock, settings) as executor:
        executor.submit([a_delivery("one"), a_delivery("two"), a_delivery("three")])
        await asyncio.sleep(0)
        assert reports.outcomes == {"three": NotSent("capacity", retry_after_s=1.0)}
        await asyncio.sleep(2)


@pytest.mark.parametrize("seed", range(40))
def test_every_attempt_is_reported_once_or_recalled_whatever_happens(seed: int) -> None:
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
        async with LocalExecutor(deliver, reports, clock, settings) as executor:
            for step in range(60):
                ids = [f"{step}.{n}" for n in range(draw.randrange(5))]
                executor.submit([a_delivery(i, not_before_us=us(clock, draw.random() * 2)) for i in ids])
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


@virtual_time
async def test_how_late_an_attempt_leaves_is_counted_from_when_it_was_due() -> None:
    clock, telemetry, kept = VirtualClock(), Telemetry(), Kept()
    telemetry.add_sink(kept)
    recorder = Recorder(clock, seconds=3)
    limits = ExecutorSettings(max_concurrent=1)
    async with LocalExecutor(recorder.deliver, Reports(), clock, limits, telemetry=telemetry) as executor:
        ahead = a_delivery("ahead", due_us=us(clock, 10), not_before_us=us(clock, 10))
        late = a_delivery("late", due_us=us(clock, -7), not_before_us=us(clock, 20))
        behind = a_delivery("behind", due_us=us(clock, 20), not_before_us=us(clock, 20), priority=1)
        executor.submit([ahead, late, behind])
        await asyncio.sleep(60)
    assert kept.of("start_lateness_seconds") == pytest.approx([0, 27, 3], abs=0.01)


@virtual_time
async def test_what_never_leaves_is_not_late() -> None:
    clock, telemetry, kept = VirtualClock(), Telemetry(), Kept()
    telemetry.add_sink(kept)
    async with LocalExecutor(Recorder(clock).deliver, Reports(), clock, telemetry=telemetry) as executor:
        executor.submit([a_delivery(due_us=us(clock, 60), not_before_us=us(clock, 60))])
        await executor.recall(["occ_a"])
        await asyncio.sleep(100)
    assert kept.seen == []


@virtual_time
async def test_what_is_held_is_in_flight_and_not_under_way() -> None:
    clock = VirtualClock()
    async with LocalExecutor(Recorder(clock, seconds=5).deliver, Reports(), clock) as executor:
        executor.submit([a_delivery("now"), a_delivery("later", not_before_us=us(clock, 60))])
        await asyncio.sleep(1)
        assert (executor.running, executor.in_flight()) == (1, 2)
