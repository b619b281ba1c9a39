"""How fast the machine was while it was measured: shared cores have half their speed for minutes, and are taken away.

A figure says little without it: the same load leaves half a core free on one day, and comes late on another.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

LOOPS, ROUNDS = 3, 200_000


TICKS = os.sysconf("SC_CLK_TCK")


class Cores(NamedTuple):
    """Seconds: in which they worked here, and in which they worked for others of the host though there was work."""

    busy: float
    stolen: float


class Look(NamedTuple):
    """The machine at one moment.

    Attributes:
        loop_ms: What a fixed loop takes, the best of a few.
        stolen_s: Seconds of its cores that others of the host have had so far; None where the system does not say.
    """

    at_s: float
    loop_ms: float
    stolen_s: float | None


def look() -> Look:
    """Return how fast the machine is now; takes some 20 ms of CPU."""
    return Look(time.monotonic(), round(min(_loop_ms() for _ in range(LOOPS)), 1), _stolen_s())


def between(before: Look, after: Look) -> dict[str, object]:
    """Return what a fixed loop took before and after, in ms, and which share of all cores others had, in percent."""
    told: dict[str, object] = {"loop_ms": [before.loop_ms, after.loop_ms]}
    if before.stolen_s is not None and after.stolen_s is not None and after.at_s > before.at_s:
        cores_s = (after.at_s - before.at_s) * (os.cpu_count() or 1)
        told["stolen_percent"] = round(100 * (after.stolen_s - before.stolen_s) / cores_s, 1)
    return told


def _loop_ms() -> float:
    began, total = time.perf_counter(), 0
    for number in range(ROUNDS):
        total += number & 7
    return (time.perf_counter() - began) * 1_000


def _stolen_s() -> float | None:
    used = cores_s()
    return None if used is None else used.stolen


def cores_s() -> Cores | None:
    """Return what all cores together have done so far; None where the system does not say."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()[1:9]
        user, nice, system, _, _, irq, softirq, stolen = (int(field) / TICKS for field in fields)
    except (OSError, ValueError):
        return None
    return Cores(user + nice + system + irq + softirq, stolen)
