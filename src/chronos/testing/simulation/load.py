"""The jobs of a run, drawn from its seed: every policy, schedules from seconds to hours, zones that change."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import msgspec

from chronos.model.job import JobSpec

CANARY = "canary-7f3a91c5d2"
"""A credential of some jobs. It must never be readable anywhere."""

HOSTS = ("steady", "quick", "slow", "flaky", "busy", "hanging", "lying", "moody", "gone", "strange", "long")

# Ordinary days, and the hours around changes of clocks: New York, London, Lord Howe, and a leap day.
BEGINNINGS = (
    datetime(2027, 1, 1, 12, tzinfo=UTC),
    datetime(2027, 3, 14, 6, 56, tzinfo=UTC),
    datetime(2027, 11, 7, 5, 57, tzinfo=UTC),
    datetime(2027, 3, 28, 0, 57, tzinfo=UTC),
    datetime(2027, 10, 2, 15, 26, tzinfo=UTC),
    datetime(2028, 2, 29, 23, 56, tzinfo=UTC),
    datetime(2026, 12, 31, 23, 55, tzinfo=UTC),
)

ZONES = ("UTC", "UTC", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kathmandu")

# Instants a second, so that the whole load comes to more than two even while some jobs are paused.
_FAST = ("*/3 * * * * *", "*/4 * * * * *", "*/5 * * * * *", "@every 4s", "@every 3s")
_MIDDLE = ("*/10 * * * * *", "*/15 * * * * *", "@every 7s", "@every 11s", "*/20 * * * * *", "5-50/9 * * * * *")
_RARE = ("0 * * * * *", "30 * * * * *", "* * * * *", "@every 45s", "17 */2 * * * *", "0 */5 * * * *", "*/2 * * * *")
_ROOT = ("* * * * * *",)


def beginning(draw: random.Random) -> datetime:
    """Return when, by the world's time, a run begins."""
    return draw.choice(BEGINNINGS)


def first_specs(draw: random.Random, count: int, *, nasty: bool) -> list[JobSpec]:
    """Return the jobs that a run begins with; the busiest first."""
    specs = []
    for number in range(count):
        pool = _FAST if number < 6 else _MIDDLE if number < count // 2 else _RARE
        policy = ("forbid", "allow", "queue", "replace")[number % 4]
        missed = ("execute_one", "execute_all", "ignore")[number % 3]
        specs.append(a_spec(draw, f"job{number:02d}", draw.choice(pool), policy, missed, nasty=nasty))
    return specs


def another_spec(draw: random.Random, name: str, *, nasty: bool) -> JobSpec:
    """Return a spec to create or replace a job with."""
    [pool] = draw.choices((_ROOT, _FAST, _MIDDLE, _RARE), (2, 16, 44, 38))
    schedule = draw.choice(pool)
    policy = draw.choice(("forbid", "allow", "queue", "replace"))
    return a_spec(draw, name, schedule, policy, draw.choice(("execute_one", "execute_all", "ignore")), nasty=nasty)


def a_spec(draw: random.Random, name: str, schedule: str, policy: str, missed: str, *, nasty: bool) -> JobSpec:
    """Return one spec."""
    host = draw.choice(HOSTS) if nasty else draw.choice(("steady", "quick"))
    spec: dict[str, Any] = {
        "name": name,
        "schedule": schedule,
        "timezone": draw.choice(ZONES),
        "concurrency": policy,
        "missed_run_policy": missed,
        "webhook": {"url": f"http://{host}.test/{name}"},
        "timeout": draw.choice(("1s", "3s", "8s")),
        "retry_policy": _retries(draw),
        "priority": draw.randrange(10),
        "max_concurrent": draw.choice((1, 2, 10)),
        "queue_limit": draw.choice((1, 1, 3)),
        "catchup_window": draw.choice(("24h", "24h", "60s", "10s")),
        "max_catchup": draw.choice((100, 3)),
        "on_unknown": draw.choice(("retry", "retry", "retry", "fail")),
        "cancel_grace": "1s",
    }
    if draw.random() < 0.2:
        spec["jitter"] = draw.choice(("500ms", "2s"))
    if draw.random() < 0.15:
        spec["webhook"]["auth"] = {"type": "bearer", "token": CANARY}
    if host == "gone" and draw.random() < 0.5:
        spec["webhook"]["pause_on_gone"] = True
    if host == "long":
        spec["webhook"] |= _long(draw, name)
    return msgspec.convert(spec, JobSpec)


def _long(draw: random.Random, name: str) -> dict[str, Any]:
    """Return what makes a target one that reports by itself; no deadline is further away than the end of a run."""
    long: dict[str, Any] = {"completion": "callback", "deadline": draw.choice(("5s", "12s", "20s"))}
    if draw.random() < 0.6:
        long["heartbeat"] = draw.choice(("2s", "3s"))
    if draw.random() < 0.5:
        long["cancel_url"] = f"http://long.test/{name}/stop"
    return long


def _retries(draw: random.Random) -> dict[str, Any]:
    return {
        "max_attempts": draw.choice((1, 3, 3, 5)),
        "initial_interval": draw.choice(("100ms", "1s")),
        "max_interval": draw.choice(("2s", "10s")),
        "retry_for": draw.choice(("24h", "24h", "20s")),
        "give_up_at_next": draw.random() < 0.2,
        "retry_holds_slot": draw.random() < 0.6,
    }
