"""What does a kill -9 cost under load: which answers were forgotten, and what was sent twice?

    python bench/kill_under_load.py [--rate N] [--kill-after S] [--seconds S] [--jobs N] [--json]

Server and workers get SIGKILL together while executions run at the rate; then the server starts again on the same data
and goes on. The sink's own log is the judge: the figure counts executions that it answered more than 250 ms before the
kill and that are not recorded as a success (it has to be 0). What was sent twice must have been in flight at the kill.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import apsw
from bench.report import Report, parser, tell
from bench.rig import Rig, children, rig
from bench.sink import Arrival
from bench.throughput import WARM_UP_S, jobs_of, period_s

GRACE_S = 0.25
"""An outcome may take this long from the answer to the disk."""


async def measure(chosen: argparse.Namespace) -> Report:
    jobs = chosen.jobs or chosen.rate
    with tempfile.TemporaryDirectory() as folder:
        async with rig(Path(folder)) as world:
            await world.create(jobs_of("spread", jobs, chosen.rate, world.sink.url, datetime.now(UTC)))
            await asyncio.sleep(WARM_UP_S + chosen.kill_after)
            killed_at = time.time()
            await _kill(world)
            began = time.time()
            await world.node.start()
            ready_s = time.time() - began
            await asyncio.sleep(max(1, chosen.seconds - chosen.kill_after))
            await world.node.stop()
            arrivals = await world.sink.stop()
            succeeded = set(_succeeded(world.node.folder))
    return _told(chosen, arrivals, succeeded, killed_at, ready_s)


async def _kill(world: Rig) -> None:
    for pid in (world.server_pid, *children(world.server_pid)):
        os.kill(pid, signal.SIGKILL)
    await world.node.ended()


def _succeeded(folder: Path) -> Iterable[str]:
    """Yield the executions that history calls a success, from its files."""
    for path in sorted((folder / "history").glob("*.db")):
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        for (record_id,) in db.execute("SELECT id FROM records WHERE status = 'success'"):
            yield str(record_id)
        db.close()


def _told(
    chosen: argparse.Namespace, arrivals: list[Arrival], succeeded: set[str], killed_at: float, ready_s: float
) -> Report:
    first: dict[str, float] = {}
    twice: set[str] = set()
    for at, key, _, _ in arrivals:
        if key in first:
            twice.add(key)
        else:
            first[key] = at
    settled = [key for key, at in first.items() if at < killed_at - GRACE_S]
    began = killed_at - chosen.kill_after  # while the jobs were being created, the first of them ran already
    return Report(
        bench="kill_under_load",
        figure=sum(key not in succeeded for key in settled),
        unit="answers forgotten",
        settings={name: value for name, value in vars(chosen).items() if name != "json"},
        details={
            "answered_before": len(settled),
            "sent_twice": len(twice),
            "sent_twice_though_settled": sum(first[key] < killed_at - GRACE_S for key in twice),
            "rate_before": round(sum(at > began for at in first.values() if at < killed_at) / chosen.kill_after, 1),
            "ready_again_s": round(ready_s, 2),
            "period_s": period_s(chosen.jobs or chosen.rate, chosen.rate),
        },
        budget=0,
    )


def main() -> int:
    line = parser(__doc__)
    line.add_argument("--rate", type=int, default=500, help="executions a second that come due")
    line.add_argument("--kill-after", type=int, default=5, help="seconds of load before the kill")
    line.add_argument("--seconds", type=int, default=10, help="seconds of load in all")
    line.add_argument("--jobs", type=int, default=0, help="how many jobs make the rate; default: one for each a second")
    chosen = line.parse_args()
    return tell(asyncio.run(measure(chosen)), chosen)


if __name__ == "__main__":
    sys.exit(main())
