"""The router: wrappers, deadline, breaker and cap around a dispatcher."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.dispatch.fakes import Recorder, a_delivery

from chronos.dispatch.breaker import Circuit
from chronos.dispatch.hosts import host_of
from chronos.dispatch.port import (
    Answer,
    AroundDispatch,
    Deliver,
    Delivered,
    Delivery,
    NoAnswer,
    NotSent,
    Outcome,
    Refused,
)
from chronos.dispatch.router import Router, RouterSettings
from chronos.model.target import HttpTarget, ProcessTarget
from chronos.testing import VirtualClock, virtual_time

BROKEN = Refused("the target answered 500", "http_status", Answer(500))
MISSING = Refused("the target answered 404", "http_status", Answer(404), permanent=True)


def routed(recorder: Recorder, *around: AroundDispatch, settings: RouterSettings | None = None) -> Router:
    return Router({"http": recorder}, recorder.clock, around=around, settings=settings)


@virtual_time
async def test_wrappers_go_from_the_outside_in_and_see_the_outcome() -> None:
    seen: list[str] = []

    def named(name: str) -> AroundDispatch:
        async def around(delivery: Delivery, inner: Deliver) -> Outcome:
            seen.append(f"{name} in")
            outcome = await inner(delivery)
            seen.append(f"{name} out")
            return outcome

        return around

    router = routed(Recorder(VirtualClock()), named("secrets"), named("tracing"))
    assert isinstance(await router.deliver(a_delivery()), Delivered)
    assert seen == ["secrets in", "tracing in", "tracing out", "secrets out"]


@virtual_time
async def test_a_wrapper_may_answer_itself() -> None:
    async def chaos(delivery: Delivery, inner: Deliver) -> Outcome:
        return NoAnswer("lost on purpose", "chaos")

    recorder = Recorder(VirtualClock())
    assert await routed(recorder, chaos).deliver(a_delivery()) == NoAnswer("lost on purpose", "chaos")
    assert recorder.began == []


@virtual_time
async def test_one_deadline_covers_the_wrappers_too() -> None:
    async def slow(delivery: Delivery, inner: Deliver) -> Outcome:
        await asyncio.sleep(6)
        return await inner(delivery)

    clock = VirtualClock()
    outcome = await routed(Recorder(clock, seconds=6), slow).deliver(a_delivery(timeout_us=10_000_000))
    assert isinstance(outcome, NoAnswer)
    assert outcome.error_class == "timeout"
    assert clock.boottime() == 1_010.0


@virtual_time
async def test_a_target_without_a_dispatcher_is_refused_for_good() -> None:
    outcome = await routed(Recorder(VirtualClock())).deliver(a_delivery(target=ProcessTarget(argv=["true"])))
    assert isinstance(outcome, Refused)
    assert outcome.permanent
    assert "process" in outcome.reason


@virtual_time
async def test_an_open_breaker_sends_nothing_and_says_when_to_ask_again() -> None:
    recorder = Recorder(VirtualClock(), outcome=BROKEN)
    router = routed(recorder)
    for _ in range(5):
        await router.deliver(a_delivery())
    assert await router.deliver(a_delivery()) == NotSent("breaker", 30.0)
    assert len(recorder.began) == 5
    assert isinstance(await router.deliver(a_delivery(url="http://other.test/")), Refused)


@virtual_time
async def test_a_host_that_only_ever_answers_404_keeps_its_circuit_closed() -> None:
    recorder = Recorder(VirtualClock(), outcome=MISSING)
    router = routed(recorder)
    for _ in range(20):
        assert await router.deliver(a_delivery()) == MISSING
    assert router.breakers.states(0) == []


@virtual_time
async def test_a_4xx_closes_a_half_open_circuit() -> None:
    """An earlier scheduler stayed half-open for ever when its trial was answered with a 4xx."""
    recorder = Recorder(VirtualClock(), outcome=BROKEN)
    router = routed(recorder)
    for _ in range(5):
        await router.deliver(a_delivery())
    await asyncio.sleep(30)
    recorder.outcome = MISSING
    for _ in range(3):
        assert await router.deliver(a_delivery()) == MISSING
    assert router.breakers.states(0) == []


@virtual_time
async def test_deadlines_that_pass_open_the_circuit() -> None:
    recorder = Recorder(VirtualClock(), seconds=100)
    router = routed(recorder)
    for _ in range(5):
        await router.deliver(a_delivery(timeout_us=1_000_000))
    assert router.breakers.states(0)[0].state is Circuit.OPEN


@virtual_time
async def test_a_cancelled_trial_leaves_the_circuit_half_open_and_usable() -> None:
    clock = VirtualClock()
    recorder = Recorder(clock, outcome=BROKEN)
    router = routed(recorder)
    for _ in range(5):
        await router.deliver(a_delivery())
    await asyncio.sleep(30)
    recorder.seconds, recorder.outcome = 5, Delivered()
    trial = asyncio.create_task(router.deliver(a_delivery()))
    await asyncio.sleep(1)
    assert isinstance(await router.deliver(a_delivery()), NotSent)
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    for _ in range(2):
        assert await router.deliver(a_delivery()) == Delivered()
    assert router.breakers.states(0) == []


@virtual_time
async def test_refusals_of_our_own_guards_say_nothing_about_the_host() -> None:
    recorder = Recorder(VirtualClock(), outcome=Refused("private", "egress", permanent=True))
    router = routed(recorder)
    for _ in range(20):
        await router.deliver(a_delivery())
    assert router.breakers.states(0) == []


@virtual_time
async def test_a_host_gets_no_more_than_its_cap_at_a_time() -> None:
    recorder = Recorder(VirtualClock(), seconds=5)
    router = routed(recorder, settings=RouterSettings(per_host_max=3))
    running = [asyncio.create_task(router.deliver(a_delivery(f"occ_{n}"))) for n in range(10)]
    outcomes = await asyncio.gather(*running)
    assert recorder.at_once_max == 3
    assert outcomes.count(NotSent("host_cap", 1.0)) == 7
    assert isinstance(await router.deliver(a_delivery()), Delivered)


@virtual_time
async def test_namespaces_do_not_share_a_cap() -> None:
    recorder = Recorder(VirtualClock(), seconds=5)
    router = routed(recorder, settings=RouterSettings(per_host_max=1))
    outcomes = await asyncio.gather(*(router.deliver(a_delivery(namespace=name)) for name in ("a", "b")))
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Example.com/a", "example.com"),
        ("http://example.com:80/b", "example.com"),
        ("https://example.com:80/", "example.com:80"),
        ("http://example.com/{{.JobName}}", "example.com"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("nonsense", None),
    ],
)
def test_breakers_and_caps_count_by_host_and_port(url: str, host: str | None) -> None:
    assert host_of(HttpTarget(url=url)) == host


def test_a_process_has_no_host() -> None:
    assert host_of(ProcessTarget(argv=["true"])) is None
