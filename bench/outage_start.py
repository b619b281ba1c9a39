"""How long does a start take after 36 hours without power, with jobs that were due every second of them?

    python -m bench.outage_start [--json] [--jobs N] [--hours H] [--runs R]

The figure is the longest time from starting the process to its taking requests, in seconds. What was missed is
written down behind it; `caught_up_s` says when that was done.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path

from bench.report import Report, cpu_s, parser, tell
from structlog.testing import capture_logs
from tests.acceptance.node import Node
from tests.integration.server.living import SteppedClock, a_node

from chronos.server.assemble import Outside

BUDGET_S = 2.0
PATIENCE_S = 120.0
POLICIES = ("execute_one", "execute_all", "ignore")


async def leave(folder: Path, jobs: int, hours: float) -> None:
    """Leave a data folder behind as a server does that ended so many hours ago."""
    clock = SteppedClock(-hours * 3_600)
    with capture_logs():
        await _live(folder, jobs, clock)


async def _live(folder: Path, jobs: int, clock: SteppedClock) -> None:
    async with a_node(folder, Outside(clock=clock)) as living:
        for number in range(jobs):
            body = {
                "name": f"job-{number}",
                "schedule": "* * * * * *" if number < len(POLICIES) else "* * * * *",
                "missed_run_policy": POLICIES[number % len(POLICIES)],
                "max_catchup": 5,
                "webhook": {"url": "http://127.0.0.1:9/"},
                "retry_policy": {"max_attempts": 1},
            }
            (await living.call("POST", "/api/v1/jobs", body)).raise_for_status()
        await asyncio.sleep(1.5)


async def start(folder: Path) -> tuple[float, float]:
    """Start a server there; return the seconds until it took requests, and until the outage was written down."""
    begun = time.perf_counter()
    node = Node(folder)
    await node.start()
    ready_s = time.perf_counter() - begun
    async with asyncio.timeout(PATIENCE_S):
        while (await node.call("GET", "/api/v1/cluster/status")).json()["scheduler"]["catching_up"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    caught_up_s = time.perf_counter() - begun
    await node.stop()
    return ready_s, caught_up_s


async def measure(jobs: int, hours: float, runs: int) -> Report:
    ready, caught_up = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "data"
            await leave(folder, jobs, hours)
            ready_s, caught_up_s = await start(folder)
            ready.append(ready_s)
            caught_up.append(caught_up_s)
    return Report(
        bench="outage_start",
        figure=round(max(ready), 2),
        unit="s",
        percentiles={"p50": round(sorted(ready)[len(ready) // 2], 2), "max": round(max(ready), 2)},
        cpu_s={"server": round(cpu_s(resource.RUSAGE_CHILDREN), 2)},
        settings={"jobs": jobs, "hours": hours, "runs": runs},
        details={"caught_up_s": round(max(caught_up), 2)},
        budget=BUDGET_S,
    )


def main() -> int:
    line = parser(__doc__)
    line.add_argument("--jobs", type=int, default=1_000)
    line.add_argument("--hours", type=float, default=36.0)
    line.add_argument("--runs", type=int, default=5)
    chosen = line.parse_args()
    return tell(asyncio.run(measure(chosen.jobs, chosen.hours, chosen.runs)), chosen)


if __name__ == "__main__":
    sys.exit(main())
