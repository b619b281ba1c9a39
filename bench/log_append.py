"""What an append to the log costs: entries of 1, 100 and 1,000 commands of 300 bytes, fsynced one after the other.

Prints one JSON object. `python bench/log_append.py [entries]`
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from chronos.cluster.local import LocalLog

COMMAND_BYTES = 300


async def measure(entries: int, commands: int) -> dict[str, float]:
    data = bytes(COMMAND_BYTES * commands)
    waits: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        async with LocalLog(Path(folder)) as log:
            epoch = await log.campaign()
            cpu, began = cpu_s(), time.perf_counter()
            for index in range(1, entries + 1):
                start = time.perf_counter()
                await log.append(index, data, epoch)
                waits.append(time.perf_counter() - start)
            wall, used = time.perf_counter() - began, cpu_s() - cpu
    waits.sort()
    return {
        "commands_per_s": round(entries * commands / wall),
        "p50_ms": round(waits[len(waits) // 2] * 1_000, 2),
        "p99_ms": round(waits[len(waits) * 99 // 100] * 1_000, 2),
        "cpu_us_per_command": round(used / entries / commands * 1e6, 2),
    }


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def main(entries: int) -> None:
    sizes = {str(commands): await measure(entries, commands) for commands in (1, 100, 1_000)}
    print(json.dumps({"bench": "log_append", "entries": entries, "by_commands_per_entry": sizes}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300))
