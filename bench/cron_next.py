"""What one `next()` costs, beside cronsim and croniter in the same run.

    python bench/cron_next.py [--json] [--triples N] [--peer-triples N] [--seed N]

Each asks for the next run of distinct (expression, zone, instant) triples, none of them twice in the
whole run, so that no memory of an earlier answer can help; a quarter of the instants lie within a day
of a change of the zone's clocks. The figure is the CPU time of all calls over their number; the
percentiles are of single calls to `next()`, on the wall, with the reading of the clock in them. The
peers get fewer triples: they are slow. They parse the expression with every question, because their
objects are cursors that hold the instant.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

from bench.report import Report, cpu_s, parser, percentiles, tell
from croniter import croniter
from cronsim import CronSim

from chronos.timing.schedule import Schedule, parse_schedule
from chronos.timing.zone import tzdata_version
from chronos.timing.zone import zone as load_zone

ZONES = [
    "UTC",
    "Europe/London",
    "Europe/Berlin",
    "Europe/Dublin",
    "America/New_York",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "America/Havana",
    "America/St_Johns",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Tokyo",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Pacific/Chatham",
    "Pacific/Apia",
]
BUDGET_US = 2.0
DAY_S = 86_400
FROM_S = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())
UNTIL_S = int(datetime(2035, 1, 1, tzinfo=UTC).timestamp())

Triple = tuple[str, str, int]
T = TypeVar("T")


def main() -> int:
    line = parser(__doc__)
    line.add_argument("--triples", type=int, default=100_000)
    line.add_argument("--peer-triples", type=int, default=5_000)
    line.add_argument("--seed", type=int, default=1)
    chosen = line.parse_args()
    triples = distinct_triples(3 * chosen.triples, random.Random(chosen.seed))
    in_datetimes, in_seconds, one_by_one = (triples[n::3] for n in range(3))
    few = in_datetimes[: chosen.peer_triples]
    single_us = [_single_us(schedule, at) for schedule, at in moments(one_by_one)]
    report = Report(
        bench="cron_next",
        figure=_per_call_us(moments(in_datetimes), _ask_datetimes),
        unit="µs",
        percentiles=percentiles(single_us),
        cpu_s={"all": round(cpu_s(), 2)},
        settings={"triples": chosen.triples, "peer_triples": len(few), "seed": chosen.seed},
        details={
            "tzdata": tzdata_version(),
            "expressions": len({expression for expression, _, _ in triples}),
            "near_changes": round(sum(is_near_change(zone, at) for _, zone, at in triples) / len(triples), 3),
            "next_s_us": _per_call_us(parsed(in_seconds), _ask_seconds),
            "cronsim_us": peer(few, lambda expression, at: next(CronSim(expression, at))),
            "croniter_us": peer(few, lambda expression, at: croniter(expression, at).get_next(datetime)),
        },
        budget=BUDGET_US,
    )
    return tell(report, chosen)


def distinct_triples(count: int, chance: random.Random) -> list[Triple]:
    """Return `count` different questions in random order, about a thousand expressions in 20 zones."""
    expressions = sorted({expression(chance) for _ in range(1_000)})
    triples: set[Triple] = set()
    for _ in range(10 * count):
        if len(triples) == count:
            break
        zone = chance.choice(ZONES)
        triples.add((chance.choice(expressions), zone, instant(zone, chance)))
    ordered = sorted(triples)
    chance.shuffle(ordered)
    return ordered


def instant(zone: str, chance: random.Random) -> int:
    """Return an instant; every fourth lies within a day of a change of the clocks, where there is one."""
    at = chance.randrange(FROM_S, UNTIL_S)
    changes = load_zone(zone).transitions(at, at + 366 * DAY_S) if chance.random() < 0.25 else []
    return changes[0].at_s + chance.randrange(-DAY_S, DAY_S) if changes else at


def is_near_change(zone: str, at: int) -> bool:
    return bool(load_zone(zone).transitions(at - DAY_S, at + DAY_S))


def expression(chance: random.Random) -> str:
    """Return a five-field expression of the kinds people write."""
    minute, hour = chance.randrange(60), chance.randrange(24)
    kinds = (
        "* * * * *",
        f"*/{chance.choice((2, 5, 10, 15, 20, 30))} * * * *",
        f"{minute} * * * *",
        f"{minute} */{chance.choice((2, 3, 4, 6, 8, 12))} * * *",
        f"{minute} {hour} * * *",
        f"{minute} {hour} * * 1-5",
        f"{minute} {hour} * * {chance.randrange(7)}",
        f"{minute} {hour} {chance.randrange(1, 29)} * *",
        f"{minute} {hour} {chance.randrange(1, 29)} {chance.randrange(1, 13)} *",
        f"{minute},{(minute + 30) % 60} {hour // 2}-{hour // 2 + 8} * * 1-5",
    )
    return chance.choice(kinds)


def parsed(triples: list[Triple]) -> list[tuple[Schedule, int]]:
    """Return the questions with their schedules, so that parsing is not counted."""
    return [(parse_schedule(text, timezone=zone), at) for text, zone, at in triples]


def moments(triples: list[Triple]) -> list[tuple[Schedule, datetime]]:
    return [(schedule, datetime.fromtimestamp(at, UTC)) for schedule, at in parsed(triples)]


def _ask_seconds(questions: list[tuple[Schedule, int]]) -> None:
    for schedule, at in questions:
        schedule.next_s(at)


def _ask_datetimes(questions: list[tuple[Schedule, datetime]]) -> None:
    for schedule, at in questions:
        schedule.next(at)


def _single_us(schedule: Schedule, at: datetime) -> float:
    started = time.perf_counter_ns()
    schedule.next(at)
    return (time.perf_counter_ns() - started) / 1_000


def _per_call_us(questions: list[T], ask: Callable[[list[T]], None]) -> float:
    started = time.process_time()
    ask(questions)
    return round((time.process_time() - started) / max(1, len(questions)) * 1e6, 3)


def peer(triples: list[Triple], ask: Callable[[str, datetime], object]) -> float:
    """Return µs per question put to another library."""
    asked = [(text, datetime.fromtimestamp(at, ZoneInfo(zone))) for text, zone, at in triples]
    started = time.process_time()
    for text, at in asked:
        ask(text, at)
    return round((time.process_time() - started) / max(1, len(asked)) * 1e6, 3)


if __name__ == "__main__":
    sys.exit(main())
