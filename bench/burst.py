"""Everything is due at once: how late is the last?

    python bench/burst.py [--jobs N] [--delay-ms N] [--json]

N one-shot jobs are due in the same second. The figure is the 99th percentile of lateness, judged by the sink; what was
lost, and what came twice, is told as well.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import replace

from bench.report import Report, parser, tell
from bench.throughput import measure

BUDGET_MS = 300.0
PATIENCE_S = 120


async def burst(jobs: int, delay_ms: float) -> Report:
    """Return the report of `bench.throughput`'s burst, from the side of those who wait."""
    chosen = argparse.Namespace(rate=jobs, jobs=jobs, seconds=PATIENCE_S, shape="burst", delay_ms=delay_ms)
    report = await measure(chosen)
    late = report.details["lateness_ms"]
    assert isinstance(late, dict)
    lost = jobs - int(str(report.details["recorded"]))
    return replace(
        report,
        bench="burst",
        figure=late.get("p99", float("inf")),
        unit="ms",
        better="lower",
        percentiles=late,
        settings={"jobs": jobs, "delay_ms": delay_ms},
        details={**report.details, "lost": lost},
        budget=BUDGET_MS,
    )


def main() -> int:
    line = parser(__doc__)
    line.add_argument("--jobs", type=int, default=10_000)
    line.add_argument("--delay-ms", type=float, default=0.0, help="how long the target takes")
    chosen = line.parse_args()
    return tell(asyncio.run(burst(chosen.jobs, chosen.delay_ms)), chosen)


if __name__ == "__main__":
    sys.exit(main())
