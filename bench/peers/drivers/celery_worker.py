"""Celery: a worker with threads and, for recurring jobs, beat; tasks with an ETA are made here; argv: what is asked."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from hook import AT_ONCE, asked, instant

PINGS = 60


def start(*arguments: str, **settings: str) -> None:
    """Start a part of Celery beside this process, whose group ends with it."""
    command = [sys.executable, "-m", "celery", "-A", "celery_app", *arguments, "--loglevel", "error"]
    subprocess.Popen(command, env=os.environ | settings, stdin=subprocess.DEVNULL, stdout=sys.stderr)


def main() -> None:
    work = asked()
    os.environ |= {"BENCH_ASKED": sys.argv[-1], "PYTHONPATH": str(Path(__file__).parent)}
    pool = ("--pool", "threads", "--concurrency", str(AT_ONCE))
    start("worker", *pool, "--without-gossip", "--without-mingle", BENCH_KEEPS_RESULTS="1")
    from celery_app import app, fire

    if not any(app.control.ping(timeout=1.0) for _ in range(PINGS)):
        sys.exit(f"the worker did not answer {PINGS} pings")
    if work["shape"] == "every-second":
        start("beat", "--schedule", str(Path(work["folder"]) / "beat"))
    else:
        for number, due in enumerate(work["dues"]):
            fire.apply_async((f"job-{number}", due), eta=instant(due))
    print("ready", flush=True)
    threading.Event().wait(600)


if __name__ == "__main__":
    main()
