"""What does it cost when the leader dies? kill -9 of the leader, its engine and its workers, again and again.

    python bench/cluster_failover.py [--kills N] [--rate N] [--restart-after S] [--every S] [--json]

Three real servers with their engines on this machine, and jobs that come to the rate. Each time whoever leads is
killed; it is started again while the others go on, and before the next. The target is the judge: the gap is from the
kill to the first arrival whose fencing token carries a new term. The figure is the longest gap.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.report import Report, parser, percentiles, tell
from bench.rig import spent
from bench.throughput import jobs_of
from bench.trio import SECOND_US, Fired, Records, Trio, fired, first_arrivals, missing, records, sent_twice, trio

WARM_UP_S = 4.0
SETTLE_S = 9.0
"""What a lost node held is sent by others when its right to send is over for sure, 5.2 s later."""
IN_FLIGHT_S = 0.25
GATE_S = 3.0
CLAIM_LEAD_S = 0.25
"""So long before it is due an attempt is given to a node."""


class Kill(NamedTuple):
    """One of them.

    Attributes:
        term: In which the killed one led.
    """

    at: float
    node: str
    term: int


async def measure(chosen: argparse.Namespace) -> Report:
    with tempfile.TemporaryDirectory(prefix="chronos-bench-") as name:
        async with trio(Path(name)) as world:
            await world.create(jobs_of("spread", chosen.rate, chosen.rate, world.sink.url, datetime.now(UTC)))
            await asyncio.sleep(WARM_UP_S)
            used = world.used()
            kills = [await _one(world, chosen) for _ in range(chosen.kills)]
            await asyncio.sleep(SETTLE_S)
            until = time.time() - SETTLE_S / 2
            cpu_s = spent(used, world.used())
        seen = fired(await world.sink.witnessed(), SECOND_US)
        return told(chosen, kills, seen, records(world.cluster), until, cpu_s)


async def _one(world: Trio, chosen: argparse.Namespace) -> Kill:
    """Kill the leader, start it again, and wait until all is well for a while."""
    await world.cluster.whole()
    leader, term = await world.cluster.leader()
    at = time.time()
    await leader.kill()
    await asyncio.sleep(chosen.restart_after)
    await leader.start()
    await world.cluster.whole()
    await asyncio.sleep(max(0.0, at + chosen.every - time.time()))
    return Kill(at, leader.name, term)


def told(
    chosen: argparse.Namespace,
    kills: Sequence[Kill],
    seen: Sequence[Fired],
    kept: Records,
    until: float,
    cpu_s: dict[str, float],
) -> Report:
    """Return the report."""
    gaps = [gap_s(kill, seen) for kill in kills]
    first = first_arrivals(seen)
    held = [one for one in first.values() if any(is_held(one, kill) for kill in kills)]
    in_gap = [
        one
        for one in first.values()
        if any(kill.at < one.due <= kill.at + gap for kill, gap in zip(kills, gaps, strict=True))
    ]
    others = [one for one in in_gap if one not in set(held)]
    twice = sent_twice(seen)
    beyond = [ones for ones in twice.values() if not any(_was_under_way(ones[0], kill) for kill in kills)]
    everybody = set.union(*kept.ended.values())
    return Report(
        bench="cluster_failover",
        figure=round(max(gaps), 3),
        unit="s",
        percentiles=percentiles(gaps),
        cpu_s=cpu_s,
        settings={name: value for name, value in vars(chosen).items() if name != "json"},
        details={
            "gaps_s": [round(gap, 3) for gap in gaps],
            "median_gap_s": round(median(gaps), 3),
            "due_in_the_gaps": len(in_gap),
            "late_in_the_gaps_s": _worst(others),
            "given_to_the_killed": len(held),
            "late_given_to_the_killed_s": _worst(held),
            "late_at_all_s": _worst(list(first.values())),
            "over_the_gate": sum(one.late_s > GATE_S for one in first.values()),
            "arrived": len(seen),
            "lost": missing(seen, until),
            "unrecorded": sum(one.execution not in everybody for one in first.values() if one.due < until),
            "recorded_twice": len(kept.twice),
            "histories_differ": sum(
                one.execution not in ended for ended in kept.ended.values() for one in first.values() if one.due < until
            ),
            "sent_twice": len(twice),
            "sent_twice_not_under_way_at_a_kill": len(beyond),
        },
        budget=GATE_S,
    )


def gap_s(kill: Kill, seen: Sequence[Fired]) -> float:
    """Return the seconds from a kill to the first arrival that a later term has granted."""
    return next((one.at - kill.at for one in seen if one.at > kill.at and one.term > kill.term), float("inf"))


def is_held(one: Fired, kill: Kill) -> bool:
    """Whether an execution may have been in the hands of the killed node: granted before, and sent by another later."""
    return kill.at - IN_FLIGHT_S < one.due <= kill.at + CLAIM_LEAD_S and one.term > kill.term


def _was_under_way(one: Fired, kill: Kill) -> bool:
    """Whether an execution that was sent by the killed one may not have been recorded."""
    return kill.at - IN_FLIGHT_S < one.at < kill.at + IN_FLIGHT_S


def _worst(seen: Sequence[Fired]) -> float:
    return round(max((one.late_s for one in seen), default=0.0), 3)


def main() -> int:
    line = parser(__doc__)
    line.add_argument("--kills", type=int, default=20)
    line.add_argument("--rate", type=int, default=200, help="executions a second that come due")
    line.add_argument("--restart-after", type=float, default=3.0, help="seconds until the killed one is started again")
    line.add_argument("--every", type=float, default=12.0, help="seconds from one kill to the next, at least")
    chosen = line.parse_args()
    return tell(asyncio.run(measure(chosen)), chosen)


if __name__ == "__main__":
    sys.exit(main())
