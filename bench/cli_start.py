"""How long `chronosctl` takes to answer what needs no server: wall time of whole processes.

    python bench/cli_start.py [--json] [--runs N]

The figure is the median of `--help`; the exit code is 1 when it is above its budget.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time

from bench.report import Report, cpu_s, parser, percentiles, tell

BUDGET_MS = 120.0
PROGRAM = "from chronos.cli.chronosctl import main; main()"
LINES = {
    "python alone": None,
    "--help": ["--help"],
    "--version": ["--version"],
    "job create --help": ["job", "create", "--help"],
    "completion bash": ["completion", "bash"],
    "schedule next": ["schedule", "next", "0 2 * * *"],
    "job list (nobody there)": ["job", "list", "-s", "http://127.0.0.1:1", "--request-timeout", "1s"],
}


def measure(args: list[str] | None) -> float:
    """Return the milliseconds of one process."""
    command = [sys.executable, "-c", "pass"] if args is None else [sys.executable, "-c", PROGRAM, *args]
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return (time.perf_counter() - began) * 1000


def main() -> int:
    """Measure every line and return the exit code."""
    line = parser(__doc__)
    line.add_argument("--runs", type=int, default=15)
    chosen = line.parse_args()
    times = {}
    for name, args in LINES.items():
        measure(args)  # the first one reads the disk
        times[name] = [measure(args) for _ in range(chosen.runs)]
    medians = {name: round(statistics.median(found), 1) for name, found in times.items()}
    report = Report(
        bench="cli_start",
        figure=medians["--help"],
        unit="ms",
        percentiles=percentiles(times["--help"], 1),
        cpu_s={"commands": round(cpu_s(resource.RUSAGE_CHILDREN), 2)},
        settings={"runs": chosen.runs},
        details={"median_ms": medians},
        budget=BUDGET_MS,
    )
    if not chosen.json:
        print("\n".join(f"{name:<26} {median:7.1f} ms" for name, median in medians.items()))
    return tell(report, chosen)


if __name__ == "__main__":
    sys.exit(main())
