"""How many executions a second: due, sent, answered, and their outcome on the disk?

    python bench/throughput.py --rate N --seconds S [--shape spread|burst|every-second] [--jobs N] [--delay-ms N]

A real server with default settings (`synchronous=FULL`), and a sink in a process of its own. `spread` gives each of
N jobs its own moment of each second (jitter), `every-second` has all of them due on the second, `burst` has one-shot
jobs that are due in one second. The figure counts executions that are *recorded*, per second of the window; lateness
is judged by the sink.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench.report import Report, lateness, parser, tell
from bench.rig import Rig, rig, spent
from bench.sink import Arrival

from chronos.timing.jitter import jitter_us

WARM_UP_S = 3
LOOK_S = 0.5
BURST_LEAD_S = 5
CREATED_A_SECOND = 1_000
SECOND_US = 1_000_000


class Window(NamedTuple):
    """What was measured.

    Attributes:
        recorded: Executions that were recorded in it.
        cpu_s: CPU by process.
    """

    begun: float
    ended: float
    recorded: int
    cpu_s: dict[str, float]


def jobs_of(shape: str, jobs: int, rate: int, url: str, at: datetime) -> Iterator[dict[str, Any]]:
    """Yield the jobs whose instants together come to `rate` a second."""
    period = period_s(jobs, rate)
    schedule = f"@at {at.isoformat()}" if shape == "burst" else ("* * * * * *" if period == 1 else f"@every {period}s")
    for number in range(jobs):
        job = {"name": f"job-{number}", "schedule": schedule, "concurrency": "allow", "webhook": {"url": url}}
        if shape == "spread":
            job["jitter"] = f"{period}s"
        yield job


def period_s(jobs: int, rate: int) -> int:
    """Return how often each job runs, in seconds."""
    return max(1, round(jobs / rate))


def lateness_ms(arrivals: list[Arrival], spread_us: int) -> list[float]:
    """Return how late each arrival was, against the instant with the job's own jitter."""
    return [(at - due) * 1000 - jitter_us(job, int(due), spread_us) / 1000 for at, _, job, due in arrivals]


async def measure(chosen: argparse.Namespace) -> Report:
    jobs = chosen.jobs or chosen.rate
    with tempfile.TemporaryDirectory() as folder:
        async with rig(Path(folder), delay_ms=chosen.delay_ms) as world:
            window = await (_burst if chosen.shape == "burst" else _steady)(world, jobs, chosen)
            await world.node.stop()
            arrivals = await world.sink.stop()
    spread_us = period_s(jobs, chosen.rate) * SECOND_US if chosen.shape == "spread" else 0
    return told(chosen, jobs, window, [one for one in arrivals if window.begun <= one[0] < window.ended], spread_us)


def told(chosen: argparse.Namespace, jobs: int, window: Window, seen: list[Arrival], spread_us: int) -> Report:
    """Return the report."""
    rate = round(window.recorded / (window.ended - window.begun), 1)
    return Report(
        bench="throughput",
        figure=rate,
        unit="executions/s",
        better="higher",
        cpu_s=window.cpu_s,
        settings={name: value for name, value in vars(chosen).items() if name != "json"} | {"jobs": jobs},
        details={
            "executions_per_second": rate,
            "lateness_ms": lateness(lateness_ms(seen, spread_us)),
            "cpu_us_per_execution": {
                name: round(used * 1e6 / max(1, window.recorded), 1) for name, used in window.cpu_s.items()
            },
            "recorded": window.recorded,
            "arrived": len(seen),
            "arrived_twice": len(seen) - len({arrival[1] for arrival in seen}),
            "synchronous": "FULL",
        },
    )


async def _steady(world: Rig, jobs: int, chosen: argparse.Namespace) -> Window:
    await world.create(jobs_of(chosen.shape, jobs, chosen.rate, world.sink.url, datetime.now(UTC)))
    await asyncio.sleep(WARM_UP_S)
    used, count, begun = world.used(), await world.recorded(), time.time()
    await asyncio.sleep(chosen.seconds)
    count, ended = await world.recorded() - count, time.time()
    return Window(begun, ended, count, spent(used, world.used()))


async def _burst(world: Rig, jobs: int, chosen: argparse.Namespace) -> Window:
    """All are due in one second; the window ends when all are recorded, or after `--seconds`."""
    at = datetime.fromtimestamp(int(time.time()) + BURST_LEAD_S + jobs // CREATED_A_SECOND, UTC)
    await world.create(jobs_of("burst", jobs, chosen.rate, world.sink.url, at))
    begun = at.timestamp() - LOOK_S
    if time.time() > begun - 1:
        raise RuntimeError("creating the jobs took too long; there was no time left before they were due")
    await asyncio.sleep(begun - time.time())
    used, count = world.used(), 0
    for _ in range(int(chosen.seconds / LOOK_S)):
        await asyncio.sleep(LOOK_S)
        count = await world.recorded()
        if count >= jobs:
            break
    return Window(begun, time.time(), count, spent(used, world.used()))


def main() -> int:
    line = parser(__doc__)
    line.add_argument("--rate", type=int, default=500, help="executions a second that come due")
    line.add_argument("--seconds", type=int, default=10)
    line.add_argument("--shape", choices=("spread", "burst", "every-second"), default="spread")
    line.add_argument("--jobs", type=int, default=0, help="how many jobs make the rate; default: one for each a second")
    line.add_argument("--delay-ms", type=float, default=0.0, help="how long the target takes")
    chosen = line.parse_args()
    return tell(asyncio.run(measure(chosen)), chosen)


if __name__ == "__main__":
    sys.exit(main())
