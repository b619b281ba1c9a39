"""Measure the same work on other schedulers: webhooks due at known instants, judged by the same sink.

    python bench/peers [--json] [--only PEER] [--shape spread|burst|every-second] [--jobs N] [--seconds S]

Chronos is one of them. `spread`: one-off jobs, each at a random moment of its second; `burst`: one-off jobs that are
all due at one instant; `every-second`: jobs that recur on each second. Prints a table and, last, one JSON object.

Each peer gets what it needs in a folder of a cache (--cache), from the package registries that are set up here, and its
server anew for each run. One whose server or runtime is missing has a row that says so. Not run by CI.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from bench.__main__ import table
from bench.peers.catalogue import PEERS, lacking
from bench.peers.figures import Work, text_rows
from bench.peers.installs import cache
from bench.peers.run import row_of
from bench.report import machine, parser, versions

SHAPES = ("spread", "burst", "every-second")


def main(arguments: Sequence[str]) -> int:
    """Measure one peer after the other; return 0 when each was measured or could not be."""
    line = parser(__doc__)
    line.add_argument("--only", choices=list(PEERS), action="append", help="repeatable; default: all of them")
    line.add_argument("--shape", choices=SHAPES, default="spread")
    line.add_argument("--jobs", type=int, default=1_000)
    line.add_argument("--seconds", type=int, default=10, help="how long jobs are due; a burst lasts an instant")
    line.add_argument("--grace", type=float, default=10.0, help="seconds until what has not arrived is missing")
    line.add_argument("--cache", type=Path, default=cache(), help="where peers are installed; default: %(default)s")
    chosen = line.parse_args(arguments)
    if min(chosen.jobs, chosen.seconds) < 1 or chosen.grace < 0:
        line.error("--jobs and --seconds have to be at least 1, --grace at least 0")
    work = Work(chosen.shape, chosen.jobs, chosen.seconds)
    rows = [measured(name, work, chosen.cache, chosen.grace) for name in chosen.only or PEERS]
    if not chosen.json:
        lines, notes = text_rows(rows)
        print("\n".join([f"{work.shape}, {work.jobs} jobs, {work.seconds} s", table(lines), *notes]))
    print(msgspec.json.encode({"peers": rows, "machine": machine()}).decode(), flush=True)
    return 0


def measured(name: str, work: Work, cache: Path, grace_s: float) -> dict[str, Any]:
    """Return one peer's row."""
    peer = PEERS[name]
    about: dict[str, Any] = {
        "peer": name,
        "shape": work.shape,
        "jobs": work.jobs,
        "seconds": work.seconds,
        "setup": peer.setup,
        "survives": peer.survives,
        "recurring": peer.recurring,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    missing = lacking(peer, {program: shutil.which(program) for program in peer.needs})
    found: dict[str, Any] = {"not_run": missing} if missing else row_of(peer, work, cache, grace_s)
    if name == "chronos" and "versions" in found:
        found["versions"] = versions()
    return {**about, **found}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended, as after ^C
    sys.exit(main(sys.argv[1:]))
