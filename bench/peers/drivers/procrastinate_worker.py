"""Procrastinate: tasks in PostgreSQL, deferred to their instants, and one worker; argv: what is asked."""

from __future__ import annotations

import asyncio

import procrastinate
from async_hook import fire
from hook import AT_ONCE, asked, instant

WORK = asked()
MAKING = 10
ASKS_S = 0.05
"""Nobody notifies a worker of what has become due: it asks, each 5 s unless told otherwise."""

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=WORK["store"], max_size=2 * MAKING))


@app.task(name="fire")
async def hook(job: str, due: float) -> None:
    await fire(WORK["url"], job, due)


async def defer(jobs: asyncio.Queue) -> None:
    """Make jobs until there are none left to make."""
    while not jobs.empty():
        number, due = jobs.get_nowait()
        await hook.configure(schedule_at=instant(due)).defer_async(job=f"job-{number}", due=due)


def recur(number: int) -> None:
    """Make a task that is due each second."""

    async def run(timestamp: int) -> None:
        await fire(WORK["url"], f"job-{number}", float(timestamp))

    app.periodic(cron="* * * * * *", periodic_id=str(number))(app.task(name=f"fire-{number}")(run))


async def main() -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        if WORK["shape"] == "every-second":
            for number in range(WORK["jobs"]):
                recur(number)
        else:
            jobs: asyncio.Queue = asyncio.Queue()
            for one in enumerate(WORK["dues"]):
                jobs.put_nowait(one)
            await asyncio.gather(*(defer(jobs) for _ in range(MAKING)))
        print("ready", flush=True)
        await app.run_worker_async(
            concurrency=AT_ONCE, fetch_job_polling_interval=ASKS_S, install_signal_handlers=False
        )


if __name__ == "__main__":
    asyncio.run(main())
