"""APScheduler 4 (a pre-release): an asynchronous scheduler, its store in memory or PostgreSQL; argv: what is asked."""

from __future__ import annotations

import asyncio
from datetime import UTC

from apscheduler import AsyncScheduler, CoalescePolicy, current_job
from apscheduler.datastores.memory import MemoryDataStore
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from async_hook import fire
from hook import AT_ONCE, asked, instant


async def run(url: str, job: str) -> None:
    """Send the webhook, with the instant that the schedule was due."""
    await fire(url, job, current_job.get().scheduled_fire_time.timestamp())


def store_of(address: str):
    """Return where schedules are kept."""
    if address == "memory":
        return MemoryDataStore()
    from apscheduler.datastores.sqlalchemy import SQLAlchemyDataStore
    from sqlalchemy import URL
    from sqlalchemy.ext.asyncio import create_async_engine

    parts = dict(part.split("=") for part in address.split())
    url = URL.create(
        "postgresql+psycopg", parts["user"], host=parts["host"], port=int(parts["port"]), database=parts["dbname"]
    )
    return SQLAlchemyDataStore(create_async_engine(url, pool_size=10))


async def main() -> None:
    work = asked()
    async with AsyncScheduler(store_of(work["store"]), max_concurrent_jobs=AT_ONCE) as scheduler:
        await scheduler.configure_task("fire", func=run, job_executor="async", max_running_jobs=None)
        if work["shape"] == "every-second":
            triggers = [CronTrigger(second="*", timezone=UTC) for _ in range(work["jobs"])]
        else:
            triggers = [DateTrigger(instant(due)) for due in work["dues"]]
        for number, trigger in enumerate(triggers):
            job = f"job-{number}"
            await scheduler.add_schedule("fire", trigger, id=job, args=[work["url"], job], coalesce=CoalescePolicy.all)
        print("ready", flush=True)
        await scheduler.run_until_stopped()


if __name__ == "__main__":
    asyncio.run(main())
