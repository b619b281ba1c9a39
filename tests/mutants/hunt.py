"""Run one seed after the other until a promise breaks, and say which; in one process, so that many seeds cost little.

    python -m tests.mutants.hunt 200 NODES [PROFILE …]                  prints the run and what it breaks, or nothing
    python -m tests.mutants.hunt near SEED PROFILE MINUTES NODES RULE…  tries that run first, and a few like it

`discover` starts this with a copy of src/ in which a bug is planted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence

from tests.mutants.bank import Run

from chronos.testing.simulation.cluster.run import simulate_cluster
from chronos.testing.simulation.profile import CLUSTER_PROFILES
from chronos.testing.simulation.profile import PROFILES as KINDS
from chronos.testing.simulation.report import Report
from chronos.testing.simulation.run import simulate

PROFILES = ("standard", "disk", "clock", "churn", "targets", "tour")
CLUSTERS = ("standard", "network", "processes", "pauses", "churn", "disks", "clocks")
CLUSTER_MINUTES = (0.7,)
MINUTES = (2.0, 5.0)
"""Short runs first: what is found is replayed in every build."""

COST_MAX = 60_000
"""A replay's bound, in steps of the loop and what judging takes besides: about four seconds of one core with its start.
A cost, and not a time, because it is the same on every machine, however busy."""

INSTANTS_A_STEP = 5
"""How many planned instants are judged in the time of one step: a clock that is believed wrongly owes millions."""

NEAR = 8
"""How many more runs are tried when the recorded one finds nothing."""


def main() -> int:
    """Hunt, and return 1 when something was found."""
    if sys.argv[1] == "near":
        seed, profile, minutes, nodes, *wanted = sys.argv[2:]
        recorded = Run(int(seed), profile, float(minutes), int(nodes))
        return hunt(near(recorded), set(wanted))
    most, nodes, *profiles = sys.argv[1:]
    return hunt(runs(int(most), int(nodes), profiles), set())


def report_of_run(run: Run) -> Report:
    """Run it, and return what came of it."""
    if run.nodes == 1:
        return simulate(run.seed, profile=KINDS[run.profile], minutes=run.minutes)
    profile = CLUSTER_PROFILES[run.profile]
    return simulate_cluster(run.seed, profile=profile, minutes=run.minutes, nodes=run.nodes)[1]


def hunt(tried: Iterator[Run], wanted: set[str]) -> int:
    """Print the first run that breaks one of the promises `wanted`, or any, and return 1; 0 when none does.

    A run that finds something and costs too much is passed over.
    """
    for run in tried:
        report = report_of_run(run)
        rules = sorted({violation.rule for violation in report.violations})
        cost = report.steps + report.planned // INSTANTS_A_STEP
        if cost <= COST_MAX and (wanted & set(rules) if wanted else rules):
            found = {
                "seed": run.seed,
                "profile": run.profile,
                "minutes": run.minutes,
                "nodes": run.nodes,
                "rules": rules,
            }
            print(json.dumps(found | {"cost": cost}))
            return 1
    return 0


def near(recorded: Run) -> Iterator[Run]:
    """Yield the recorded run, and a few like it: whatever the product does otherwise than before shifts every run."""
    yield recorded
    for seed in range(1, NEAR + 1):
        yield Run(recorded.seed + seed, recorded.profile, recorded.minutes, recorded.nodes)


def runs(most: int, nodes: int, profiles: Sequence[str]) -> Iterator[Run]:
    """Yield about `most` runs to try, each profile in turn."""
    profiles = profiles or (PROFILES if nodes == 1 else CLUSTERS)
    lengths = MINUTES if nodes == 1 else CLUSTER_MINUTES
    each = max(1, most // (len(lengths) * len(profiles)))
    for minutes in lengths:
        for seed in range(1, each + 1):
            yield from (Run(seed, profile, minutes, nodes) for profile in profiles)


if __name__ == "__main__":
    sys.exit(main())
