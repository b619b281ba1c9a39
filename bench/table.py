"""Write the tables of docs/reference/performance.md from what benchmarks have told.

    python -m bench --json --long > results.json
    python -m bench.peers --json >> results.json
    python bench/table.py results.json [--page docs/reference/performance.md]

The file holds one JSON object a line, of `bench`, of single scripts and of `bench.peers`, in any order; of rows about
the same thing with the same settings the last one counts. With `--page`, what stands between the marks of a part is
replaced; a part that the results say nothing of stays as it is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

Row = dict[str, Any]
OTHERS = {"sink", "target", "bench"}
"""Whose CPU is not the scheduler's."""

OWN_HEADERS = ("benchmark", "settings", "figure", "p50", "p99", "max", "CPU µs each", "loop ms; stolen")
WORK_HEADERS = (
    "scheduler",
    "arrived",
    "a second",
    "p50 ms",
    "p99 ms",
    "max ms",
    "CPU µs each",
    "CPU s by process",
    "others",
)
PEER_HEADERS = ("scheduler", "versions", "set up as", "survives kill -9")


def main() -> int:
    """Print the tables, or write them into the page; return 2, the page unchanged, when it lacks the marks."""
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("results", type=Path)
    line.add_argument("--page", type=Path, help="replace what stands between the marks of this page")
    chosen = line.parse_args()
    made = parts(rows_of(chosen.results.read_text(encoding="utf-8")), time.strftime("%Y-%m-%d", time.gmtime()))
    if chosen.page is None:
        print("\n\n".join(made.values()))
        return 0
    page = chosen.page.read_text(encoding="utf-8")
    for name, text in made.items():
        begin, end = marks(name)
        if begin not in page or end not in page:
            print(f"{chosen.page} has no {begin} and {end}; put them where the tables belong.", file=sys.stderr)
            return 2
        page = f"{page.partition(begin)[0]}{begin}\n{text}\n{end}{page.partition(end)[2]}"
    chosen.page.write_text(page, encoding="utf-8")
    return 0


def marks(part: str) -> tuple[str, str]:
    """Return the lines between which a part stands."""
    return f"<!-- {part}: begin -->", f"<!-- {part}: end -->"


def rows_of(text: str) -> list[Row]:
    """Return the objects of a file, one a line; lines that are none, such as a note of the shell, are passed over.

    Of a comparison, each peer's row is one.
    """
    rows: list[Row] = []
    for line in text.splitlines():
        if line.startswith("{"):
            told = msgspec.json.decode(line, type=dict[str, Any])
            rows += [{"machine": told["machine"], **row} for row in told["peers"]] if "peers" in told else [told]
    return rows


def parts(rows: Iterable[Row], date: str) -> dict[str, str]:
    """Return the tables by the part of the page that they are for, with the day and the machine they are of."""
    rows = list(rows)
    own = _last([row for row in rows if "bench" in row], ("bench", "settings"))
    peers = _last([row for row in rows if "peer" in row], ("peer", "shape", "jobs", "seconds"))
    made = {}
    if own:
        made["measured"] = (
            f"{_measured(own, date, _first(own, 'versions'))}\n\n{_markdown(OWN_HEADERS, map(_own_row, own))}"
        )
    if peers:
        made["peers"] = f"{_measured(peers, date, {})}\n\n{_peers(peers)}"
    return made


def _measured(rows: Sequence[Row], date: str, versions: Mapping[str, object]) -> str:
    about = ", ".join(f"{name} {value}" for name, value in {**versions, **_first(rows, "machine")}.items())
    return f"Measured on {date}: {about or 'nothing'}{_disk(rows)}."


def _disk(rows: Sequence[Row]) -> str:
    """Return what an fsync took before the runs; of benchmarks of its own Chronos tells that in `log_append`."""
    took = [row["fsync_ms"] for row in rows if "fsync_ms" in row]
    return f"; an fsync took {min(took):g} to {max(took):g} ms before the runs" if took else ""


def _first(rows: Iterable[Row], name: str) -> Row:
    return next((row[name] for row in rows if name in row), {})


def _peers(rows: Sequence[Row]) -> str:
    """Return who was measured, and a table for each work."""
    known = {row["peer"]: row for row in sorted(rows, key=lambda row: "versions" in row)}
    names = list(dict.fromkeys(row["peer"] for row in rows))
    told = [_markdown(PEER_HEADERS, [_peer_row(known[name]) for name in names])]
    works = dict.fromkeys((row["shape"], row["jobs"], row["seconds"]) for row in rows)
    for work in works:
        same = [row for row in rows if (row["shape"], row["jobs"], row["seconds"]) == work]
        told.append(f"{_work(*work)}:\n\n{_markdown(WORK_HEADERS, map(_work_row, same))}")
    return "\n\n".join(told)


def _work(shape: str, jobs: int, seconds: int) -> str:
    if shape == "burst":
        return f"**Burst**: {jobs:,} jobs, all due at one instant"
    if shape == "every-second":
        return f"**Recurring**: {jobs:,} jobs, each due on every second, for {seconds} s"
    return f"**Spread**: {jobs:,} one-off jobs over {seconds} s, {jobs / seconds:,.0f} a second"


def _peer_row(row: Row) -> tuple[str, ...]:
    versions = ", ".join(f"{name} {value}" for name, value in (row.get("versions") or {}).items())
    return (row["peer"], versions or "-", row.get("setup", ""), row["survives"])


def _own_row(row: Row) -> tuple[str, ...]:
    if row.get("figure") is None:
        return (f"`{row['bench']}`", "", "failed", "", "", "", "", "")
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
    return (f"`{row['bench']}`", settings, figure, *shares, total, _pace(row.get("pace") or {}))


def _pace(pace: Row) -> str:
    """Return what a fixed loop took before and after, and which share of the cores others had."""
    loops = " to ".join(f"{took:g}" for took in pace.get("loop_ms", ()))
    return f"{loops}; {pace['stolen_percent']:g} %" if "stolen_percent" in pace else loops


def _work_row(row: Row) -> tuple[str, ...]:
    if "not_run" in row:
        return (row["peer"], f"not run: {row['not_run']}", *[""] * (len(WORK_HEADERS) - 2))
    late = row["lateness_ms"]
    twice = f", {row['arrived_twice']:,} twice" if row["arrived_twice"] else ""
    return (
        row["peer"],
        f"{row['arrived']:,} of {row['expected']:,}{twice}",
        f"{row['a_second']:,g}",
        *(f"{late[name]:,g}" if name in late else "unknown" for name in ("p50", "p99", "max")),
        f"{row['cpu_us_per_execution']:,}",
        ", ".join(f"{name} {spent:g}" for name, spent in row["cpu_s"].items() if spent),
        "?" if row.get("others_cores") is None else f"{row['others_cores']:g}",
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
