"""How far one cluster goes, and what comes after it: a model with measured inputs, for docs/explanation/scaling.md.

    python bench/scaling.py [--page docs/explanation/scaling.md] [--plot docs/explanation/scaling.svg]

Prints the tables of the page; with `--page` and `--plot` writes them. Nothing here is measured: what goes in was, and
is listed in `MEASURED` with the page that has it; what comes out follows from it. Pure but for `main`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

BEGIN, END = "<!-- scaling: begin -->", "<!-- scaling: end -->"


class Measured(NamedTuple):
    """An input: what it is, and where it was measured, as it stands there."""

    name: str
    value: float
    unit: str
    page: str
    stands_there: str


PERFORMANCE, LOG = "docs/reference/performance.md", "docs/explanation/cluster-log.md"
MEASURED = [
    Measured("leader_us", 110.0, "µs of the leader's main process for each execution", PERFORMANCE, "leader 110"),
    Measured("follower_us", 85.0, "µs of a follower's main process for each", PERFORMANCE, "followers 84 and 85"),
    Measured("worker_us", 69.0, "µs of worker processes for each", PERFORMANCE, "workers 69"),
    Measured("engine_us", 20.0, "µs of all three engines for each", PERFORMANCE, "engines 20"),
    Measured("commands_a_second", 117_000.0, "commands a second that one log takes", LOG, "117,000 commands a second"),
    Measured("append_ms", 10.5, "ms for an entry of 500 commands, 99th percentile", LOG, "3.2 ms and 10.5 ms"),
    Measured("million_mib", 402.0, "MiB of a server with a million jobs", PERFORMANCE, "402 MiB in all"),
]
IN = {one.name: one.value for one in MEASURED}

# Chosen, not measured.
USED = 0.75
"""How much of a core may be in use: beyond it waiting grows faster than what is done."""
COMMANDS_EACH = 2.0
"""Of an execution in the log: that it is owed and given to a node, and what became of it."""
NODES = 3
LEAD_MS, LEAD_APPENDS = 250.0, 4.0
"""What is due is claimed so long ahead, which has to be four times what a slow append takes."""
HEARTBEAT_RTTS, TAKEOVER_ELECTIONS, TAKEOVER_LEAST_S = 10.0, 3.0, 1.5


def planned_by(shards: int) -> float:
    """Return the executions a second of one cluster whose plan is divided among `shards` planners on several nodes.

    Every node folds the whole log; only what the leader does beyond that is divided.
    """
    beyond_us = IN["leader_us"] - IN["follower_us"]
    return USED * 1e6 / (IN["follower_us"] + beyond_us / shards)


def logged() -> float:
    """Return the executions a second that one log takes."""
    return USED * IN["commands_a_second"] / COMMANDS_EACH


def on_cores(cores: float) -> float:
    """Return the executions a second of three nodes that share so many cores with each other, and with nobody else."""
    each_us = IN["leader_us"] + (NODES - 1) * IN["follower_us"] + IN["worker_us"] + IN["engine_us"]
    return USED * cores * 1e6 / each_us


def one_cluster(cores_of_a_node: float, shards: int = 1) -> float:
    """Return the executions a second of three nodes with so many cores each: what the scarcest part allows."""
    return min(planned_by(shards), logged(), on_cores(NODES * cores_of_a_node))


def fullest(cells: int, jobs: int) -> float:
    """Return how much more than its share the fullest of `cells` has, when jobs of equal weight fall by their hash.

    Loads of cells are about normal; the greatest of n normal numbers lies about sqrt(2 ln n) deviations above the mean.
    """
    if cells == 1:
        return 1.0
    share = jobs / cells
    return 1.0 + math.sqrt(2.0 * math.log(cells)) * math.sqrt(share * (1.0 - 1.0 / cells)) / share


def cells(executions_a_second: float, jobs: int, cores_of_a_node: float = 4) -> int:
    """Return how many clusters side by side hold a load, the fullest of them with its share; at least one.

    Each takes a million jobs at most: so many were measured.
    """
    count = max(1, math.ceil(executions_a_second / one_cluster(cores_of_a_node)), math.ceil(jobs / 1e6))
    while (
        executions_a_second / count * fullest(count, jobs) > one_cluster(cores_of_a_node)
        or jobs / count * fullest(count, jobs) > 1e6 * 1.05
    ):
        count += 1
    return count


def append_p99_ms(rtt_ms: float) -> float:
    """Return what a slow append takes when the nearest other member is so far away."""
    return IN["append_ms"] + rtt_ms


def claim_lead_ms(rtt_ms: float) -> float:
    """Return how long ahead executions have to be claimed."""
    return max(LEAD_MS, LEAD_APPENDS * append_p99_ms(rtt_ms))


def takeover_s(rtt_ms: float) -> float:
    """Return after how much silence a leader is replaced."""
    return max(TAKEOVER_LEAST_S, TAKEOVER_ELECTIONS * HEARTBEAT_RTTS * rtt_ms / 1_000)


def tables() -> str:
    """Return the part of the page that is computed."""
    parts = [
        "What goes in:",
        _table(
            ("input", "", "measured in"),
            [
                (f"`{one.name}`", f"{one.value:g} {one.unit}", f"[{Path(one.page).stem}](../{_link(one.page)})")
                for one in MEASURED
            ],
        ),
        "One cluster of three nodes, by the cores of each node, and by planners it is divided among:",
        _table(
            ("cores of a node", "executions a second", "what is scarce", "with 3 planners"),
            [
                (f"{cores:.2g}", _round(one_cluster(cores)), _scarce(cores), _round(one_cluster(cores, 3)))
                for cores in (2 / 3, 1, 2, 4, 8)
            ],
        ),
        "Cells, for a load (nodes of four cores):",
        _table(
            (
                "executions a second",
                "jobs",
                "cells",
                "nodes",
                "memory of a server",
                "the fullest has",
                "a failover concerns",
            ),
            [
                (
                    f"{rate:,}",
                    f"{jobs:,}",
                    str(count),
                    str(NODES * count),
                    f"{jobs / count / 1e6 * IN['million_mib']:,.0f} MiB",
                    f"{fullest(count, jobs):.3f} of its share",
                    f"1 job in {count}" if count > 1 else "every job",
                )
                for rate, jobs in (
                    (1_000, 10_000),
                    (5_000, 1_000_000),
                    (50_000, 1_000_000),
                    (200_000, 20_000_000),
                    (1_000_000, 100_000_000),
                )
                for count in (cells(rate, jobs),)
            ],
        ),
        "One cluster whose nodes are far apart, by the round trip to the nearest other:",
        _table(
            ("round trip", "slow append", "claimed ahead", "replaced after silence of"),
            [
                (
                    f"{rtt:g} ms",
                    f"{append_p99_ms(rtt):.1f} ms",
                    f"{claim_lead_ms(rtt):.0f} ms",
                    f"{takeover_s(rtt):.1f} s",
                )
                for rtt in (0.5, 10, 50, 100, 200)
            ],
        ),
    ]
    return "\n\n".join(parts)


def _scarce(cores: float) -> str:
    bounds = {"cores": on_cores(NODES * cores), "the leader's main process": planned_by(1), "the log": logged()}
    return min(bounds, key=lambda name: bounds[name])


def _round(rate: float) -> str:
    return f"{round(rate, -2):,.0f}"


def _link(page: str) -> str:
    return page.removeprefix("docs/")


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(headers) + " |", "|" + "---|" * len(headers)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


WIDTH, HEIGHT, MARGIN = 640, 320, 56


def plot() -> str:
    """Return the drawing: what a load takes as one cluster divided into shards, and as cells side by side."""
    counts = list(range(1, 11))
    lines = {
        "cells": [count * one_cluster(4) / fullest(count, 1_000_000) for count in counts],
        "shards over one log": [one_cluster(4, count) for count in counts],
    }
    most = max(max(values) for values in lines.values())
    styles = {"cells": "#1f6f43", "shards over one log": "#a33b20"}
    marks = [
        _text(MARGIN - 8, _y(share * most, most) + 4, f"{round(share * most, -3):,.0f}", "end") for share in (0.5, 1.0)
    ]
    marks += [_text(_x(count), HEIGHT - MARGIN + 18, str(count), "middle") for count in counts]
    marks.append(_text(WIDTH / 2, HEIGHT - 12, "cells, or shards", "middle"))
    marks.append(_text(MARGIN, MARGIN - 30, "executions a second", "start"))
    curves = []
    for name, values in lines.items():
        points = " ".join(f"{_x(count):.1f},{_y(value, most):.1f}" for count, value in zip(counts, values, strict=True))
        curves.append(f'<polyline fill="none" stroke="{styles[name]}" stroke-width="2" points="{points}"/>')
        curves.append(_text(_x(counts[-1]), _y(values[-1], most) - 8, name, "end", styles[name]))
    frame = f'<path fill="none" stroke="#777" d="M{MARGIN},{MARGIN - 16} V{HEIGHT - MARGIN} H{WIDTH - 16}"/>'
    look = 'font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {look}>'
    title = "<title>Executions a second of cells side by side, and of shards over one log</title>"
    return "\n".join(
        [head, title, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', frame, *marks, *curves, "</svg>", ""]
    )


def _x(count: int) -> float:
    return MARGIN + (count - 1) * (WIDTH - MARGIN - 40) / 9 + 8


def _y(value: float, most: float) -> float:
    return HEIGHT - MARGIN - value / most * (HEIGHT - 2 * MARGIN)


def _text(x: float, y: float, text: str, anchor: str, fill: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{text}</text>'


def placed(page: str) -> str:
    """Return the page with the tables between its marks.

    Raises:
        ValueError: It has no marks.
    """
    if BEGIN not in page or END not in page:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{page.partition(BEGIN)[0]}{BEGIN}\n{tables()}\n{END}{page.partition(END)[2]}"


def main() -> int:
    """Print the tables, or write page and drawing."""
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("--page", type=Path)
    line.add_argument("--plot", type=Path)
    chosen = line.parse_args()
    if chosen.page is not None:
        chosen.page.write_text(placed(chosen.page.read_text(encoding="utf-8")), encoding="utf-8")
    if chosen.plot is not None:
        chosen.plot.write_text(plot(), encoding="utf-8")
    if chosen.page is None and chosen.plot is None:
        print(tables())
    return 0


if __name__ == "__main__":
    sys.exit(main())
