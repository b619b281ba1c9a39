"""How well `rpr` keeps an interval, beside a shell loop and `watch`, and how long it takes to start.

    python bench/rpr.py [--json] [--every MS] [--seconds S] [--starts N]

The figure is the drift: by how many milliseconds later than its tick a run starts after a thousand runs, with what it
was late by in the beginning taken off. The loop sleeps between its runs, as people write it; `watch` has its own `-p`.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.report import Report, cpu_s, parser, percentiles, tell

BUDGET_MS = 1.0
PROGRAM = [sys.executable, "-c", "from chronos.cli.rpr import main; main()"]
STAMP = ("date", "+%s%N")


def main() -> int:
    """Measure all of them and return the exit code."""
    line = parser(__doc__)
    line.add_argument("--every", type=int, default=5, help="milliseconds")
    line.add_argument("--seconds", type=float, default=10.0)
    line.add_argument("--starts", type=int, default=10)
    chosen = line.parse_args()
    began = cpu_s(resource.RUSAGE_CHILDREN)
    starts_ms = by_rpr(chosen.every, chosen.seconds)
    used_s = cpu_s(resource.RUSAGE_CHILDREN) - began
    late = lateness_ms(starts_ms, chosen.every)
    wanted = round(chosen.seconds * 1000 / chosen.every)
    details = {
        "runs": len(starts_ms),
        "runs_wanted": wanted,
        "cpu_ms_per_run": round(used_s * 1000 / max(1, len(starts_ms)), 3),
        "start_ms": round(statistics.median(start_ms() for _ in range(chosen.starts)), 1),
        "shell_loop": told(by_loop(chosen.every, chosen.seconds), chosen.every),
        "watch": told(by_watch(chosen.seconds), 100),
    }
    report = Report(
        bench="rpr",
        figure=round(drift_ms(late), 3),
        unit="ms/1000 runs",
        percentiles=percentiles(late, 3),
        cpu_s={"rpr and its commands": round(used_s, 2)},
        settings={"every_ms": chosen.every, "seconds": chosen.seconds},
        details=details,
        budget=BUDGET_MS,
    )
    if not chosen.json:
        print("\n".join(f"{name:<16} {value}" for name, value in details.items()))
    return tell(report, chosen)


def by_rpr(every_ms: int, seconds: float) -> list[float]:
    """Return when `rpr` started its runs, in milliseconds."""
    line = [*PROGRAM, "interval", "--every", f"{every_ms}ms", "--for", f"{seconds:g}s", "--json", "--", "true"]
    done = subprocess.run(line, stdout=subprocess.PIPE, check=True)
    return [json.loads(each)["started_at"] * 1000 for each in done.stdout.splitlines()]


def by_loop(every_ms: int, seconds: float) -> list[float]:
    """Return when a shell loop started its runs."""
    script = f'end=$(($(date +%s%N) + {seconds * 1e9:.0f})); while n=$(date +%s%N); [ "$n" -lt "$end" ]; '
    done = subprocess.run(
        ["sh", "-c", f'{script} do echo "$n"; sleep {every_ms / 1000}; done'], stdout=subprocess.PIPE, check=True
    )
    return [int(each) / 1e6 for each in done.stdout.split()]


def by_watch(seconds: float) -> list[float]:
    """Return when `watch` started its runs ten times a second, which is as often as it can; none where it is not."""
    watch, timeout = shutil.which("watch"), shutil.which("timeout")
    if watch is None or timeout is None:
        return []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # the last command may outlive `watch`
        stamps = Path(folder, "stamps")
        command = [timeout, f"{seconds:g}", watch, "-p", "-n", "0.1", f"{' '.join(STAMP)} >> {stamps}"]
        environment = {**os.environ, "TERM": "xterm", "LINES": "24", "COLUMNS": "80"}
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, check=False)
        return [int(each) / 1e6 for each in stamps.read_text().split()] if stamps.exists() else []


def start_ms() -> float:
    """Return the milliseconds from the start of `rpr` to its end with one run of `true`."""
    began = time.perf_counter()
    subprocess.run([*PROGRAM, "count", "--times", "1", "--quiet", "--", "true"], check=True)
    return (time.perf_counter() - began) * 1000


def lateness_ms(starts_ms: Sequence[float], every_ms: int) -> list[float]:
    """Return by how much each start is later than the tick before it, ticks counted from the first start."""
    return [(start - starts_ms[0]) % every_ms for start in starts_ms]


def drift_ms(late_ms: Sequence[float]) -> float:
    """Return how much later runs are in the last tenth than in the first, by a thousand runs."""
    tenth = max(1, len(late_ms) // 10)
    grown = statistics.median(late_ms[-tenth:]) - statistics.median(late_ms[:tenth])
    return abs(grown) * 1000 / len(late_ms)


def told(starts_ms: Sequence[float], every_ms: int) -> dict[str, float]:
    """Return how many runs there were, and how long an interval was in the mean."""
    if len(starts_ms) < 2:
        return {}
    mean = (starts_ms[-1] - starts_ms[0]) / (len(starts_ms) - 1)
    return {"runs": len(starts_ms), "wanted_ms": every_ms, "interval_ms": round(mean, 3)}


if __name__ == "__main__":
    sys.exit(main())
