"""What a worker is handed, what it makes of it, and what it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from tests.integration.dispatch.samples import a_delivery
from tests.integration.dispatch.target_server import TargetServer

from chronos.dispatch.port import Delivered, Delivery, Outcome, Refused
from chronos.errors import ConfigInvalid, Unavailable
from chronos.model.premises import Entrance, Premises
from chronos.model.sealing import Sealer
from chronos.model.signing import new_shared_secret
from chronos.model.target import BearerAuth, HttpTarget
from chronos.plugin import Host, Place
from chronos.server import manifest
from chronos.server.exits import executor_of, http_of, workers_of
from chronos.server.settings import Dispatcher, DispatcherConcurrency, DispatcherHttp, Settings
from chronos.server.workplace import KEYS, Handover, WorkerHost, equip, handed, plain
from chronos.telemetry import Telemetry
from chronos.testing import VirtualClock
from chronos.timing.clock import SystemChance, SystemClock

KEY = bytes(range(32))
BUILT_IN = ["access", "secrets", "metrics", "callbacks", "versions", "explain", "export"]


def handover(settings: Settings | None = None, **changes: Any) -> bytes:
    facts: dict[str, Any] = {
        "settings": settings or Settings(),
        "sections": plain({name: kind() for name, kind in manifest.sections().items()}),
        "features": BUILT_IN,
        "keys": dict.fromkeys(KEYS, KEY),
        "ports": [],
        "on_loopback": True,
        "is_insecure_allowed": False,
        "public_url": "",
        "listener_url": "http://127.0.0.1:1",
        "share": 1,
    }
    return msgspec.msgpack.encode(Handover(**(facts | changes)))


def a_host() -> WorkerHost:
    return WorkerHost(VirtualClock(), SystemChance(), Telemetry())


async def deliver(given: bytes, delivery: Delivery) -> Outcome:
    async with asyncio.timeout(30), equip(given, SystemClock(), Telemetry()) as tools:
        return await tools.deliver(delivery)


def test_what_is_handed_over_arrives_as_it_was() -> None:
    signing = Settings(dispatcher=Dispatcher(http=DispatcherHttp(signing_secret="${secret:env:X}"), workers=3))
    assert handed(handover(signing)).settings == signing


@pytest.mark.asyncio
async def test_credentials_are_opened_references_resolved_and_requests_signed_in_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CHRONOS_SECRET_SIGNING", new_shared_secret(SystemChance()))
    settings = Settings(
        dispatcher=Dispatcher(http=DispatcherHttp(signing_secret="${secret:env:CHRONOS_SECRET_SIGNING}"))
    )
    async with TargetServer() as server:
        delivery = a_delivery(HttpTarget(url=server.url("/ok")))
        place = f"{delivery.namespace}/{delivery.job_id}/target.auth.token"
        sealed = Sealer(KEY, SystemChance()).seal("t0ken", place)
        target = HttpTarget(url=server.url("/ok"), auth=BearerAuth(token=sealed))
        outcome = await deliver(handover(settings), a_delivery(target))
        assert isinstance(outcome, Delivered)
        headers = server.got[0].headers
        assert headers["authorization"] == "Bearer t0ken"
        assert headers["webhook-signature"].startswith("v1,")


@pytest.mark.asyncio
async def test_a_worker_calls_no_port_of_the_servers_own() -> None:
    async with TargetServer() as server:
        outcome = await deliver(handover(ports=[server.port]), a_delivery(HttpTarget(url=server.url())))
        assert isinstance(outcome, Refused)
        assert outcome.error_class == "egress"
        assert server.got == []


def test_keys_that_a_worker_has_no_use_for_stay_in_main() -> None:
    async def ask() -> None:
        async with equip(handover(keys={"credentials": KEY}), SystemClock(), Telemetry()):
            pass

    with pytest.raises(ConfigInvalid, match="The key `callbacks` stays in the main process"):
        asyncio.run(ask())
    assert set(KEYS) == {"credentials", "callbacks"}


def test_documents_and_jobs_are_refused_and_what_is_mains_is_passed_over() -> None:
    host = a_host()
    as_host: Host = host
    assert as_host.place is Place.WORKER
    with pytest.raises(ConfigInvalid, match="documents `things` are kept in the main process"):
        host.collection("things", Settings)
    with pytest.raises(Unavailable, match="Jobs are asked for in the main process"):
        host.jobs.all()
    with pytest.raises(ConfigInvalid, match="Nobody offers Premises in a worker process"):
        host.require(Premises)  # type: ignore[type-abstract]
    host.endpoint(None)  # type: ignore[arg-type]
    host.admit(None)  # type: ignore[arg-type]
    host.on(set(), None)  # type: ignore[arg-type]
    host.watch(set(), None)  # type: ignore[arg-type]
    host.service(None)  # type: ignore[arg-type]
    assert host.permissions() == frozenset()
    host.provide(Entrance, SimpleNamespace())  # type: ignore[type-abstract]
    with pytest.raises(ConfigInvalid, match="Two features offer Entrance"):
        host.provide(Entrance, SimpleNamespace())  # type: ignore[type-abstract]
    host.dispatcher("carrier-pigeon", SimpleNamespace())
    with pytest.raises(ConfigInvalid, match="Two features deliver targets of type `carrier-pigeon`"):
        host.dispatcher("carrier-pigeon", SimpleNamespace())


def test_wrappers_are_outermost_first_whoever_came_first() -> None:
    def around(_: Delivery, __: Callable[[Delivery], Awaitable[Outcome]]) -> Any: ...

    def within(_: Delivery, __: Callable[[Delivery], Awaitable[Outcome]]) -> Any: ...

    host = a_host()
    host.around_dispatch(within, order=80)
    host.around_dispatch(around, order=10)
    assert host.arounds == [around, within]


def test_a_feature_that_main_has_and_a_worker_cannot_have_is_not_left_out_in_silence() -> None:
    async def ask() -> None:
        async with equip(handover(features=[*BUILT_IN, "pigeons"]), SystemClock(), Telemetry()):
            pass

    with pytest.raises(ConfigInvalid, match="The feature pigeons cannot be installed in a worker process"):
        asyncio.run(ask())


# How many there are, and what each may have.


@pytest.mark.parametrize(
    ("wanted", "cores", "count"),
    [("auto", 1, 0), ("auto", 2, 1), ("auto", 4, 3), ("auto", 64, 4), (0, 8, 0), (7, 1, 7)],
)
def test_there_are_as_many_workers_as_spare_cores_unless_somebody_says_a_number(
    wanted: Any, cores: int, count: int
) -> None:
    assert workers_of(Settings(dispatcher=Dispatcher(workers=wanted)), cores) == count


def test_features_of_other_packages_are_asked_to_run_in_workers_only_by_somebody_who_says_so() -> None:
    assert workers_of(Settings(features={"pigeons": {}}), 8) == 0
    assert workers_of(Settings(features={"pigeons": {}}, dispatcher=Dispatcher(workers=2)), 8) == 2


def test_there_are_no_more_workers_than_attempts_at_a_time() -> None:
    few = Settings(dispatcher=Dispatcher(concurrency=DispatcherConcurrency(max_concurrent_jobs=2)))
    assert workers_of(few, 8) == 2


def test_limits_of_the_node_are_shared_and_never_exceeded() -> None:
    settings = Settings(dispatcher=Dispatcher(concurrency=DispatcherConcurrency(max_concurrent_jobs=10)))
    assert [executor_of(settings, share=n).max_concurrent for n in (1, 3, 20)] == [10, 3, 1]
    assert http_of(settings, share=4).max_idle_conns == 256
