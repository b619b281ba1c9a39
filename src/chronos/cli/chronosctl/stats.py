"""What a server is doing, as text: the same lines on the live screen and for scripts and narrow terminals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chronos.cli.chronosctl.output import local_time, table, visible

Document = Mapping[str, Any]

STEPS = " ▁▂▃▄▅▆▇█"
LABEL = 8
"""Columns in front of each line, for what it is about."""

WHY_LEAST = 20

SORTS: dict[str, Callable[[Document], Any]] = {
    "last": lambda job: job["last_failure_at"],
    "failures": lambda job: job["failures"],
    "name": lambda job: job["job_name"],
}
"""By what failing jobs can be sorted; names ascend, all else begins with the most."""


def stats_text(plain: Document, *, width: int = 80, sort: str = "last") -> str:
    """Return everything on one page, for a terminal of `width` columns."""
    lines = [*head_lines(plain, width), *number_lines(plain, width), *load_lines(plain, width, height=3)]
    return "\n".join([*lines, "", failing_text(plain, width, sort)])


def head_lines(plain: Document, width: int = 80) -> list[str]:
    """Return who is speaking and how it stands; a note each on a line of its own."""
    node = plain["node"]
    workers = node["workers"]
    up = sum(worker["is_up"] for worker in workers)
    parts = [
        "ready" if node["ready"] else f"NOT READY: {visible(node['reason'])}",
        "leader" if node["is_leader"] else "follower",
        "CATCHING UP" if node["catching_up"] else f"planned to {_wall(node['planned_to'])}",
        f"clock {_loud(node['clock'])}",
        f"storage {_loud(node['storage'])}",
    ]
    sizes = [
        f"entry {node['applied_index']:,}",
        f"{node['jobs']:,} jobs, {node['jobs_enabled']:,} enabled",
        *([f"workers {up}/{len(workers)}"] if workers else []),
        *([f"API processes {node['api_processes']}"] if node["api_processes"] else []),
        *([f"{node['dead_letters']:,} dead letters"] if node["dead_letters"] else []),
    ]
    return [
        f"Chronos {visible(node['version'])} on {visible(node['id'])}",
        *_lines("Time", [local_time(plain["time"])], width),
        *_lines("Node", parts, width),
        *_lines("", sizes, width),
        *(line for note in node["notes"] for line in _lines("Note", visible(note).split(), width, gap=" ")),
    ]


def number_lines(plain: Document, width: int = 80) -> list[str]:
    """Return the rates, the lateness and what is under way."""
    rates, late, now = plain["rates"], plain["start_lateness_ms"], plain["now"]
    parts = [f"{rates[name]:,.1f}/s {name}" for name in ("success", "failed", "skipped", "cancelled")]
    shares = [f"{name} {_ms(late[name])}" for name in ("p50", "p95", "p99", "max")]
    starts = [*shares, f"of {late['count']:,} starts in a minute"]
    under_way = [f"{name} {now[name]:,}" for name in ("running", "waiting", "held", "retrying", "ongoing", "log")]
    return [
        *_lines("Rate", parts, width),
        *_lines("", [*bars(plain["ended_by_second"], width - LABEL, 1)], width),
        *_lines("Late", starts if late["count"] else ["nothing has started in the last minute"], width),
        *_lines("Now", under_way, width),
    ]


def load_lines(plain: Document, width: int = 80, height: int = 4) -> list[str]:
    """Return the next minute's load as a bar chart, a bar for each second where there is room."""
    ahead = plain["next_minute"]
    about = "about " if ahead["estimated"] else ""
    most = max(ahead["by_second"], default=0)
    told = [f"{about}{ahead['total']:,} runs in the next minute", f"at most {about}{most:,} in a second"]
    drawn = bars(ahead["by_second"], width - LABEL, height) if most else []
    return [*_lines("Next", told, width), *(f"{'':<{LABEL}}{row}".rstrip() for row in drawn)]


def failing(plain: Document, sort: str) -> list[Document]:
    """Return the failing jobs in the order that was asked for."""
    return sorted(plain["failing"], key=SORTS[sort], reverse=sort != "name")


def failing_text(plain: Document, width: int = 80, sort: str = "last") -> str:
    """Return the failing jobs as a table, or a sentence when there is none."""
    jobs = failing(plain, sort)
    if not jobs:
        return "No job fails."
    rows = [failing_row(job) for job in jobs]
    used = max(len(row[0]) for row in rows) + 28
    room = max(WHY_LEAST, width - used)
    lines = table(("FAILING JOB", "FAILURES", "LAST", "WHY"), [(*row[:3], _cut(row[3], room)) for row in rows])
    more = plain["failing_total"] - len(jobs)
    return lines + (f"\n… and {more:,} more" if more > 0 else "")


def failing_row(job: Document) -> tuple[str, str, str, str]:
    """Return name, failures in a row, when it last failed and why."""
    name = job["job_name"] if job["namespace"] == "default" else f"{job['namespace']}/{job['job_name']}"
    return visible(name), f"{job['failures']:,}", _wall(job["last_failure_at"]), visible(job["reason"])


def bars(values: Sequence[float], width: int, height: int) -> list[str]:
    """Return a bar chart, `height` lines from the top; neighbours share a bar where there are more than `width`.

    The highest bar fills the height; whatever is more than nothing shows.
    """
    each = next(size for size in range(1, len(values) + 2) if len(values) <= size * max(1, width))
    grouped = [sum(values[first : first + each]) for first in range(0, len(values), each)]
    most = max(grouped, default=0)
    levels = [max(1, round(value / most * height * 8)) if value else 0 for value in grouped]
    return [
        "".join(STEPS[min(8, max(0, level - 8 * (height - 1 - row)))] for level in levels).rstrip()
        for row in range(height)
    ]


def _lines(label: str, parts: Sequence[str], width: int, gap: str = "  ") -> list[str]:
    """Return a labelled line, and further ones for the parts that do not fit into it."""
    lines = [f"{label:<{LABEL}}"]
    for part in parts:
        if len(lines[-1]) > LABEL and len(lines[-1]) + len(gap) + len(part) > width:
            lines.append(" " * LABEL)
        lines[-1] += (gap if len(lines[-1]) > LABEL else "") + part
    return [line.rstrip() for line in lines]


def _wall(instant: object) -> str:
    """Return the time of day of an instant of the API."""
    text = local_time(instant)
    return text.split()[1] if " " in text else text


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value / 1_000:,.1f} s" if value >= 1_000 else f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms"


def _loud(state: str) -> str:
    return state if state == "ok" else visible(state).upper()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
