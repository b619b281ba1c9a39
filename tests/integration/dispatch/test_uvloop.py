"""The product runs on uvloop; its sockets and child processes are not asyncio's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.integration.dispatch.samples import a_delivery, http
from tests.integration.dispatch.target_server import FarSide, TargetServer
from tests.integration.dispatch.test_process import dispatcher, sh

from chronos.dispatch.egress import EgressGuard
from chronos.dispatch.http import HttpDispatcher
from chronos.dispatch.port import Delivered, NoAnswer
from chronos.dispatch.router import Router
from chronos.timing.clock import SystemClock

uvloop = pytest.importorskip("uvloop")


def on_uvloop(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


def test_a_request_that_is_given_up_is_dropped_on_uvloop_too() -> None:
    ends: list[str] = []

    async def main() -> None:
        http_dispatcher = HttpDispatcher(EgressGuard(), SystemClock())
        async with FarSide(ends) as far, Router({"http": http_dispatcher}, SystemClock()) as router:
            slow = a_delivery(http(far.url).target, timeout_us=200_000)
            assert isinstance(await router.deliver(slow), NoAnswer)
            await far.ended.wait()

    on_uvloop(main)
    assert ends == ["reset"]


def test_http_is_delivered_on_uvloop() -> None:
    async def main() -> None:
        http_dispatcher = HttpDispatcher(EgressGuard(), SystemClock())
        async with TargetServer() as server, Router({"http": http_dispatcher}, SystemClock()) as router:
            assert isinstance(await router.deliver(http(server.url())), Delivered)
            slow = a_delivery(http(server.url("/hang")).target, timeout_us=200_000)
            assert isinstance(await router.deliver(slow), NoAnswer)
            assert isinstance(await router.deliver(http(server.url(host="localhost"))), Delivered)

    on_uvloop(main)


def test_a_process_runs_on_uvloop(tmp_path: Path) -> None:
    async def main() -> None:
        async with dispatcher(tmp_path) as processes, Router({"process": processes}, SystemClock()) as router:
            outcome = await router.deliver(sh("echo hello"))
            assert isinstance(outcome, Delivered)
            assert outcome.answer.excerpt == "hello\n"
            hung = a_delivery(sh("sleep 300").target, timeout_us=300_000, cancel_grace_us=500_000)
            assert isinstance(await router.deliver(hung), NoAnswer)

    on_uvloop(main)
