"""What one `next()` costs, beside cronsim and croniter in the same run.

    python -m bench.cron_next [--json] [--triples N] [--peer-triples N] [--seed N]

Each asks for the next run of distinct (expression, zone, instant) triples, none of them twice, so
that no memory of an earlier answer can help. The peers get fewer triples: they are slow. They
parse the expression with every question, because their objects are cursors that hold the instant.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

from bench.report import Report, cpu_s, parser, tell
from croniter import croniter
from cronsim import CronSim

from chronos.timing.schedule import Schedule, parse_schedule
from chronos.timing.zone import tzdata_version

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
    triples = distinct_triples(chosen.triples, random.Random(chosen.seed))
    few = triples[: chosen.peer_triples]
    in_seconds, in_datetimes = ours(triples)
    report = Report(
        bench="cron_next",
        figure=in_datetimes,
        unit="µs",
        cpu_s={"all": round(cpu_s(), 2)},
        settings={"triples": len(triples), "peer_triples": len(few), "seed": chosen.seed},
        details={
            "tzdata": tzdata_version(),
            "expressions": len({expression for expression, _, _ in triples}),
            "next_s_us": in_seconds,
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
        triples.add((chance.choice(expressions), chance.choice(ZONES), chance.randrange(FROM_S, UNTIL_S)))
    ordered = sorted(triples)
    chance.shuffle(ordered)
    return ordered


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


def ours(triples: list[Triple]) -> tuple[float, float]:
    """Return µs per `next_s()` and per `next()`, each over one half of the triples, parsing not counted."""
    asked = [(parse_schedule(text, timezone=zone), at) for text, zone, at in triples]
    half = len(asked) // 2
    in_seconds = _per_call_us(asked[:half], _ask_seconds)
    moments = [(schedule, datetime.fromtimestamp(at, UTC)) for schedule, at in asked[half:]]
    return in_seconds, _per_call_us(moments, _ask_datetimes)


def _ask_seconds(questions: list[tuple[Schedule, int]]) -> None:
    for schedule, at in questions:
        schedule.next_s(at)


def _ask_datetimes(questions: list[tuple[Schedule, datetime]]) -> None:
    for schedule, at in questions:
        schedule.next(at)


def _per_call_us(questions: list[T], ask: Callable[[list[T]], None]) -> float:
    started = time.process_time()
    ask(questions)
    return round((time.process_time() - started) / max(1, len(questions)) * 1e6, 3)


def peer(triples: list[Triple], ask: Callable[[str, datetime], object]) -> float:
    """Return µs per question put to another library."""
    moments = [(text, datetime.fromtimestamp(at, ZoneInfo(zone))) for text, zone, at in triples]
    started = time.process_time()
    for text, at in moments:
        ask(text, at)
    return round((time.process_time() - started) / max(1, len(moments)) * 1e6, 3)


if __name__ == "__main__":
    sys.exit(main())
