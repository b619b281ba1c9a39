"""How late does an execution leave? Real server, real disk, real sockets; judged by the target.

    python bench/lateness.py [--jobs N] [--seconds S]

Prints one JSON object: percentiles of (arrival - due instant) in milliseconds, and the CPU of both sides.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
import time
from datetime import datetime
from pathlib import Path

from tests.acceptance.node import Node
from tests.acceptance.recording_target import Arrival, RecordingTarget


def late_ms(arrival: Arrival) -> float:
    due = datetime.fromisoformat(arrival.headers["x-chronos-scheduled-time"])
    return (arrival.at - due.timestamp()) * 1000


def percentile(values: list[float], share: float) -> float:
    return round(values[min(len(values) - 1, int(len(values) * share))], 2)


async def measure(jobs: int, seconds: int) -> dict[str, object]:
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
        own, children = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        late = sorted(late_ms(a) for a in target.arrivals if a.at > begun)
        return {
            "bench": "lateness",
            "jobs": jobs,
            "executions": len(late),
            "late_ms": {name: percentile(late, p) for name, p in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))},
            "early": sum(ms < 0 for ms in late),
            "durable": "every execution's claim and outcome is fsynced (synchronous=FULL)",
            "cpu_s": {
                "server": round(children.ru_utime + children.ru_stime, 2),
                "target": round(own.ru_utime + own.ru_stime, 2),
            },
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=10)
    chosen = parser.parse_args()
    print(json.dumps(asyncio.run(measure(chosen.jobs, chosen.seconds))))


if __name__ == "__main__":
    main()
