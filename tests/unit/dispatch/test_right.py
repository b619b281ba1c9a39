"""Nothing leaves without the right to send, whoever sends it, and whatever holds up who renews the right."""

from __future__ import annotations

import asyncio

from tests.unit.dispatch.fakes import Recorder, Reports, a_delivery, us
from tests.unit.dispatch.wires import Waiting, Wires, a_client, call
from tests.unit.dispatch.workers.links import MemoryLauncher

from chronos.dispatch.executor import LocalExecutor
from chronos.dispatch.http.exchange import RightOver, Wanted
from chronos.dispatch.http.url import parse_url
from chronos.dispatch.port import Answer, Delivered, Lost, NotSent
from chronos.dispatch.right import CUT_OFF, ISOLATED, RightToSend
from chronos.dispatch.workers.pool import PoolSettings, WorkerPool
from chronos.testing import VirtualClock, virtual_time


def lasting(clock: VirtualClock, seconds: float) -> RightToSend:
    return RightToSend(clock, clock.boottime() + seconds)


@virtual_time
async def test_what_is_held_or_runs_when_the_right_is_over_is_given_back_or_stopped_at_that_moment() -> None:
    clock, reports = VirtualClock(), Reports()
    recorder = Recorder(clock, seconds=60)
    async with LocalExecutor(recorder.deliver, reports, clock, right=lasting(clock, 5)) as executor:
        executor.submit([a_delivery("runs"), a_delivery("held", not_before_us=us(clock, 8))])
        await asyncio.sleep(4.9)
        assert reports.all == []
        await asyncio.sleep(0.2)
        assert reports.outcomes == {"runs": Lost(CUT_OFF), "held": NotSent(ISOLATED)}
        assert executor.in_flight() == 0


@virtual_time
async def test_what_may_go_on_goes_on_to_its_end_but_nothing_new_begins() -> None:
    clock, reports = VirtualClock(), Reports()
    recorder = Recorder(clock, seconds=60)
    async with LocalExecutor(recorder.deliver, reports, clock, right=lasting(clock, 5)) as executor:
        executor.submit(
            [a_delivery("runs", goes_on=True), a_delivery("held", goes_on=True, not_before_us=us(clock, 8))]
        )
        await asyncio.sleep(10)
        executor.submit([a_delivery("late", goes_on=True)])
        await asyncio.sleep(51)
        assert reports.outcomes == {
            "held": NotSent(ISOLATED),
            "late": NotSent(ISOLATED),
            "runs": Delivered(Answer(200)),
        }
        assert recorder.order == ["runs"]


@virtual_time
async def test_a_right_that_is_renewed_stops_nothing() -> None:
    clock, reports = VirtualClock(), Reports()
    recorder, right = Recorder(clock, seconds=60), lasting(clock, 5)
    async with LocalExecutor(recorder.deliver, reports, clock, right=right) as executor:
        executor.submit([a_delivery("runs")])
        for _ in range(65):
            await asyncio.sleep(1)
            right.until_s = clock.boottime() + 5
        assert reports.outcomes == {"runs": Delivered(Answer(200))}


@virtual_time
async def test_after_a_while_without_the_right_whoever_has_it_again_sends() -> None:
    clock, reports = VirtualClock(), Reports()
    recorder, right = Recorder(clock, seconds=1), lasting(clock, -1)
    async with LocalExecutor(recorder.deliver, reports, clock, right=right) as executor:
        executor.submit([a_delivery("early")])
        await asyncio.sleep(1)
        right.until_s = clock.boottime() + 5
        executor.submit([a_delivery("now")])
        await asyncio.sleep(2)
        assert reports.outcomes == {"early": NotSent(ISOLATED), "now": Delivered(Answer(200))}


@virtual_time
async def test_a_connection_that_was_made_too_late_carries_no_first_byte() -> None:
    clock = VirtualClock()
    client = a_client(wires := Wires(seconds=2), right=lasting(clock, 1))
    client.ask(Wanted(parse_url("http://a.test/"), "GET", b"GET / HTTP/1.1\r\n\r\n"), waiting := Waiting())
    await asyncio.sleep(3)
    assert isinstance(waiting.read.exception(), RightOver)
    assert [wire.written for wire in wires.made] == [[]]


@virtual_time
async def test_a_kept_connection_is_not_written_on_without_the_right() -> None:
    clock = VirtualClock()
    right = lasting(clock, 1)
    client = a_client(wires := Wires(), right=right)
    await call(client)
    await asyncio.sleep(2)
    asked = [Waiting() for _ in range(3)]
    for waiting in asked:
        client.ask(Wanted(parse_url("http://a.test/"), "GET", b"GET / HTTP/1.1\r\n\r\n"), waiting)
    await asyncio.sleep(1)
    assert all(isinstance(waiting.read.exception(), RightOver) for waiting in asked)
    assert sum(len(wire.written) for wire in wires.made) == 1


@virtual_time
async def test_a_worker_whose_main_process_hangs_stops_by_itself_when_the_right_is_over() -> None:
    clock, reports = VirtualClock(), Reports()
    recorder, right = Recorder(clock, seconds=60), lasting(clock, 5)
    launcher = MemoryLauncher(recorder.deliver, clock)
    pool = WorkerPool(launcher, lambda: b"", reports, clock, PoolSettings(workers=1), right=right)
    async with pool:
        await pool.ready()
        pool.submit([a_delivery("runs"), a_delivery("held", not_before_us=us(clock, 8))])
        await asyncio.sleep(1)
        launcher.last.hang()  # it hears nothing of main any more
        await asyncio.sleep(3.9)
        assert recorder.cut == []
        await asyncio.sleep(0.2)
        assert recorder.cut == ["runs"]
        await asyncio.sleep(4)
        launcher.last.go_on()
        await asyncio.sleep(1)
        assert recorder.order == ["runs"]
        assert reports.outcomes == {"runs": Lost(CUT_OFF), "held": NotSent(ISOLATED)}


@virtual_time
async def test_workers_hear_of_a_renewal_before_the_right_they_know_of_is_over() -> None:
    clock, reports = VirtualClock(), Reports()
    recorder, right = Recorder(clock, seconds=20), lasting(clock, 5)
    launcher = MemoryLauncher(recorder.deliver, clock)
    async with WorkerPool(launcher, lambda: b"", reports, clock, PoolSettings(workers=1), right=right) as pool:
        await pool.ready()
        pool.submit([a_delivery("runs")])
        for _ in range(25):
            right.until_s = clock.boottime() + 5
            await asyncio.sleep(1)
        assert reports.outcomes == {"runs": Delivered(Answer(200))}
