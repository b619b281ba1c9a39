"""How late does an execution leave? Real server, real disk, real sockets; judged by the target.

    python bench/lateness.py [--json] [--jobs N] [--seconds S]

The figure is the 99th percentile of (arrival - due instant); every claim and outcome is fsynced meanwhile.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from bench.report import Report, cpu_s, parser, percentiles, tell
from tests.acceptance.node import Node
from tests.acceptance.recording_target import Arrival, RecordingTarget

BUDGET_MS = 100.0


def late_ms(arrival: Arrival) -> float:
    due = datetime.fromisoformat(arrival.headers["x-chronos-scheduled-time"])
    return (arrival.at - due.timestamp()) * 1000


async def measure(jobs: int, seconds: int) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        async with RecordingTarget() as target:
            node = Node(Path(folder) / "data")
            await node.start()
            for number in range(jobs):
                body = {
                    "name": f"job-{number}",
                    "schedule": "* * * * * *",
                    "concurrency": "allow",
                    "webhook": {"url": target.url},
                }
                answer = await node.call("POST", "/api/v1/jobs", body)
                answer.raise_for_status()
            begun = time.time() + 1
            await asyncio.sleep(seconds + 1)
            await node.stop()
        late = [late_ms(arrival) for arrival in target.arrivals if arrival.at > begun]
        spread = percentiles(late, 2)
        return Report(
            bench="lateness",
            figure=spread["p99"],
            unit="ms",
            percentiles=spread,
            cpu_s={
                "server": round(cpu_s(resource.RUSAGE_CHILDREN), 2),
                "target": round(cpu_s(), 2),
            },
            settings={"jobs": jobs, "seconds": seconds, "period_s": 1},
            details={"executions": len(late), "early": sum(ms < 0 for ms in late), "synchronous": "FULL"},
            budget=BUDGET_MS,
        )


def main() -> int:
    line = parser(__doc__)
    line.add_argument("--jobs", type=int, default=20)
    line.add_argument("--seconds", type=int, default=10)
    chosen = line.parse_args()
    return tell(asyncio.run(measure(chosen.jobs, chosen.seconds)), chosen)


if __name__ == "__main__":
    sys.exit(main())
