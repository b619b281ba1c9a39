"""What the router begins without a task: the same wrappers, deadline, breaker and cap as for what it delivers."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from functools import partial

import pytest
from tests.unit.dispatch.fakes import Begun, Recorder, Reports, a_delivery, us
from tests.unit.dispatch.wires import Wires, a_client, a_guard

from chronos.dispatch.breaker import Circuit, Ticket, Verdict
from chronos.dispatch.deadline import GRAIN_S
from chronos.dispatch.executor import LocalExecutor
from chronos.dispatch.http import HttpDispatcher
from chronos.dispatch.http.pool import ENOUGH
from chronos.dispatch.port import Answer, Around, Deliver, Delivered, Delivery, NoAnswer, NotSent, Outcome, Refused
from chronos.dispatch.router import Router, RouterSettings
from chronos.dispatch.underway import Told, UnderWay, awaited
from chronos.model.target import HttpTarget
from chronos.testing import VirtualClock, virtual_time

BROKEN = Refused("the target answered 500", "http_status", Answer(500))


class Beginning(Recorder):
    """A recorder that begins without a task, too."""

    def begin(self, delivery: Delivery, told: Told) -> UnderWay:
        return Begun(self.deliver, delivery, told)


def routed(recorder: Recorder, *around: Around, settings: RouterSettings | None = None) -> Router:
    return Router({"http": recorder}, recorder.clock, around=around, settings=settings)


async def begun(router: Router, delivery: Delivery) -> Outcome:
    """Begin, and return what it came to; by task where nothing is begun, as the executor does it."""

    def begin(told: Told) -> UnderWay:
        return router.begin(delivery, told) or Begun(router.deliver, delivery, told)

    return await awaited(begin)


@virtual_time
async def test_what_is_not_done_in_time_is_stopped_and_opens_the_circuit() -> None:
    recorder = Beginning(VirtualClock(), seconds=100)
    router = routed(recorder)
    for _ in range(5):
        before = recorder.clock.boottime()
        outcome = await begun(router, a_delivery(timeout_us=1_000_000))
        assert outcome == NoAnswer("not done within 1 s", "timeout")
        assert 1 <= recorder.clock.boottime() - before <= 1 + GRAIN_S
    await asyncio.sleep(0)
    assert len(recorder.cut) == 5
    assert router.breakers.states(0)[0].state is Circuit.OPEN
    assert router.begin(a_delivery(), lambda: None) is None, "the breaker's answer is a task's to give"
    assert isinstance(await begun(router, a_delivery()), NotSent)


@virtual_time
async def test_what_answers_in_time_closes_the_circuit() -> None:
    recorder = Beginning(VirtualClock(), outcome=BROKEN)
    router = routed(recorder)
    for _ in range(4):
        assert await begun(router, a_delivery()) == BROKEN
    recorder.outcome = Delivered()
    assert await begun(router, a_delivery()) == Delivered()
    assert router.breakers.states(0) == []


@virtual_time
async def test_a_trial_that_is_stopped_leaves_the_circuit_half_open_and_usable() -> None:
    clock = VirtualClock()
    recorder = Beginning(clock, outcome=BROKEN)
    router = routed(recorder)
    for _ in range(5):
        await begun(router, a_delivery())
    await asyncio.sleep(30)
    recorder.seconds, recorder.outcome = 5, Delivered()
    trial = router.begin(a_delivery(), lambda: None)
    assert trial is not None
    assert router.begin(a_delivery(), lambda: None) is None
    trial.stop()
    for _ in range(2):
        assert await begun(router, a_delivery()) == Delivered()
    assert router.breakers.states(0) == []


@virtual_time
async def test_a_host_gets_no_more_than_its_cap_and_a_place_that_is_free_is_used() -> None:
    recorder = Beginning(VirtualClock(), seconds=1)
    router = routed(recorder, settings=RouterSettings(per_host_max=2))
    running = [asyncio.create_task(begun(router, a_delivery(f"occ_{n}"))) for n in range(2)]
    await asyncio.sleep(0.5)
    assert router.begin(a_delivery(), lambda: None) is None
    assert await begun(router, a_delivery("third")) == NotSent("host_cap", 1.0)
    assert router.begin(a_delivery(url="http://other.test/"), lambda: None) is not None
    await asyncio.gather(*running)
    assert await begun(router, a_delivery("fourth")) == recorder.outcome


@virtual_time
async def test_what_a_wrapper_is_concerned_with_is_left_to_a_task() -> None:
    async def wrap(delivery: Delivery, inner: Deliver) -> Outcome:
        return NoAnswer("lost on purpose", "chaos")

    recorder = Beginning(VirtualClock())
    around = Around(wrap, lambda delivery: delivery.job_name == "wrapped")
    assert await begun(routed(recorder, around), a_delivery(job_name="wrapped")) == NoAnswer("lost on purpose", "chaos")
    assert recorder.began == []
    assert await begun(routed(recorder, around), a_delivery()) == recorder.outcome
    always = Router({"http": recorder}, recorder.clock, around=[wrap])
    assert always.begin(a_delivery(), lambda: None) is None


@virtual_time
async def test_a_wrapper_that_looks_at_the_target_alone_is_asked_once_for_each_target() -> None:
    asked: list[str] = []

    def concerns(delivery: Delivery) -> bool:
        assert isinstance(delivery.target, HttpTarget)
        asked.append(delivery.target.url)
        return "wrapped" in delivery.target.url

    async def wrap(delivery: Delivery, inner: Deliver) -> Outcome:
        return NoAnswer("lost on purpose", "chaos")

    recorder = Beginning(VirtualClock())
    router = routed(recorder, Around(wrap, concerns, by_target=True))
    for n in range(3):
        assert await begun(router, a_delivery(f"occ_{n}")) == recorder.outcome
    assert asked == ["http://target.test/"]
    for _ in range(2):
        wrapped = a_delivery(url="http://wrapped.test/")
        assert await begun(router, wrapped) == NoAnswer("lost on purpose", "chaos")


@virtual_time
async def test_what_cannot_be_begun_is_left_to_a_task() -> None:
    recorder = Recorder(VirtualClock())
    assert routed(recorder).begin(a_delivery(), lambda: None) is None
    assert routed(Beginning(VirtualClock())).begin(a_delivery(url="no url"), lambda: None) is None


class Scripted:
    """A dispatcher whose delivery goes on for as long as it is told to, and never ends by itself."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome | None] = []
        self.stopped = 0
        self.told: Callable[[], None] = lambda: None

    async def deliver(self, delivery: Delivery) -> Outcome:
        return await awaited(partial(self.begin, delivery))

    def begin(self, delivery: Delivery, told: Told) -> UnderWay:
        if delivery.job_name == "bug":
            raise RuntimeError
        self.told = told
        return self

    def outcome(self) -> Outcome | None:
        return self.outcomes.pop(0)

    def stop(self) -> None:
        self.stopped += 1

    async def aclose(self) -> None:
        """Nothing to close."""


@virtual_time
async def test_what_came_in_time_counts_even_when_it_is_asked_for_too_late() -> None:
    scripted = Scripted()
    router = Router({"http": scripted}, VirtualClock())
    under_way = router.begin(a_delivery(timeout_us=1_000_000), lambda: None)
    assert under_way is not None
    await asyncio.sleep(0.5)
    scripted.outcomes = [Delivered()]
    scripted.told()
    await asyncio.sleep(5)
    assert under_way.outcome() == Delivered()
    assert scripted.stopped == 0


@virtual_time
async def test_what_would_go_on_after_its_deadline_is_stopped() -> None:
    scripted = Scripted()
    router = Router({"http": scripted}, VirtualClock())
    told: list[bool] = []
    under_way = router.begin(a_delivery(timeout_us=1_000_000), lambda: told.append(True))
    assert under_way is not None
    scripted.outcomes = [None, None]
    scripted.told()
    assert under_way.outcome() is None  # a redirect, say
    scripted.told()
    await asyncio.sleep(5)
    assert under_way.outcome() == NoAnswer("not done within 1 s", "timeout")
    assert (scripted.stopped, told) == (1, [True, True])


@virtual_time
async def test_a_bug_gives_the_place_at_the_host_back() -> None:
    scripted = Scripted()
    router = Router({"http": scripted}, VirtualClock(), settings=RouterSettings(per_host_max=1))
    for _ in range(3):
        with pytest.raises(RuntimeError):
            router.begin(a_delivery(job_name="bug"), lambda: None)
    under_way = router.begin(a_delivery(), lambda: None)
    assert under_way is not None
    scripted.told()
    with pytest.raises(IndexError):
        under_way.outcome()
    assert router.begin(a_delivery(), lambda: None) is not None


@virtual_time
async def test_connections_for_a_crowd_are_made_while_it_is_held_and_none_for_a_host_that_fails() -> None:
    clock, reports, wires = VirtualClock(), Reports(), Wires()
    dispatcher = HttpDispatcher(
        a_guard(lambda: ["127.0.0.1"]), clock, client=a_client(wires, per_place_max=200, idle_max=200)
    )
    router = Router({"http": dispatcher}, clock)
    due_us = us(clock, 0.5)

    def crowd(name: str) -> list[Delivery]:
        return [a_delivery(f"{name}-{n}", url=f"http://{name}.test/", not_before_us=due_us) for n in range(200)]

    failing = router.breakers.admit("default", "bad.test", 0.0)
    assert isinstance(failing, Ticket)
    router.breakers.record(failing, Verdict.FAILED, 0.0)
    async with LocalExecutor(router.deliver, reports, clock, begin=router.begin, expect=router.expect) as executor:
        executor.submit(crowd("good") + crowd("bad"))
        executor.submit([a_delivery(f"few-{n}", url="http://few.test/", not_before_us=due_us) for n in range(9)])
        await asyncio.sleep(0.4)
        assert len(wires.made) == ENOUGH
        assert reports.all == []
        await asyncio.sleep(2)
    assert len(reports.all) == 409
    assert all(isinstance(outcome, Delivered) for outcome in reports.outcomes.values())


@virtual_time
async def test_what_was_delivered_leaves_nothing_for_the_collector() -> None:
    clock, reports = VirtualClock(), Reports()
    dispatcher = HttpDispatcher(a_guard(lambda: ["127.0.0.1"]), clock, client=a_client(Wires()))
    router = Router({"http": dispatcher}, clock)
    async with LocalExecutor(router.deliver, reports, clock, begin=router.begin) as executor:
        executor.submit([a_delivery("warm")])
        await asyncio.sleep(1)
        gc.collect()
        gc.disable()
        try:
            for n in range(100):
                executor.submit([a_delivery(f"occ_{n}")])
                await asyncio.sleep(0.01)
            found = gc.collect()
        finally:
            gc.enable()
    assert {type(outcome) for outcome in reports.outcomes.values()} == {Delivered}
    assert found < 100, "each leaves a cycle"
