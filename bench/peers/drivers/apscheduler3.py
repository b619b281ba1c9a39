"""APScheduler 3: a background scheduler with threads; argv: what is asked, and a store's address or `memory`."""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from hook import dues, fire, work


def main() -> None:
    asked, store = work(), sys.argv[2]
    stores = {}
    if store != "memory":
        from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore

        stores = {"default": SQLAlchemyJobStore(url=store)}
    scheduler = BackgroundScheduler(jobstores=stores, executors={"default": ThreadPoolExecutor(64)}, timezone=UTC)
    options = {"misfire_grace_time": None, "coalesce": False, "max_instances": 100}
    scheduler.start(paused=True)
    if asked["shape"] == "every-second":
        for number in range(asked["jobs"]):
            job = f"job-{number}"
            scheduler.add_job(fire, "cron", second="*", args=[asked["port"], job, None], id=job, **options)
    else:
        for number, due in enumerate(dues(asked)):
            at, job = datetime.fromtimestamp(due, UTC), f"job-{number}"
            scheduler.add_job(fire, "date", run_date=at, args=[asked["port"], job, due], id=job, **options)
    print("ready", flush=True)
    scheduler.resume()
    threading.Event().wait(600)


if __name__ == "__main__":
    main()
