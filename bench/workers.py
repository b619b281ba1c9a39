"""What it costs to hand an execution to a worker process and to hear what became of it.

    python bench/workers.py [--json] [--executions N] [--batch N] [--in-flight N] [--workers N] [--hosts N]

A real pool with real processes, whose deliveries end at once: what is left is the frames, both ways. The figure is
CPU microseconds of the main process for each execution; `worker_us` is that of the other side, its executor included.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from bench.report import Report, parser, percentiles, tell

from chronos.dispatch.breaker import Breakers
from chronos.dispatch.executor import ExecutorSettings
from chronos.dispatch.port import Answer, Delivered, Delivery, Done, Outcome
from chronos.dispatch.workers.pool import PoolSettings, WorkerPool
from chronos.dispatch.workers.process import Exec
from chronos.dispatch.workers.serve import Tools, WorkerSide
from chronos.model.target import HttpTarget
from chronos.server.garbage import THRESHOLDS
from chronos.telemetry import Telemetry
from chronos.timing.clock import Clock, SystemClock

BUDGET_US = 5.0
ROUNDS = 3
ANSWER = Answer(200, 2, "2689367b205c16ce32ed4200942b8b8b1e262dfc70d9bc9fbc77c49699a4f1df", "ok")


async def answered(delivery: Delivery) -> Outcome:
    """A target that is never late."""
    return Delivered(ANSWER)


@asynccontextmanager
async def equip(handover: bytes, clock: Clock, telemetry: Telemetry, right: object) -> AsyncIterator[Tools]:
    yield Tools(answered, None, Breakers())


async def serve(descriptor: int) -> None:
    """Be the worker."""
    end = socket.socket(fileno=descriptor)
    end.setblocking(False)
    side = WorkerSide(equip, SystemClock(), pid=os.getpid(), on_lost=lambda: os._exit(0))
    gc.freeze()
    await asyncio.get_running_loop().create_unix_connection(lambda: side.channel, sock=end)
    await side.run()


class Load:
    """Keeps so many executions in flight, a batch a turn."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chosen = chosen
        self._targets = [HttpTarget(url=f"http://host-{n}.test/hook", body='{"n": 1}') for n in range(chosen.hosts)]
        self._numbers = iter(range(1 << 62))
        self.pool: WorkerPool | None = None
        self.left_to_give = self.left_to_end = 0
        self.over = asyncio.Event()

    def give(self) -> None:
        """Hand over a batch."""
        assert self.pool is not None
        size = min(self._chosen.batch, self.left_to_give)
        self.left_to_give -= size
        now_us = int(time.time() * 1e6)
        self.pool.submit([self._delivery(next(self._numbers), now_us) for _ in range(size)])

    def _delivery(self, number: int, now_us: int) -> Delivery:
        return Delivery(
            execution_id=f"occ_{number:032d}",
            job_id=f"01JABCDEFGHJKMNPQRST{number % 1_000_000:06d}",
            job_name="nightly report",
            namespace="default",
            attempt=1,
            token="1.7.4711",
            scheduled_s=now_us // 1_000_000,
            target=self._targets[number % len(self._targets)],
            timeout_us=30_000_000,
            not_before_us=now_us,
            due_us=now_us,
        )

    def ended(self, done: list[Done]) -> None:
        """Hear of a batch, and hand over as many."""
        self.left_to_end -= len(done)
        if self.left_to_end <= 0:
            self.over.set()
        while self.left_to_give > 0 and self.left_to_end - self.left_to_give < self._chosen.in_flight:
            self.give()

    async def run(self, executions: int) -> float:
        """Let so many come and go; return how long it took."""
        assert self.pool is not None
        self.left_to_give = self.left_to_end = executions
        self.over.clear()
        begun = time.perf_counter()
        self.ended([])
        await self.over.wait()
        return time.perf_counter() - begun


async def measured(chosen: argparse.Namespace) -> dict[str, Any]:
    load = Load(chosen)
    command = [sys.executable, "-m", "bench.workers", "--be"]
    limits = PoolSettings(workers=chosen.workers, executor=ExecutorSettings(max_concurrent=100_000))
    load.pool = WorkerPool(
        Exec(lambda _, descriptor: [*command, str(descriptor)]), lambda: b"", load.ended, SystemClock(), limits
    )
    rounds = []
    async with load.pool as pool:
        await pool.ready()
        await load.run(2 * chosen.in_flight)
        alone = time.process_time()
        for _ in range(chosen.executions):  # what making a delivery costs is the planner's
            load._delivery(next(load._numbers), 0)
        making_us = (time.process_time() - alone) / chosen.executions * 1e6
        for _ in range(ROUNDS):
            cpu = time.process_time()
            seconds = await load.run(chosen.executions)
            used = time.process_time() - cpu
            rounds.append((used / chosen.executions * 1e6 - making_us, chosen.executions / seconds))
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "main_us": round(min(us for us, _ in rounds), 2),
        "rounds_us": percentiles([us for us, _ in rounds]),
        "per_s": round(max(rate for _, rate in rounds)),
        "making_us": round(making_us, 2),
        "children_s": round(children.ru_utime + children.ru_stime, 2),
    }


def measure(chosen: argparse.Namespace) -> Report:
    gc.set_threshold(*THRESHOLDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measured(chosen))
    whole = ROUNDS * chosen.executions + 2 * chosen.in_flight
    return Report(
        bench="workers",
        figure=found["main_us"],
        unit="us CPU",
        cpu_s={"main": round(time.process_time(), 2), "workers": found["children_s"]},
        settings={name: getattr(chosen, name) for name in ("executions", "batch", "in_flight", "workers", "hosts")},
        details=found | {"worker_us": round(found["children_s"] / whole * 1e6, 2)},
        budget=BUDGET_US,
    )


def main() -> int:
    line = parser(__doc__)
    line.add_argument("--executions", type=int, default=100_000)
    line.add_argument("--batch", type=int, default=100)
    line.add_argument("--in-flight", type=int, default=2_000)
    line.add_argument("--workers", type=int, default=1)
    line.add_argument("--hosts", type=int, default=20)
    line.add_argument("--be", type=int, help=argparse.SUPPRESS)
    chosen = line.parse_args()
    if chosen.be is not None:
        gc.set_threshold(*THRESHOLDS)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(chosen.be))
        return 0
    return tell(measure(chosen), chosen)


if __name__ == "__main__":
    sys.exit(main())
