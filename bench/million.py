"""A server with very many jobs: how long does it take to start, what does it hold in memory, and does it still answer?

    python bench/million.py [--jobs N] [--pairs N] [--seed N] [--json]

N jobs over 10,000 distinct (expression, zone) pairs in 20 zones are created through the batch API; then the server is
started again. The figure is the time from its start to `ready`. Afterwards it is asked for a list, a search and single
jobs, a hundred jobs are edited, and a hundred are run.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
from bench.cron_next import ZONES
from bench.report import Report, parser, percentiles, tell
from bench.rig import Rig, rig, spent

BUDGET_S = 10.0
ASKED = 100
MIB = 1024 * 1024


def pairs(count: int, chance: random.Random) -> list[tuple[str, str]]:
    """Return distinct (expression, zone) pairs; none is due in the minutes that a benchmark takes, but a few."""
    found: set[tuple[str, str]] = set()
    while len(found) < count:
        minute, hour, day = chance.randrange(60), chance.randrange(24), chance.randrange(1, 29)
        found.add((f"{minute} {hour} {day} {chance.randrange(1, 13)} *", chance.choice(ZONES)))
    return sorted(found)


def jobs_of(count: int, kinds: list[tuple[str, str]], url: str, chance: random.Random) -> Iterator[dict[str, Any]]:
    """Yield the jobs; every tenth has a tag to search for."""
    for number in range(count):
        expression, zone = chance.choice(kinds)
        job: dict[str, Any] = {
            "name": f"job-{number}",
            "schedule": expression,
            "timezone": zone,
            "webhook": {"url": url},
        }
        if number % 10 == 0:
            job["tags"] = {"team": f"team-{number % 50}"}
        yield job


async def measure(chosen: argparse.Namespace) -> Report:
    chance = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        async with rig(Path(folder)) as world:
            begun = time.monotonic()
            await world.create(jobs_of(chosen.jobs, pairs(chosen.pairs, chance), world.sink.url, chance))
            created_s = time.monotonic() - begun
            await world.node.stop()
            begun = time.monotonic()
            await world.node.start()
            start_s = time.monotonic() - begun
            used = world.used()
            async with httpx2.AsyncClient(trust_env=False, base_url=world.node.url, timeout=60) as client:
                answers = await _ask(world, client, chosen.jobs, chance)
            after = world.used()
    resident = {name: round(process.resident_bytes / MIB, 1) for name, process in after.items()}
    return Report(
        bench="million",
        figure=round(start_s, 2),
        unit="s",
        cpu_s=spent({}, used),
        settings={"jobs": chosen.jobs, "pairs": chosen.pairs, "seed": chosen.seed},
        details={
            "created_per_second": round(chosen.jobs / created_s),
            "resident_mib": resident,
            "resident_mib_after_start": {name: round(one.resident_bytes / MIB, 1) for name, one in used.items()},
            "milliseconds": answers,
            "synchronous": "FULL",
        },
        budget=BUDGET_S,
    )


async def _ask(world: Rig, client: httpx2.AsyncClient, jobs: int, chance: random.Random) -> dict[str, dict[str, float]]:
    """Return how long each kind of request took, in milliseconds."""
    names = [f"job-{chance.randrange(jobs)}" for _ in range(ASKED)]

    async def edit(name: str) -> httpx2.Response:
        etag = (await client.get(f"/api/v1/jobs/{name}")).headers["ETag"]
        text = f"edited {chance.random()}"
        return await client.patch(f"/api/v1/jobs/{name}", json={"description": text}, headers={"If-Match": etag})

    asked: dict[str, Callable[[str], Awaitable[httpx2.Response]]] = {
        "list": lambda _: client.get("/api/v1/jobs?limit=50"),
        "search": lambda name: client.get("/api/v1/jobs", params={"text": name, "limit": 10}),
        "by_tag": lambda _: client.get("/api/v1/jobs", params={"tag.team": "team-10", "limit": 50}),
        "get": lambda name: client.get(f"/api/v1/jobs/{name}"),
        "edit": edit,
        "run": lambda name: client.post(
            f"/api/v1/jobs/{name}/trigger?wait=30s", headers={"Content-Type": "application/json"}
        ),
    }
    return {kind: percentiles([await _timed_ms(ask, name) for name in names], 2) for kind, ask in asked.items()}


async def _timed_ms(ask: Callable[[str], Awaitable[httpx2.Response]], name: str) -> float:
    begun = time.perf_counter()
    answer = await ask(name)
    answer.raise_for_status()
    return (time.perf_counter() - begun) * 1000


def main() -> int:
    line = parser(__doc__)
    line.add_argument("--jobs", type=int, default=1_000_000)
    line.add_argument("--pairs", type=int, default=10_000)
    line.add_argument("--seed", type=int, default=1)
    chosen = line.parse_args()
    return tell(asyncio.run(measure(chosen)), chosen)


if __name__ == "__main__":
    sys.exit(main())
