"""Chronos: a server with its defaults, as it is checked out here; jobs through its API; argv: what is asked."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx2
from hook import asked, instant
from tests.acceptance.node import Node

BATCH = 5_000
MAKING_S = 120.0


def jobs(work: dict) -> list[dict]:
    """Return the jobs. An instant is a whole second here: within it, jitter gives each its moment."""
    made = []
    for number in range(work["jobs"]):
        second = 0 if work["shape"] == "burst" else number * work["seconds"] // work["jobs"]
        at = instant(work["begin"] + second).isoformat()
        schedule = "* * * * * *" if work["shape"] == "every-second" else f"@at {at}"
        job = {
            "name": f"job-{number}",
            "schedule": schedule,
            "concurrency": "allow",
            "webhook": {"url": work["url"], "body": "{}"},
        }
        made.append(job | ({"jitter": "1s"} if work["shape"] == "spread" else {}))
    return made


async def create(url: str, made: list[dict]) -> None:
    """Create jobs in batches; an error when one is refused."""
    async with httpx2.AsyncClient(trust_env=False, base_url=url, timeout=MAKING_S) as client:
        for first in range(0, len(made), BATCH):
            lines = "\n".join(json.dumps(job) for job in made[first : first + BATCH])
            headers = {"Content-Type": "application/x-ndjson"}
            answer = await client.post("/api/v1/jobs:batch", content=lines, headers=headers)
            answer.raise_for_status()
            wrong = [one["error"] for one in answer.json()["results"] if one["error"] is not None]
            if wrong:
                raise SystemExit(f"{len(wrong)} jobs were refused, the first: {wrong[0]}")


async def main() -> None:
    work = asked()
    node = Node(Path(work["folder"]) / "data", "--log-level", "error", workers="auto")
    await node.start()
    await create(node.url, jobs(work))
    print("ready", flush=True)
    await node.ended()


if __name__ == "__main__":
    asyncio.run(main())
