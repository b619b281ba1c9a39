"""What was measured, from what arrived and what was used: pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from bench.peers.catalogue import SECOND, TOLD, UNKNOWN
from bench.report import lateness
from bench.sink import Arrival

from chronos.timing.jitter import jitter_us

SEED = 1
SECOND_US = 1_000_000
AHEAD_S = 1.0
SETTLING_S = 3.0
"""What belongs to an execution is done `AHEAD_S` before it is due at the earliest, or `SETTLING_S` after it arrived."""

CpuSample = tuple[float, dict[str, float]]
"""When, and the seconds of CPU so far by process."""


@dataclass(frozen=True)
class Work:
    """What each is given.

    Attributes:
        shape: `spread` (each at a random moment of its second), `burst` (all at one instant) or `every-second`.
        begin: The first instant, a whole second since the epoch.
    """

    shape: str
    jobs: int
    seconds: int
    begin: int = 0

    @property
    def recurs(self) -> bool:
        return self.shape == "every-second"

    @property
    def end(self) -> int:
        """Return when the last has been due."""
        return self.begin + (1 if self.shape == "burst" else self.seconds)

    def dues(self) -> list[float]:
        """Return when each one-off job is due, ascending: as many in each second, at drawn milliseconds."""
        if self.shape != "spread":
            return [float(self.begin)] * self.jobs
        draw = random.Random(SEED)
        seconds = [self.begin + number * self.seconds // self.jobs for number in range(self.jobs)]
        return sorted(second + draw.randrange(1_000) / 1_000 for second in seconds)

    @property
    def expected(self) -> int:
        return self.jobs * (self.seconds if self.recurs else 1)


def judged(arrivals: Iterable[Arrival], work: Work, recurring: str, has_jitter: bool) -> list[Arrival]:
    """Return what arrived for this work, each with the instant that it was due, as far as that is known.

    Of recurring jobs only instants inside of the window count; of those whose instants are unknown, arrivals.
    """
    seen = list(arrivals)
    if work.recurs and recurring == SECOND:
        seen = [(at, f"{job}-{int(at)}", job, float(int(at))) for at, _, job, _ in seen]
    if work.recurs and recurring == UNKNOWN:
        return [one for one in seen if work.begin <= one[0] < work.end]
    if work.shape == "spread" and has_jitter:
        seen = [(at, run, job, due + jitter_us(job, int(due), SECOND_US) / SECOND_US) for at, run, job, due in seen]
    return [one for one in seen if not work.recurs or work.begin <= one[3] < work.end]


def told(seen: Sequence[Arrival], work: Work, recurring: str = TOLD) -> dict[str, Any]:
    """Return the figures of what was judged: how many arrived, how fast, how late."""
    distinct = len({one[1] for one in seen})
    took = work.seconds if work.recurs else max((one[0] for one in seen), default=work.begin) - work.begin
    late_ms = [] if work.recurs and recurring == UNKNOWN else [(at - due) * 1_000 for at, _, _, due in seen]
    return {
        "expected": work.expected,
        "arrived": distinct,
        "missing": max(0, work.expected - distinct),
        "arrived_twice": len(seen) - distinct,
        "early": sum(ms < 0 for ms in late_ms),
        "a_second": round(len(seen) / took, 1) if took > 0 else 0.0,
        "lateness_ms": lateness(late_ms),
    }


def used(samples: Sequence[CpuSample], seen: Sequence[Arrival], work: Work) -> dict[str, float]:
    """Return the seconds of CPU by process that the work took, idling before and afterwards left out.

    Of recurring jobs it is that of the window; of others it lasts until the last has arrived and settled.
    """
    last = work.end - AHEAD_S if work.recurs else max([one[0] for one in seen] or [work.end]) + SETTLING_S
    first = work.begin - AHEAD_S
    before = max((one for one in samples if one[0] <= first), default=samples[0], key=lambda one: one[0])[1]
    after = min((one for one in samples if one[0] >= last), default=samples[-1], key=lambda one: one[0])[1]
    return {name: round(spent - before.get(name, 0.0), 2) for name, spent in after.items()}


def each_us(cpu_s: dict[str, float], executions: int) -> int:
    """Return the microseconds of CPU of all processes for each execution."""
    return round(sum(cpu_s.values()) * 1e6 / max(1, executions))


HEADERS = ("SCHEDULER", "ARRIVED", "TWICE", "A SECOND", "P50 MS", "P99 MS", "MAX MS", "CPU US EACH", "CPU S")


def text_rows(rows: Iterable[dict[str, Any]]) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return the rows of the table for people, and a sentence for each that has no figures."""
    table: list[tuple[str, ...]] = [HEADERS]
    notes: list[str] = []
    for missing, some in groupby(rows, lambda row: "not_run" in row):
        if missing:
            notes += [f"{row['peer']} was not run: {row['not_run']}" for row in some]
        else:
            table += [_text_row(row) for row in some]
    return table, notes


def _text_row(row: dict[str, Any]) -> tuple[str, ...]:
    late = row["lateness_ms"]
    return (
        row["peer"],
        f"{row['arrived']:,} of {row['expected']:,}",
        str(row["arrived_twice"]),
        f"{row['a_second']:,g}",
        *(f"{late[name]:g}" if name in late else "-" for name in ("p50", "p99", "max")),
        f"{row['cpu_us_per_execution']:,}",
        " + ".join(f"{spent:.2f} {name}" for name, spent in row["cpu_s"].items()),
    )
