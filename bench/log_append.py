"""What an append to the log costs: entries of 1, 100 and 1,000 commands of 300 bytes, fsynced one after the other.

    python bench/log_append.py [--json] [--entries N]

The figure is the median wait for an entry of one command.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from bench.report import Report, cpu_s, parser, percentiles, tell

from chronos.cluster.local import LocalLog

COMMAND_BYTES = 300


async def waits_of(entries: int, commands: int) -> tuple[list[float], float]:
    """Return each append's wait in milliseconds, and the CPU of all of them in seconds."""
    data = bytes(COMMAND_BYTES * commands)
    waits: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        async with LocalLog(Path(folder)) as log:
            epoch = await log.campaign()
            cpu = cpu_s()
            for index in range(1, entries + 1):
                start = time.perf_counter()
                await log.append(index, data, epoch)
                waits.append((time.perf_counter() - start) * 1_000)
            return waits, cpu_s() - cpu


async def measure(entries: int) -> Report:
    by_size = {commands: await waits_of(entries, commands) for commands in (1, 100, 1_000)}
    spread = percentiles(by_size[1][0])
    return Report(
        bench="log_append",
        figure=spread["p50"],
        unit="ms",
        percentiles=spread,
        cpu_s={f"{commands} an entry": round(used, 3) for commands, (_, used) in by_size.items()},
        settings={"entries": entries, "command_bytes": COMMAND_BYTES},
        details={
            "by_commands_per_entry": {
                str(commands): {
                    "commands_per_s": round(entries * commands / (sum(waits) / 1_000)),
                    "cpu_us_per_command": round(used / entries / commands * 1e6, 2),
                    **{f"{name}_ms": value for name, value in percentiles(waits).items()},
                }
                for commands, (waits, used) in by_size.items()
            }
        },
    )


def main() -> int:
    line = parser(__doc__)
    line.add_argument("--entries", type=int, default=300)
    chosen = line.parse_args()
    return tell(asyncio.run(measure(chosen.entries)), chosen)


if __name__ == "__main__":
    sys.exit(main())
