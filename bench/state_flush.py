"""What state and history cost an execution: begun and ended between two flushes, or still open at the flush.

    python bench/state_flush.py [--json] [--executions N]

The figure is the CPU of one execution that began and ended between two flushes, in microseconds.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from bench.report import Report, cpu_s, parser, tell
from msgspec.structs import replace

from chronos.model.execution import Execution, Kind, Status, execution_id
from chronos.store.port import Changes, Result
from chronos.store.sqlite import SqliteState
from chronos.store.tables import OPEN, SLOTS, Slots

BATCH = 2_500  # a quarter of a second at 10,000/s
JOBS = 10_000


def an_execution(number: int) -> Execution:
    job, instant = f"J{number % JOBS:025d}", 1_800_000_000 + number // JOBS
    return Execution(
        id=execution_id(job, Kind.SCHEDULE, str(instant), instant),
        job_id=job,
        job_name="a job",
        namespace="default",
        kind=Kind.SCHEDULE,
        discriminator=str(instant),
        scheduled_s=instant,
        effective_us=instant * 1_000_000,
        revision=1,
        priority=5,
        decided_at_us=instant * 1_000_000,
    )


def begin(execution: Execution) -> Changes:
    slots = Slots(waiting=(execution.id,), last_decided_s=execution.scheduled_s)
    return Changes(Result(), {(OPEN.name, execution.id): execution, (SLOTS.name, execution.job_id): slots})


def end(execution: Execution) -> Changes:
    slots = Slots(last_decided_s=execution.scheduled_s)
    ended = replace(execution, status=Status.SUCCESS, ended_at_us=execution.decided_at_us + 1)
    return Changes(Result(), {(OPEN.name, execution.id): None, (SLOTS.name, execution.job_id): slots}, ended=[ended])


async def measure(executions: int, *, open_at_flush: bool) -> dict[str, float]:
    commit = flush = 0.0
    with tempfile.TemporaryDirectory() as folder:
        state = SqliteState(Path(folder))
        await state.start()
        cpu = cpu_s()
        index = 0
        for first in range(0, executions, BATCH):
            batch = [an_execution(number) for number in range(first, first + BATCH)]
            for step in (begin, end):
                changes = [step(execution) for execution in batch]
                start = time.perf_counter()
                index += 1
                state.commit(changes, index, index)
                commit += time.perf_counter() - start
                if open_at_flush or step is end:
                    start = time.perf_counter()
                    await state.flush()
                    flush += time.perf_counter() - start
        used = cpu_s() - cpu
        await state.stop()
    return {
        "commit_us": round(commit / executions * 1e6, 2),
        "flush_us": round(flush / executions * 1e6, 2),
        "cpu_us": round(used / executions * 1e6, 2),
    }


async def report_on(executions: int) -> Report:
    between = await measure(executions, open_at_flush=False)
    across = await measure(executions, open_at_flush=True)
    return Report(
        bench="state_flush",
        figure=between["cpu_us"],
        unit="µs",
        cpu_s={"all": round(cpu_s(), 2)},
        settings={"executions": executions, "batch": BATCH, "jobs": JOBS},
        details={"ended_between_flushes": between, "open_at_flush": across},
    )


def main() -> int:
    line = parser(__doc__)
    line.add_argument("--executions", type=int, default=50_000)
    chosen = line.parse_args()
    return tell(asyncio.run(report_on(chosen.executions)), chosen)


if __name__ == "__main__":
    sys.exit(main())
