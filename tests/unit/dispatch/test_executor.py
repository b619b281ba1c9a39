"""The executor of one process, on virtual time: what it does beyond what every executor promises."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.dispatch.fakes import Begun, Recorder, Reports, a_delivery, us
from tests.unit.kept import Kept

from chronos.dispatch.executor import HELD_BACK_S, NAP_S, STARTS_MAX, ExecutorSettings, LocalExecutor
from chronos.dispatch.port import Delivered, Delivery, Done, Lost, NoAnswer, NotSent, Outcome
from chronos.dispatch.underway import Told, UnderWay
from chronos.telemetry import Telemetry
from chronos.testing import VirtualClock, virtual_time


@virtual_time
async def test_what_comes_due_a_moment_later_starts_together_and_never_early() -> None:
    clock = VirtualClock()
    recorder = Recorder(clock)
    async with LocalExecutor(recorder.deliver, Reports(), clock) as executor:
        due = [0.25 + n * 0.0001 for n in range(100)]
        executor.submit([a_delivery(f"occ_{n}", not_before_us=us(clock, at)) for n, at in enumerate(due)])
        await asyncio.sleep(1)
    late = [began - at for (_, began), at in zip(recorder.began, due, strict=True)]
    assert min(late) > -1e-6
    assert max(late) < 1.1 * NAP_S
    assert len({began for _, began in recorder.began}) <= 11, "it woke up for each"


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


class Dated(Reports):
    """Keeps when it was told, too."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self.late_s: list[float] = []

    def __call__(self, batch: list[Done]) -> None:
        super().__call__(batch)
        self.late_s += [self._clock.time() - done.ended_at_us / 1e6 for done in batch]


@virtual_time
async def test_while_others_wait_to_begin_ends_are_told_together_and_never_long_after() -> None:
    clock, limits = VirtualClock(), ExecutorSettings(per_host_max=10)
    reports, recorder = Dated(clock), Recorder(clock, seconds=0.01)
    async with LocalExecutor(recorder.deliver, reports, clock, limits, rest_s=0.002) as executor:
        executor.submit([a_delivery(f"occ_{n}") for n in range(1_000)])
        await asyncio.sleep(1.5)
    assert len(reports.all) == 1_000
    assert max(reports.late_s) <= HELD_BACK_S + 0.004
    assert len(reports.batches) <= 1.1 / HELD_BACK_S + 5, "one after the other"


@virtual_time
async def test_when_nobody_waits_ends_are_told_as_soon_as_they_are_seen() -> None:
    clock = VirtualClock()
    reports, recorder = Dated(clock), Recorder(clock, seconds=0.01)
    async with LocalExecutor(recorder.deliver, reports, clock, rest_s=0.002) as executor:
        for n in range(20):
            executor.submit([a_delivery(f"occ_{n}")])
            await asyncio.sleep(0.02)
    assert max(reports.late_s) <= 0.0021


@virtual_time
async def test_a_crowd_begins_in_turns_so_that_the_first_leave_before_the_last_have_begun() -> None:
    clock = VirtualClock()
    turns: list[int] = []

    async def deliver(delivery: Delivery) -> Outcome:
        raise AssertionError

    def begin(delivery: Delivery, told: Told) -> UnderWay:
        turns[-1] += 1
        return Begun(recorder.deliver, delivery, told)

    recorder = Recorder(clock, seconds=1)
    async with LocalExecutor(deliver, Reports(), clock, begin=begin) as executor:
        turns.append(0)
        executor.submit([a_delivery(f"occ_{n}", priority=n % 3) for n in range(500)])
        while sum(turns) < 500:
            turns.append(0)
            await asyncio.sleep(0)
        assert 0 < max(turns) <= STARTS_MAX
        await asyncio.sleep(2)
    assert recorder.order == sorted(recorder.order, key=lambda name: (-(int(name[4:]) % 3), int(name[4:])))


@virtual_time
async def test_two_attempts_of_one_execution_are_kept_apart() -> None:
    clock, reports = VirtualClock(), Reports()
    recorder = Recorder(clock, seconds=1)
    async with LocalExecutor(recorder.deliver, reports, clock) as executor:
        executor.submit([a_delivery(attempt=n, not_before_us=us(clock, 10 * n)) for n in (1, 2, 3)])
        await asyncio.sleep(10.5)
        assert await executor.recall(["occ_a"]) == {"occ_a": "sent"}
        assert executor.in_flight() == 1
        await asyncio.sleep(60)
    assert [(done.attempt, type(done.outcome)) for done in reports.all] == [
        (2, NotSent),
        (3, NotSent),
        (1, Delivered),
    ]


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
