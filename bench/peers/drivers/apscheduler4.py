"""APScheduler 4 (a pre-release): an asynchronous scheduler with its store in memory; argv: what is asked."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from apscheduler import AsyncScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from hook import dues, fire, work


async def main() -> None:
    asked = work()
    async with AsyncScheduler(max_concurrent_jobs=64) as scheduler:
        await scheduler.configure_task("fire", func=fire, job_executor="threadpool", max_running_jobs=None)
        if asked["shape"] == "every-second":
            for number in range(asked["jobs"]):
                trigger = CronTrigger(second="*", timezone=UTC)
                await scheduler.add_schedule(
                    "fire", trigger, id=f"job-{number}", args=[asked["port"], f"job-{number}", None]
                )
        else:
            for number, due in enumerate(dues(asked)):
                trigger = DateTrigger(datetime.fromtimestamp(due, UTC))
                await scheduler.add_schedule(
                    "fire", trigger, id=f"job-{number}", args=[asked["port"], f"job-{number}", due]
                )
        print("ready", flush=True)
        await scheduler.run_until_stopped()


if __name__ == "__main__":
    asyncio.run(main())
