"""Run every benchmark with short settings, and print a table.

    python -m bench [--json] [--only NAME] [--long] [--alive]

Short settings show an order of magnitude and catch what became ten times slower; figures to quote come from
`--long`, or from one script with settings of its own: `python bench/lateness.py --jobs 1000 --seconds 60`.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from bench.report import parser

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 600.0
SHORT: dict[str, list[str]] = {
    "api": ["--requests", "50", "--executions", "50", "--seconds", "3"],
    "burst": ["--jobs", "200"],
    "cli_start": ["--runs", "5"],
    "cluster_failover": ["--kills", "1", "--rate", "20", "--restart-after", "1", "--every", "1"],
    "cluster_rolling": ["--rounds", "1", "--rate", "20"],
    "cluster_throughput": ["--rate", "100", "--seconds", "3"],
    "cron_next": ["--triples", "20000", "--peer-triples", "500"],
    "http_client": ["--requests", "600", "--in-flight", "16"],
    "kill_under_load": ["--rate", "100", "--kill-after", "2", "--seconds", "4"],
    "lateness": ["--jobs", "10", "--seconds", "4"],
    "log_append": ["--entries", "100"],
    "million": ["--jobs", "3000", "--pairs", "300"],
    "outage_start": ["--jobs", "30", "--runs", "1"],
    "rpr": ["--every", "20", "--seconds", "1", "--starts", "3"],
    "rpr_pace": ["--every", "20", "--seconds", "1", "--fastest", "2", "--runs", "200"],
    "state_flush": ["--executions", "10000"],
    "throughput": ["--rate", "100", "--seconds", "4"],
    "workers": ["--executions", "3000", "--in-flight", "500"],
}
HEADERS = ("BENCHMARK", "FIGURE", "BUDGET", "P50", "P99", "MAX", "CPU S")


def main(arguments: Sequence[str]) -> int:
    """Run them, in two lanes where nobody asks how fast they are; return 1 when one failed or passed its budget."""
    line = parser(__doc__)
    line.add_argument("--only", choices=sorted(SHORT), action="append", help="repeatable")
    line.add_argument("--long", action="store_true", help="with each script's own settings; minutes")
    line.add_argument("--alive", action="store_true", help="fail only where a script does not work, however slow it is")
    chosen = line.parse_args(arguments)
    names = chosen.only or [*SHORT]
    ran = functools.partial(measured_all, is_long=chosen.long, is_json=chosen.json)
    with ThreadPoolExecutor(2) as lanes:
        found = [one for lane in lanes.map(ran, lanes_of(names) if chosen.alive else [names]) for one in lane]
    is_good = all(report["figure"] is not None if chosen.alive else code == 0 for report, code in found)
    rows = sorted(row_of(report) for report, _ in found)
    if not chosen.json:
        print(table([HEADERS, *rows]))
    return 0 if is_good else 1


def lanes_of(names: Sequence[str]) -> list[list[str]]:
    """Return those of clusters, which look for ports and wait for elections, and the others."""
    return [[name for name in names if name.startswith("cluster_") is of_clusters] for of_clusters in (True, False)]


def measured_all(names: Sequence[str], *, is_long: bool, is_json: bool) -> list[tuple[dict[str, Any], int]]:
    """Return what each reports, and its exit code; JSON is printed as it comes."""
    found = []
    for name in names:
        found.append(measured(name, [] if is_long else SHORT[name]))
        if is_json:
            print(msgspec.json.encode(found[-1][0]).decode(), flush=True)
    return found


def measured(name: str, settings: Sequence[str]) -> tuple[dict[str, Any], int]:
    """Return what a benchmark reports and its exit code; one that does not report says why on stderr."""
    command = [sys.executable, "-m", f"bench.{name}", "--json", *settings]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=False)
    last = done.stdout.strip().rpartition("\n")[2]
    try:
        return msgspec.json.decode(last, type=dict), done.returncode
    except msgspec.DecodeError:
        return {"bench": name, "figure": None}, done.returncode or 1


def row_of(report: dict[str, Any]) -> tuple[str, ...]:
    """Return a report as a row of the table."""
    if report["figure"] is None:
        return (report["bench"], "failed", *[""] * (len(HEADERS) - 2))
    spread = report.get("percentiles", {})
    budget = report.get("budget")
    return (
        report["bench"],
        f"{report['figure']:g} {report['unit']}",
        "" if budget is None else f"{budget:g}",
        *(f"{spread[name]:g}" if name in spread else "" for name in ("p50", "p99", "max")),
        " + ".join(f"{used:.2f} {who}" for who, used in report.get("cpu_s", {}).items()),
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
