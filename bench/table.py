"""Write the tables of docs/reference/performance.md from what benchmarks have told.

    python -m bench --json --long > results.json
    python -m bench.peers --json >> results.json
    python bench/table.py results.json [--page docs/reference/performance.md]

The file holds one JSON object a line, of `bench`, of single scripts and of `bench.peers`, in any order; of rows about
the same thing with the same settings the last one counts. With `--page`, what stands between its marks is replaced.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

Row = dict[str, Any]
OTHERS = {"sink", "target", "bench"}
"""Whose CPU is not the scheduler's."""

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def main() -> int:
    """Print the tables, or write them into the page."""
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("results", type=Path)
    line.add_argument("--page", type=Path, help="replace what stands between the marks of this page")
    chosen = line.parse_args()
    made = tables(rows_of(chosen.results.read_text(encoding="utf-8")), time.strftime("%Y-%m-%d", time.gmtime()))
    if chosen.page is None:
        print(made)
        return 0
    page = chosen.page.read_text(encoding="utf-8")
    if BEGIN not in page or END not in page:
        print(f"{chosen.page} has no {BEGIN} and {END}; put them where the tables belong.", file=sys.stderr)
        return 2
    head, tail = page.partition(BEGIN)[0], page.partition(END)[2]
    chosen.page.write_text(f"{head}{BEGIN}\n{made}\n{END}{tail}", encoding="utf-8")
    return 0


def rows_of(text: str) -> list[Row]:
    """Return the objects of a file, one a line; lines that are none, such as a note of the shell, are passed over."""
    return [msgspec.json.decode(line, type=dict[str, Any]) for line in text.splitlines() if line.startswith("{")]


def tables(rows: Iterable[Row], date: str) -> str:
    """Return both tables, with the day and the machine they are of."""
    rows = list(rows)
    own = _last([row for row in rows if "bench" in row], ("bench", "settings"))
    peers = _last([row for row in rows if "peer" in row], ("peer", "shape", "jobs", "seconds"))
    machine: Row = next((row["machine"] for row in rows if "machine" in row), {})
    versions: Row = next((row["versions"] for row in rows if "versions" in row), {})
    about = ", ".join(f"{name} {value}" for name, value in {**versions, **machine}.items())
    headers: tuple[str, ...]
    told = [f"Measured on {date}: {about or 'nothing'}."]
    if own:
        headers = ("benchmark", "settings", "figure", "p50", "p99", "max", "CPU µs each")
        told += ["", _markdown(headers, map(_own_row, own))]
    if peers:
        headers = (
            "scheduler",
            "work",
            "arrived",
            "a second",
            "p50 ms",
            "p99 ms",
            "max ms",
            "CPU µs each",
            "survives kill -9",
        )
        told += ["", _markdown(headers, map(_peer_row, peers))]
    return "\n".join(told)


def _own_row(row: Row) -> tuple[str, ...]:
    if row.get("figure") is None:
        return (f"`{row['bench']}`", "", "failed", "", "", "", "")
    details = row.get("details") or {}
    spread = details.get("lateness_ms") or row.get("percentiles") or {}
    each = details.get("cpu_us_per_execution") or {}
    settings = ", ".join(
        f"{name} {value}" for name, value in (row.get("settings") or {}).items() if value not in (0, None)
    )
    figure = f"{row['figure']:,g} {row['unit']}" if row["figure"] < 1e5 else f"{row['figure']:,.0f} {row['unit']}"
    shares = (f"{spread[name]:g}" if name in spread else "" for name in ("p50", "p99", "max"))
    used = [cost for name, cost in each.items() if name not in OTHERS] if isinstance(each, dict) else []
    total = f"{sum(used):.0f}" if used else ""
    return (f"`{row['bench']}`", settings, figure, *shares, total)


def _peer_row(row: Row) -> tuple[str, ...]:
    work = f"{row['shape']}, {row['jobs']} jobs, {row['seconds']} s"
    if "not_run" in row:
        return (row["peer"], work, f"not run: {row['not_run']}", "", "", "", "", "", "")
    late = row["lateness_ms"]
    twice = f", {row['arrived_twice']} twice" if row["arrived_twice"] else ""
    return (
        row["peer"],
        work,
        f"{row['arrived']:,} of {row['expected']:,}{twice}",
        f"{row['a_second']:,g}",
        *(f"{late[name]:g}" if name in late else "" for name in ("p50", "p99", "max")),
        f"{row['cpu_us_per_execution']:,}",
        row["survives"],
    )


def _last(rows: Iterable[Row], keys: Sequence[str]) -> list[Row]:
    """Return the last of the rows that are about the same thing, in the order in which these came first."""
    found = {repr([row.get(key) for key in keys]): row for row in rows}
    return list(found.values())


def _markdown(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(headers) + " |", "|" + "---|" * len(headers)]
    return "\n".join(lines + ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main())
