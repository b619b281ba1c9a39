"""How quiet the machine was: what others used of it meanwhile, and how long its disk took before."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from bench.pace import TICKS, cores_s
from bench.rig import children

FSYNCS = 21
BLOCK = b"x" * 4_096


class Busy(NamedTuple):
    """Seconds of CPU used until now, by everybody and by this process with all below it and beside it."""

    at: float
    everybody_s: float
    own_s: float


def busy(beside: list[int]) -> Busy | None:
    """Return what was used so far, `beside` being processes that belong to the run; None where there is no /proc."""
    cores = cores_s()
    if cores is None:
        return None
    pids = {one for pid in (os.getpid(), *beside) for one in (pid, *children(pid))}
    return Busy(time.time(), cores.busy, sum(map(used_s, pids)))


def others_cores(before: Busy | None, after: Busy | None) -> float | None:
    """Return how many cores others had in use between two looks; None where that is not known."""
    if before is None or after is None or after.at <= before.at:
        return None
    others = (after.everybody_s - before.everybody_s) - (after.own_s - before.own_s)
    return round(max(0.0, others) / (after.at - before.at), 2)


def used_s(pid: int) -> float:
    """Return the seconds of CPU of a process and of its children that have ended; 0 when it has ended itself."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS


def fsync_ms(folder: Path) -> float:
    """Return the median of what appending a block and fsyncing it takes."""
    took = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(FSYNCS):
            file.write(BLOCK)
            begun = time.perf_counter()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - begun) * 1_000)
    return round(sorted(took)[FSYNCS // 2], 2)
