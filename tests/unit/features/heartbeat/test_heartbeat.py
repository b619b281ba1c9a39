"""A ping while planning goes on, silence while it does not, and word of the trouble where somebody wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.unit.features.fake_host import FakeHost

from chronos.dispatch.port import Delivered, Delivery, NoAnswer, NotSent, Outcome, Refused
from chronos.dispatch.router import Router
from chronos.errors import ConfigInvalid
from chronos.features.heartbeat import Settings, install
from chronos.features.heartbeat.model import Heartbeat
from chronos.plugin import Place
from chronos.scheduler.pulse import Pulse
from chronos.testing import VirtualClock, virtual_time
from chronos.timing.clock import utc

URL, FAIL = "https://watch.test/ping/abc", "https://watch.test/ping/abc/fail"


class Outside:
    """Who is told, in the place of the router."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.heard: list[tuple[float, str, str, str]] = []
        self.answer: Outcome = Delivered()
        self.takes_s = 0.0
        self.begun = clock.time()

    async def deliver(self, delivery: Delivery) -> Outcome:
        target: Any = delivery.target
        self.heard.append((round(self.clock.time() - self.begun), target.method.value, target.url, target.body))
        assert delivery.timeout_us == 10_000_000
        await asyncio.sleep(self.takes_s)
        return self.answer


class Told:
    """A telemetry sink that adds up."""

    def __init__(self) -> None:
        self.counts: dict[str, float] = {}

    def count(self, name: str, value: float, labels: dict[str, str]) -> None:
        self.counts[labels["outcome"]] = self.counts.get(labels["outcome"], 0) + value

    def gauge(self, name: str, value: float, labels: dict[str, str]) -> None: ...
    def observe(self, name: str, values: Sequence[float], labels: dict[str, str]) -> None: ...


class Watched:
    """A host with a heartbeat, and a planning that stops when a test says so."""

    def __init__(self, **settings: Any) -> None:
        self.host = FakeHost()
        self.outside = Outside(self.host.virtual)
        self.trouble = ""
        self.told = Told()
        self.host.telemetry.add_sink(self.told)
        self.leaving = False
        self.host.provide(Pulse, Pulse(lambda: "", lambda: self.trouble, is_leaving=lambda: self.leaving))
        provide: Any = self.host.provide
        provide(Router, self.outside)
        install(self.host, Settings(**{"url": URL} | settings))

    @property
    def pings(self) -> list[float]:
        return [at for at, method, _, _ in self.outside.heard if method == "GET"]

    async def status(self) -> Heartbeat:
        value = (await self.host.call("GET", "/api/v1/heartbeat")).value
        assert isinstance(value, Heartbeat)
        return value


@virtual_time
async def test_it_pings_at_once_and_at_every_interval() -> None:
    watched = Watched(interval="30s")
    async with watched.host:
        await asyncio.sleep(100)
    assert watched.pings == [0, 30, 60, 90]
    assert {(method, url) for _, method, url, _ in watched.outside.heard} == {("GET", URL)}
    assert watched.told.counts == {"sent": 4}


@virtual_time
async def test_it_is_silent_while_nothing_is_planned_and_speaks_as_soon_as_it_is_again() -> None:
    watched = Watched()
    watched.trouble = "The server is still starting."
    async with watched.host:
        await asyncio.sleep(20.5)
        watched.trouble = ""
        await asyncio.sleep(70)
        watched.trouble = "The disk is full."
        await asyncio.sleep(300)
        held = await watched.status()
        watched.trouble = ""
        await asyncio.sleep(2)
    assert watched.pings == [21, 81, 391]  # and not in the 300 s between
    assert (held.scheduling, held.trouble) == (False, "The disk is full.")
    assert watched.told.counts["withheld"] == 1 + 5


@virtual_time
async def test_who_wants_to_hear_of_trouble_hears_of_it_at_once_and_again() -> None:
    watched = Watched(fail_url=FAIL)
    async with watched.host:
        await asyncio.sleep(10.5)
        watched.trouble = "No turn of planning has ended for 11 s."
        await asyncio.sleep(70)
    assert watched.outside.heard == [
        (0, "GET", URL, ""),
        (14, "POST", FAIL, watched.trouble),
        (74, "POST", FAIL, watched.trouble),
    ]


@virtual_time
async def test_trouble_that_does_not_last_is_told_to_nobody() -> None:
    watched = Watched(fail_url=FAIL)
    watched.trouble = "The server is still starting."
    with capture_logs() as lines:
        async with watched.host:
            await asyncio.sleep(1.5)
            watched.trouble = ""
            await asyncio.sleep(30)
    assert watched.outside.heard == [(2, "GET", URL, "")]
    assert lines == []


@virtual_time
async def test_a_server_that_was_asked_to_stop_is_just_silent() -> None:
    watched = Watched(fail_url=FAIL, interval="5s")
    async with watched.host:
        await asyncio.sleep(7)
        watched.trouble, watched.leaving = "The server is shutting down.", True
        await asyncio.sleep(30)
    assert watched.outside.heard == [(0, "GET", URL, ""), (5, "GET", URL, "")]


@pytest.mark.parametrize(
    "answer", [NoAnswer("no connection", "connect"), Refused("HTTP 404", "http_status"), NotSent("breaker", 30.0)]
)
@virtual_time
async def test_a_ping_that_did_not_arrive_is_told_once_and_sent_again_soon(answer: Outcome) -> None:
    watched = Watched()
    watched.outside.answer = answer
    with capture_logs() as lines:
        async with watched.host:
            await asyncio.sleep(35)
            failed = await watched.status()
            watched.outside.answer = Delivered()
            await asyncio.sleep(10)
            healed = await watched.status()
    assert watched.pings == [0, 10, 20, 30, 40]
    assert failed.last_sent_at is None
    assert failed.last_error
    assert (healed.last_error, healed.last_sent_at) == ("", utc(watched.outside.begun + 40))
    assert [line["event"] for line in lines] == ["heartbeat_failed", "heartbeat_arrives_again"]
    assert watched.told.counts == {"failed": 4, "sent": 1}


@virtual_time
async def test_a_slow_answer_holds_up_nothing_but_the_next_ping() -> None:
    watched = Watched(interval="5s")
    watched.outside.takes_s = 9
    async with watched.host:
        await asyncio.sleep(25)
    assert watched.pings == [0, 10, 20]


@virtual_time
async def test_without_an_address_nobody_is_told_and_the_api_says_so() -> None:
    watched = Watched(url="")
    async with watched.host:
        await asyncio.sleep(100)
        status = await watched.status()
    assert watched.outside.heard == []
    assert (status.configured, status.scheduling) == (False, True)


def test_it_beats_in_the_process_that_plans_and_in_no_other() -> None:
    worker = FakeHost(Place.WORKER)
    install(worker, Settings(url=URL))
    assert (worker.services, worker.endpoints) == ([], {})


@pytest.mark.parametrize(
    "settings, key",
    [
        ({"url": "ftp://watch.test/"}, "heartbeat.url"),
        ({"url": URL, "fail_url": "watch.test"}, "heartbeat.fail_url"),
        ({"fail_url": FAIL}, "heartbeat.url"),
        ({"url": URL, "interval": "1s"}, "heartbeat.interval"),
        ({"url": URL, "interval": "2d"}, "heartbeat.interval"),
        ({"url": URL, "timeout": "2m"}, "heartbeat.timeout"),
    ],
)
def test_what_cannot_work_is_refused_by_its_key(settings: dict[str, str], key: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        install(FakeHost(), Settings(**settings))
    assert refused.value.facts["field"] == key


def test_an_address_may_be_a_secret() -> None:
    install(FakeHost(), Settings(url="${secret:env:HEARTBEAT}"))
