"""APScheduler 3: a scheduler in this process, of coroutines with its jobs in memory, or of threads with them in SQLite.

A database that blocks has no place in an event loop, so that SQLite goes with threads. argv: what is asked.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict, deque
from datetime import UTC

import async_hook
import urllib3
from apscheduler.executors.asyncio import AsyncIOExecutor
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.background import BackgroundScheduler
from hook import AT_ONCE, asked, headers, instant

OPTIONS = {"misfire_grace_time": None, "coalesce": False, "max_instances": 100}
pool = urllib3.PoolManager(maxsize=AT_ONCE, block=True, retries=False)
submitted: defaultdict[str, deque[float]] = defaultdict(deque)
"""Of each job, the instants that it was submitted for and has not begun yet: a job is not told."""


class Noting:
    """Keeps the instants that jobs are submitted for, before they can begin."""

    def _do_submit_job(self, job, run_times) -> None:
        submitted[job.id].extend(at.timestamp() for at in run_times)
        super()._do_submit_job(job, run_times)


class Coroutines(Noting, AsyncIOExecutor):
    pass


class Threads(Noting, ThreadPoolExecutor):
    pass


async def run(url: str, job: str) -> None:
    """Send the webhook from a coroutine."""
    await async_hook.fire(url, job, submitted[job].popleft())


def run_in_thread(url: str, job: str) -> None:
    """Send the webhook from a thread."""
    answer = pool.request("POST", url, body=b"{}", headers=headers(job, submitted[job].popleft()))
    if answer.status >= 300:
        raise RuntimeError(f"the target answered {answer.status}")


def make(scheduler, what, work: dict) -> None:
    """Give a scheduler its jobs, then let it begin."""
    scheduler.start(paused=True)
    for number in range(work["jobs"]):
        once = {"trigger": "date", "run_date": instant(work["dues"][number])}
        when = {"trigger": "cron", "second": "*"} if work["shape"] == "every-second" else once
        scheduler.add_job(what, args=[work["url"], f"job-{number}"], id=f"job-{number}", **when, **OPTIONS)
    print("ready", flush=True)
    scheduler.resume()


async def in_memory(work: dict) -> None:
    make(AsyncIOScheduler(executors={"default": Coroutines()}, timezone=UTC), run, work)
    await asyncio.Event().wait()


def in_sqlite(work: dict) -> None:
    stores, executors = {"default": SQLAlchemyJobStore(url=work["store"])}, {"default": Threads(AT_ONCE)}
    make(BackgroundScheduler(jobstores=stores, executors=executors, timezone=UTC), run_in_thread, work)
    threading.Event().wait()


if __name__ == "__main__":
    if asked()["store"] == "memory":
        asyncio.run(in_memory(asked()))
    else:
        in_sqlite(asked())
