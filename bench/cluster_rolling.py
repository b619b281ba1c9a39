"""What does a rolling restart cost? Three nodes, one after the other: SIGTERM, and started again when it has ended.

    python bench/cluster_rolling.py [--rounds N] [--rate N] [--json]

Real servers with their engines on this machine, under load. A node that stops hands over the lead and what it has not
begun; so nothing may be lost, nothing sent twice, and nothing be more than three seconds late. The target is the judge.
The figure is the worst lateness.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from bench.loopback import LoopbackNode
from bench.report import Report, lateness, parser, tell
from bench.rig import spent
from bench.throughput import jobs_of
from bench.trio import SECOND_US, Fired, Records, Trio, fired, first_arrivals, missing, records, sent_twice, trio

WARM_UP_S = 4.0
SETTLE_S = 3.0
GATE_S = 3.0


class Restart(NamedTuple):
    """One of them: who, whether it led, when it was asked to stop, and how many seconds each half took."""

    node: str
    led: bool
    at: float
    stop_s: float
    start_s: float
    code: int


async def measure(chosen: argparse.Namespace) -> Report:
    with tempfile.TemporaryDirectory(prefix="chronos-bench-") as name:
        async with trio(Path(name)) as world:
            await world.create(jobs_of("spread", chosen.rate, chosen.rate, world.sink.url, datetime.now(UTC)))
            await asyncio.sleep(WARM_UP_S)
            used, began = world.used(), time.time()
            done = [await _one(world, node) for _ in range(chosen.rounds) for node in world.cluster.nodes]
            ended, cpu_s = time.time(), spent(used, world.used())
            await asyncio.sleep(SETTLE_S)
        seen = fired(await world.sink.witnessed(), SECOND_US)
        return told(chosen, done, seen, records(world.cluster), began, ended, cpu_s)


async def _one(world: Trio, node: LoopbackNode) -> Restart:
    """Stop a node, start it again, and wait until all are there."""
    leader, _ = await world.cluster.leader()
    at = time.time()
    code = await node.stop()
    stopped = time.time()
    await node.start()
    await world.cluster.whole()
    return Restart(node.name, node is leader, at, round(stopped - at, 2), round(time.time() - stopped, 2), code)


def told(
    chosen: argparse.Namespace,
    done: Sequence[Restart],
    seen: Sequence[Fired],
    kept: Records,
    began: float,
    ended: float,
    cpu_s: dict[str, float],
) -> Report:
    """Return the report."""
    first = [one for one in first_arrivals(seen).values() if one.due < ended]
    during = [one for one in first if one.due >= began]
    everybody = set.union(*kept.ended.values())
    return Report(
        bench="cluster_rolling",
        figure=round(max((one.late_s for one in during), default=float("inf")), 3),
        unit="s",
        cpu_s=cpu_s,
        settings={name: value for name, value in vars(chosen).items() if name != "json"},
        details={
            "restarts": [f"{one.node}{' (led)' if one.led else ''}: {one.stop_s} + {one.start_s} s" for one in done],
            "exit_codes": sorted({one.code for one in done}),
            "lateness_ms": lateness([one.late_s * 1_000 for one in during]),
            "arrived": len(during),
            "lost": missing(seen, ended - 1),
            "unrecorded": sum(one.execution not in everybody for one in first),
            "recorded_twice": len(kept.twice),
            "sent_twice": len(sent_twice(seen)),
        },
        budget=GATE_S,
    )


def main() -> int:
    line = parser(__doc__)
    line.add_argument("--rounds", type=int, default=2, help="how often each of the three is restarted")
    line.add_argument("--rate", type=int, default=200, help="executions a second that come due")
    chosen = line.parse_args()
    return tell(asyncio.run(measure(chosen)), chosen)


if __name__ == "__main__":
    sys.exit(main())
