"""The application that Celery's worker and beat load: one task, and for recurring jobs a schedule of intervals."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import urllib3
from celery import Celery
from hook import AT_ONCE, headers

WORK = json.loads(Path(os.environ["BENCH_ASKED"]).read_text())
pool = urllib3.PoolManager(maxsize=AT_ONCE, block=True, retries=False)
# Whoever makes tasks and never asks for a result is spared from subscribing to each.
RESULTS = WORK["store"] if os.environ.get("BENCH_KEEPS_RESULTS") else None
app = Celery("bench", broker=WORK["store"], backend=RESULTS)
app.conf.update(timezone="UTC", broker_connection_retry_on_startup=True)


@app.task(name="fire", bind=True)
def fire(self, job: str, due: float | None) -> None:
    """Send the webhook. Beat keeps an interval: what it starts was due at no instant that anybody knows."""
    answer = pool.request("POST", WORK["url"], body=b"{}", headers=headers(job, due or time.time(), self.request.id))
    if answer.status >= 300:
        raise RuntimeError(f"the target answered {answer.status}")


if WORK["shape"] == "every-second":
    app.conf.beat_schedule = {
        f"job-{number}": {"task": "fire", "schedule": 1.0, "args": [f"job-{number}", None]}
        for number in range(WORK["jobs"])
    }
