"""How fast does the API answer while executions run beside it?

    python bench/api.py [--requests N] [--executions N] [--seconds S] [--processes N] [--json]

Four of five requests read (a job, a list, an execution list), one writes (a patch of a job, durable when it is
answered). They are sent at a fixed rate, whether answers come or not, and timed from the moment they should have been
sent. The figure is the 99th percentile of reads.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from bench.asker import Asker
from bench.report import Report, lateness, parser, tell
from bench.rig import Rig, rig, spent
from bench.throughput import jobs_of

BUDGET_MS = 10.0
WARM_UP_S = 3
QUIET = 200
"""Jobs that are read and written, and not due meanwhile."""


class Caller:
    """Sends requests and keeps how long each kind took."""

    def __init__(self, client: Asker, chance: random.Random) -> None:
        self._client = client
        self._chance = chance
        self.took_ms: dict[str, list[float]] = defaultdict(list)
        self.failed = 0

    async def once(self, at: float) -> None:
        """Send one request that was meant for `at`, of the loop's clock."""
        name = f"quiet-{self._chance.randrange(QUIET)}"
        kind = "write" if self._chance.random() < 0.2 else "read"
        try:
            status = await (self._write(name) if kind == "write" else self._read(name))
            self.failed += status >= 300
        except (OSError, EOFError):
            self.failed += 1
        self.took_ms[kind].append((asyncio.get_running_loop().time() - at) * 1000)

    async def _read(self, name: str) -> int:
        ways = (f"/api/v1/jobs/{name}", "/api/v1/jobs?limit=20", "/api/v1/executions?limit=20")
        return await self._client.ask("GET", self._chance.choice(ways))

    async def _write(self, name: str) -> int:
        change = json.dumps({"description": f"at {time.time()}"}).encode()
        headers = "Content-Type: application/json\r\nIf-Match: *\r\n"
        return await self._client.ask("PATCH", f"/api/v1/jobs/{name}", change, headers)


async def measure(chosen: argparse.Namespace) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "chronos.yaml"
        config.write_text(f"server: {{processes: {chosen.processes}}}\n")
        async with rig(Path(folder), "--config", str(config)) as world:
            await world.create(_quiet(world.sink.url))
            if chosen.executions:
                jobs = jobs_of("spread", chosen.executions, chosen.executions, world.sink.url, datetime.now(UTC))
                await world.create(jobs)
            await asyncio.sleep(WARM_UP_S)
            used, count, begun = world.used(), await world.recorded(), time.monotonic()
            caller = await _load(world, chosen.requests, chosen.seconds)
            rate = (await world.recorded() - count) / (time.monotonic() - begun)
            cpu = spent(used, world.used())
    read = lateness(caller.took_ms["read"])
    return Report(
        bench="api",
        figure=read.get("p99", float("inf")),
        unit="ms",
        percentiles=read,
        cpu_s=cpu,
        settings={name: value for name, value in vars(chosen).items() if name != "json"},
        details={
            "write_ms": lateness(caller.took_ms["write"]),
            "all_ms": lateness([took for kind in caller.took_ms.values() for took in kind]),
            "requests": sum(map(len, caller.took_ms.values())),
            "failed": caller.failed,
            "executions_per_second": round(rate, 1),
            "synchronous": "FULL",
        },
        budget=BUDGET_MS,
    )


def _quiet(url: str) -> list[dict[str, object]]:
    hook = {"url": url}
    return [{"name": f"quiet-{number}", "schedule": "0 0 1 1 *", "webhook": hook} for number in range(QUIET)]


async def _load(world: Rig, rate: int, seconds: int) -> Caller:
    """Send `rate` requests a second at their times; what is not answered is waited for in the end."""
    client = Asker(world.node.url)
    caller = Caller(client, random.Random(1))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.TaskGroup() as sent:
        for number in range(rate * seconds):
            at = begun + number / rate
            await asyncio.sleep(max(0.0, at - loop.time()))
            sent.create_task(caller.once(at))
    await client.close()
    return caller


def main() -> int:
    line = parser(__doc__)
    line.add_argument("--requests", type=int, default=500, help="a second")
    line.add_argument("--executions", type=int, default=1_000, help="a second, beside them")
    line.add_argument("--seconds", type=int, default=10)
    line.add_argument("--processes", type=int, default=0, help="API processes; 0 lets the main process answer")
    chosen = line.parse_args()
    return tell(asyncio.run(measure(chosen)), chosen)


if __name__ == "__main__":
    sys.exit(main())
