"""How many executions a second do three nodes hold: due, sent, answered, and recorded by a majority?

    python bench/cluster_throughput.py [--rate N] [--seconds S] [--json]

Three real servers with their engines and workers on this machine, and the sink: all of them share its cores. Jobs are
spread evenly over each second. The figure counts executions whose outcome came to lie in the log of a majority,
fsynced, while it was measured; they are counted in the nodes' histories afterwards, as asking meanwhile takes CPU from
what is measured. Lateness is judged by the sink.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.report import Report, lateness, parser, tell
from bench.rig import spent
from bench.throughput import Window, jobs_of
from bench.trio import SECOND_US, Fired, fired, records, sent_twice, trio

WARM_UP_S = 5
CREATED_A_SECOND = 200
"""Jobs are due for the first time when all of them are there: creating them under full load is measured by others."""
OPEN_S = 1.0
"""What was due in the last second may still be open when all three nodes are stopped at once."""


async def measure(chosen: argparse.Namespace) -> Report:
    with tempfile.TemporaryDirectory(prefix="chronos-bench-") as name:
        async with trio(Path(name), delay_ms=chosen.delay_ms) as world:
            start = datetime.now(UTC) + timedelta(seconds=WARM_UP_S + chosen.rate / CREATED_A_SECOND)
            jobs = jobs_of("spread", chosen.rate, chosen.rate, world.sink.url, start)
            await world.create(job | {"start_at": start.isoformat()} for job in jobs)
            await asyncio.sleep(max(0.0, start.timestamp() - time.time()) + WARM_UP_S)
            _, term = await world.cluster.leader()
            used, begun = world.used(), time.time()
            await asyncio.sleep(chosen.seconds)
            cpu_s, ended = spent(used, world.used()), time.time()
            _, last_term = await world.cluster.leader()
        seen = fired(await world.sink.witnessed(), SECOND_US)
        twice, kept = sent_twice(seen), records(world.cluster)
        everybody = set.union(*kept.ended.values())
        window = Window(begun, ended, kept.between(begun, ended), cpu_s)
        facts: dict[str, object] = {
            "terms": last_term - term + 1,
            "arrived_twice": len(twice),
            "recorded_twice": len(kept.twice),
            "unrecorded": sum(one.execution not in everybody for one in seen if one.due < ended - OPEN_S),
        }
    return told(chosen, window, [one for one in seen if begun <= one.at < ended], facts)


def told(chosen: argparse.Namespace, window: Window, seen: list[Fired], facts: dict[str, object]) -> Report:
    """Return the report."""
    rate = round(window.recorded / (window.ended - window.begun), 1)
    return Report(
        bench="cluster_throughput",
        figure=rate,
        unit="executions/s",
        better="higher",
        cpu_s=window.cpu_s,
        settings={name: value for name, value in vars(chosen).items() if name != "json"},
        details={
            "executions_per_second": rate,
            "lateness_ms": lateness([one.late_s * 1_000 for one in seen]),
            "cpu_us_per_execution": {
                name: round(used * 1e6 / max(1, window.recorded), 1) for name, used in window.cpu_s.items()
            },
            "recorded": window.recorded,
            "arrived": len(seen),
            "synchronous": "FULL, on a majority",
            **facts,
        },
    )


def main() -> int:
    line = parser(__doc__)
    line.add_argument("--rate", type=int, default=5_000, help="executions a second that come due")
    line.add_argument("--seconds", type=int, default=20)
    line.add_argument("--delay-ms", type=float, default=0.0, help="how long the target takes")
    chosen = line.parse_args()
    return tell(asyncio.run(measure(chosen)), chosen)


if __name__ == "__main__":
    sys.exit(main())
