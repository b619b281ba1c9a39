"""Real worker processes: killed, stopped, orphaned, and asked to leave."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from tests.integration.dispatch.samples import EXECUTION, a_delivery, http
from tests.integration.dispatch.target_server import TargetServer
from tests.unit.dispatch.fakes import Reports

from chronos.dispatch.port import Delivered, Delivery, Lost, Outcome
from chronos.dispatch.workers import seat
from chronos.dispatch.workers.pool import PoolSettings, WorkerPool
from chronos.dispatch.workers.process import Exec
from chronos.errors import WorkersFailed
from chronos.server import manifest
from chronos.server.loops import loop_factory
from chronos.server.settings import Settings
from chronos.server.worker import command
from chronos.server.workplace import KEYS
from chronos.timing.clock import SystemClock

PATIENCE_S = 30.0


def handed(**changes: object) -> bytes:
    facts: dict[str, object] = {
        "settings": Settings(),
        "sections": {name: msgspec.to_builtins(kind()) for name, kind in manifest.sections().items()},
        "features": [],
        "keys": {name: bytes(32) for name in KEYS},
        "ports": [],
        "on_loopback": True,
        "is_insecure_allowed": False,
        "public_url": "",
        "listener_url": "http://127.0.0.1:1",
        "share": 1,
    }
    return msgspec.msgpack.encode(facts | changes)


@dataclass
class World:
    pool: WorkerPool
    server: TargetServer
    reports: Reports

    async def outcome(self, execution_id: str) -> Outcome:
        await until(lambda: execution_id in self.reports.outcomes)
        return self.reports.outcomes[execution_id]

    def one(self, path: str, execution_id: str = EXECUTION) -> list[Delivery]:
        return [a_delivery(http(self.server.url(path)).target, execution_id=execution_id)]

    @property
    def pid(self) -> int:
        return self.pool.workers()[0].pid


@asynccontextmanager
async def a_world(workers: int = 1) -> AsyncIterator[World]:
    reports = Reports()
    async with asyncio.timeout(2 * PATIENCE_S), TargetServer() as server:
        pool = WorkerPool(Exec(command), handed, reports, SystemClock(), PoolSettings(workers=workers))
        async with pool:
            await pool.ready()
            yield World(pool, server, reports)


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not what():  # noqa: ASYNC110  # it happens in other processes, which tell nobody
            await asyncio.sleep(0.02)


def on_the_servers_loop(main: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main())  # type: ignore[arg-type]  # coroutine functions all


def is_gone(pid: int) -> bool:
    """Whether there is no such process, not even a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_worker_delivers_and_leaves_no_trace_when_it_is_let_go() -> None:
    async def main() -> None:
        async with a_world() as world:
            pid = world.pid
            world.pool.submit(world.one("/ok"))
            assert isinstance(await world.outcome(EXECUTION), Delivered)
            assert world.server.got[0].headers["idempotency-key"] == EXECUTION
        assert is_gone(pid)

    on_the_servers_loop(main)


def test_a_worker_that_is_killed_is_replaced_and_reaped() -> None:
    async def main() -> None:
        async with a_world() as world:
            pid = world.pid
            world.pool.submit(world.one("/hang"))
            await world.server.stalled.wait()
            os.kill(pid, signal.SIGKILL)
            lost = await world.outcome(EXECUTION)
            assert lost == Lost("worker process 1 was ended by SIGKILL while this attempt was in flight")
            world.pool.submit(world.one("/ok", "occ_after"))
            assert isinstance(await world.outcome("occ_after"), Delivered)
            assert world.pid not in (0, pid)
            assert is_gone(pid)

    on_the_servers_loop(main)


def test_a_worker_that_is_stopped_is_killed_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seat, "HUNG_S", 2.0)

    async def main() -> None:
        async with a_world() as world:
            pid = world.pid
            world.pool.submit(world.one("/hang"))
            await world.server.stalled.wait()
            os.kill(pid, signal.SIGSTOP)
            lost = await world.outcome(EXECUTION)
            assert lost == Lost("worker process 1 said nothing for 2 s while this attempt was in flight")
            await until(lambda: is_gone(pid))
            await until(lambda: world.pool.workers()[0].is_up)

    on_the_servers_loop(main)


def test_a_worker_leaves_signals_that_all_get_to_the_main_process() -> None:
    async def main() -> None:
        async with a_world() as world:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(world.pid, number)
            world.pool.submit(world.one("/ok"))
            assert isinstance(await world.outcome(EXECUTION), Delivered)
            assert world.pool.workers()[0].restarts == 0

    on_the_servers_loop(main)


def test_several_workers_share_the_places() -> None:
    async def main() -> None:
        async with a_world(workers=2) as world:
            target, keys = http(world.server.url("/hang")).target, [f"occ_{n}" for n in range(12)]
            world.pool.submit([a_delivery(target, execution_id=key, namespace=f"of-{key[4:]}") for key in keys])
            await until(lambda: world.pool.running == len(keys))
            assert all(state.in_flight for state in world.pool.workers())
            await world.pool.cancel(keys)
            await until(lambda: world.pool.in_flight() == 0)

    on_the_servers_loop(main)


def test_a_program_that_is_no_worker_is_given_up_with_its_exit_code() -> None:
    async def main() -> None:
        def wrong(number: int, descriptor: int) -> list[str]:
            return [sys.executable, "-c", "raise SystemExit(3)"]

        pool = WorkerPool(Exec(wrong), handed, Reports(), SystemClock())
        async with pool:
            with pytest.raises(WorkersFailed, match="died 3 times in a row; the last one ended with exit code 3"):
                await pool.ready()

    on_the_servers_loop(main)


PARENT = """
import asyncio, sys
from tests.integration.dispatch.test_workers import a_world

async def main():
    async with a_world(workers=2) as world:
        print(*(state.pid for state in world.pool.workers()), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.asyncio
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGABRT])
async def test_workers_do_not_outlive_the_server(how: signal.Signals) -> None:
    root = Path(__file__).parents[3]
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, cwd=root, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert parent.stdout is not None
    pids: list[int] = []
    async with asyncio.timeout(PATIENCE_S):
        async for line in parent.stdout:
            words = line.decode().split()
            if all(map(str.isdigit, words)):
                pids = [int(word) for word in words]
                break
    assert len(pids) == 2
    parent.send_signal(how)
    await parent.wait()
    await until(lambda: all(map(is_gone, pids)))
