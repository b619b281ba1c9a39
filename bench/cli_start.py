"""How long `chronosctl` takes to answer what needs no server: wall time of whole processes.

    python bench/cli_start.py [RUNS]

Prints the median and the slowest of each, and exits 1 when the median of the help is above its budget.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

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
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    medians = {}
    for name, args in LINES.items():
        measure(args)  # the first one reads the disk
        times = [measure(args) for _ in range(runs)]
        medians[name] = statistics.median(times)
        print(f"{name:<26} median {medians[name]:7.1f} ms   slowest {max(times):7.1f} ms")
    return int(medians["--help"] > BUDGET_MS)


if __name__ == "__main__":
    sys.exit(main())
