"""A server with very many jobs: how long does it take to start, what does it hold in memory, and does it still answer?

    python bench/million.py [--jobs N] [--pairs N] [--spread N] [--folder DIR] [--seed N] [--json]

N jobs over 10,000 distinct (expression, zone) pairs in 20 zones are created through the batch API; then the server is
started again. The figure is the time from its start to `ready`. Afterwards it is asked for lists, searches and single
jobs, a hundred jobs are edited, and a hundred are run; meanwhile `--spread` others are due every ten seconds, some each
second, and their lateness is measured by the target's clock. `--folder` keeps the data, and takes what an earlier run
with the same settings has left there instead of creating the jobs again.
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
import msgspec
from bench.cron_next import ZONES
from bench.report import Report, lateness, parser, percentiles, tell
from bench.rig import Process, Rig, rig, spent

BUDGET_S = 10.0
MAIN_MIB, ALL_MIB = 600, 900
ASKED = 100
STREAMS = 4
WATCHED_S = 12.0
"""At least so long is watched how late the spread jobs are: each is due once."""
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


def spread_of(count: int, url: str) -> Iterator[dict[str, Any]]:
    """Yield jobs that are due every ten seconds, a tenth of them in each second."""
    for number in range(count):
        schedule = f"{number % 10}/10 * * * * *"
        yield {"name": f"spread-{number}", "schedule": schedule, "webhook": {"url": url}, "tags": {"kind": "spread"}}


async def measure(chosen: argparse.Namespace) -> Report:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(chosen.folder or temporary)
        is_new = _prepare(folder)
        async with rig(folder) as world:
            created_s = await _create(world, chosen) if is_new else 0.0
            await world.node.stop()
            begun = time.monotonic()
            await world.node.start()
            start_s = time.monotonic() - begun
            used, asked_from = world.used(), time.time()
            async with httpx2.AsyncClient(trust_env=False, base_url=world.node.url, timeout=60) as client:
                spread = await _spread(world, client, chosen.spread)
                answers = await _ask(world, client, chosen.jobs, random.Random(chosen.seed))
                await asyncio.sleep(max(0.0, WATCHED_S - (time.time() - asked_from)))
                after = world.used()
                json = {"Content-Type": "application/json"}
                for job in spread:  # of kept data: they would call a target that is gone
                    (await client.delete(f"/api/v1/jobs/{job}", headers=json)).raise_for_status()
            await world.node.stop()
            late_ms = [(at - due) * 1000 for at, _, job, due in await world.sink.stop() if job in spread]
    return _report(chosen, start_s, created_s, used, after, answers, late_ms)


def _prepare(folder: Path) -> bool:
    """Return whether there is no data in a folder yet; make it if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    return not (folder / "data").exists()


def _report(
    chosen: argparse.Namespace,
    start_s: float,
    created_s: float,
    used: dict[str, Process],
    after: dict[str, Process],
    answers: dict[str, dict[str, float]],
    late_ms: list[float],
) -> Report:
    resident = {name: round(process.resident_bytes / MIB, 1) for name, process in after.items()}
    everything = sum(size for name, size in resident.items() if name not in ("sink", "bench"))
    return Report(
        bench="million",
        figure=round(start_s, 2),
        unit="s",
        cpu_s=spent({}, used),
        settings={name: getattr(chosen, name) for name in ("jobs", "pairs", "spread", "seed")},
        details={
            "created_per_second": round(chosen.jobs / created_s) if created_s else None,
            "resident_mib": resident,
            "resident_mib_of_all": round(everything, 1),
            "resident_mib_after_start": {name: round(one.resident_bytes / MIB, 1) for name, one in used.items()},
            "is_small_enough": resident["server"] <= MAIN_MIB and everything <= ALL_MIB,
            "milliseconds": answers,
            "spread_lateness_ms": lateness(late_ms),
            "spread_arrived": len(late_ms),
            "synchronous": "FULL",
        },
        budget=BUDGET_S,
    )


async def _create(world: Rig, chosen: argparse.Namespace) -> float:
    """Create the jobs, several requests at a time; return how many seconds that took."""
    chance = random.Random(chosen.seed)
    jobs, begun = jobs_of(chosen.jobs, pairs(chosen.pairs, chance), world.sink.url, chance), time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(STREAMS):
            group.create_task(world.create(jobs))
    return time.monotonic() - begun


async def _spread(world: Rig, client: httpx2.AsyncClient, count: int) -> set[str]:
    """Create the jobs that are due all the time, or have them call this target; return their ids."""
    lines = b"\n".join(map(msgspec.json.encode, spread_of(count, world.sink.url)))
    headers = {"Content-Type": "application/x-ndjson"}
    answer = await client.post("/api/v1/jobs:batch", content=lines, headers=headers)
    answer.raise_for_status()
    return {result["id"] for result in answer.json()["results"]}


async def _ask(world: Rig, client: httpx2.AsyncClient, jobs: int, chance: random.Random) -> dict[str, dict[str, float]]:
    """Return how long each kind of request took, in milliseconds."""
    names = [f"job-{chance.randrange(jobs)}" for _ in range(ASKED)]

    async def edit(name: str) -> httpx2.Response:
        etag = (await client.get(f"/api/v1/jobs/{name}")).headers["ETag"]
        # Of kept data: what it called then is not there any more.
        change = {"description": f"edited {chance.random()}", "webhook": {"url": world.sink.url}}
        return await client.patch(f"/api/v1/jobs/{name}", json=change, headers={"If-Match": etag})

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
    line.add_argument("--spread", type=int, default=100, help="jobs that are due every ten seconds meanwhile")
    line.add_argument("--folder", help="keep the data there, or take what an earlier run has left")
    line.add_argument("--seed", type=int, default=1)
    chosen = line.parse_args()
    return tell(asyncio.run(measure(chosen)), chosen)


if __name__ == "__main__":
    sys.exit(main())
