"""APScheduler 3: an asynchronous scheduler in this process, its jobs in memory or in SQLite; argv: what is asked."""

from __future__ import annotations

import asyncio
from datetime import UTC

from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from async_hook import fire
from hook import asked, instant

OPTIONS = {"misfire_grace_time": None, "coalesce": False, "max_instances": 100}


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
        for number in range(work["jobs"]):  # a job is not told its instant: the target takes the second of the arrival
            job = f"job-{number}"
            scheduler.add_job(fire, "cron", second="*", args=[work["url"], job, work["begin"]], id=job, **OPTIONS)
    else:
        for number, due in enumerate(work["dues"]):
            job = f"job-{number}"
            scheduler.add_job(fire, "date", run_date=instant(due), args=[work["url"], job, due], id=job, **OPTIONS)
    print("ready", flush=True)
    scheduler.resume()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
