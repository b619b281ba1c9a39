"""APScheduler 3: an asynchronous scheduler in this process, its jobs in memory or in SQLite; argv: what is asked."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from datetime import UTC

from apscheduler.events import EVENT_JOB_SUBMITTED, JobSubmissionEvent
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from async_hook import fire
from hook import asked, instant

OPTIONS = {"misfire_grace_time": None, "coalesce": False, "max_instances": 100}

submitted: defaultdict[str, deque[float]] = defaultdict(deque)
"""Of each recurring job, the instants that it was submitted for and has not begun yet."""


def note(event: JobSubmissionEvent) -> None:
    """Keep what a job is submitted for, which it is not told itself; its coroutine begins after the listeners."""
    submitted[event.job_id].extend(at.timestamp() for at in event.scheduled_run_times)


async def recur(url: str, job: str) -> None:
    """Send the webhook, with the instant that the job was submitted for."""
    await fire(url, job, submitted[job].popleft())


def store_of(address: str):
    """Return where jobs are kept."""
    if address == "memory":
        return MemoryJobStore()
    from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore

    return SQLAlchemyJobStore(url=address)


async def main() -> None:
    work = asked()
    scheduler = AsyncIOScheduler(jobstores={"default": store_of(work["store"])}, timezone=UTC)
    scheduler.start(paused=True)
    if work["shape"] == "every-second":
        scheduler.add_listener(note, EVENT_JOB_SUBMITTED)
        for number in range(work["jobs"]):
            job = f"job-{number}"
            scheduler.add_job(recur, "cron", second="*", args=[work["url"], job], id=job, **OPTIONS)
    else:
        for number, due in enumerate(work["dues"]):
            job = f"job-{number}"
            scheduler.add_job(fire, "date", run_date=instant(due), args=[work["url"], job, due], id=job, **OPTIONS)
    print("ready", flush=True)
    scheduler.resume()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
