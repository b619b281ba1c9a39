"""Procrastinate: tasks in PostgreSQL, deferred to their instants, and one worker; argv: what is asked, the database."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

import procrastinate
from hook import dues, fire, work

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=sys.argv[2]))


@app.task(name="fire")
async def hook(port: int, job: str, due: float | None) -> None:
    await asyncio.to_thread(fire, port, job, due)


async def main() -> None:
    asked = work()
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        if asked["shape"] == "every-second":
            for number in range(asked["jobs"]):
                run = app.task(name=f"fire-{number}")(_of(asked["port"], f"job-{number}"))
                app.periodic(cron="* * * * * *", periodic_id=str(number))(run)
        else:
            for number, due in enumerate(dues(asked)):
                later = hook.configure(schedule_at=datetime.fromtimestamp(due, UTC))
                await later.defer_async(port=asked["port"], job=f"job-{number}", due=due)
        print("ready", flush=True)
        await app.run_worker_async(concurrency=64, fetch_job_polling_interval=0.05, install_signal_handlers=False)


def _of(port: int, job: str):
    async def run(timestamp: int) -> None:
        await asyncio.to_thread(fire, port, job, float(timestamp))

    return run


if __name__ == "__main__":
    asyncio.run(main())
