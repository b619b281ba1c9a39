"""Clusters of whole servers on many seeds: every promise is kept, whatever goes wrong.

`make test` runs a sample of the seeds; `make proof` (CHRONOS_PROOF=1), which CI runs too, all 300 of three nodes.
A failing seed prints the command that replays it. With CHRONOS_KEEP=FOLDER its history and timeline are kept there.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from tests.dose import PROOF, dose

from chronos.model.events import EventType
from chronos.testing.simulate import command_of, told
from chronos.testing.simulation.cluster.kept import write_history
from chronos.testing.simulation.cluster.run import simulate_cluster
from chronos.testing.simulation.cluster.world import ClusterWorld
from chronos.testing.simulation.evidence import Arrival
from chronos.testing.simulation.profile import CLUSTER_PROFILES, Fault, Profile
from chronos.testing.simulation.report import Report

SEEDS_A_TEST = 15 if PROOF else 3
MINUTES = 0.7
TOUR_MINUTES = 5.0
INCONCLUSIVE_MAX = 5
KEEP = Path(os.environ.get("CHRONOS_KEEP", Path(tempfile.gettempdir()) / "chronos-broken-runs"))

# Chunk n runs its profile's seeds n * SEEDS_A_TEST + 1 … (n + 1) * SEEDS_A_TEST: 300 of three nodes for the proof.
SHARES = {"standard": 8, "network": 4, "processes": 2, "pauses": 2, "churn": 1, "disks": 2, "clocks": 1}
CHUNKS = [(3, name, n) for name, count in SHARES.items() for n in dose(range(count), 1)]
CHUNKS += [(5, "standard", n) for n in dose(range(2), 1)]

FOUND = [
    # A right to send counts from the last time the log said that the node lives, not from when the node stood still.
    (3, 21, "standard"),
    # A node that had not heard of a job yet refused a write to it.
    (3, 6, "churn"),
]
"""(nodes, seed, profile) of runs that have found something once."""

_ALONE_ONLY = {"restore", "clock_back", "clock_ahead", "clock_far", "suspend", "disk_full", "targets_lie"}
_ALONE_ONLY |= {"fsync_eio", "fsync_eio_forever", "write_eio"}


def run(seed: int, profile: Profile, nodes: int = 3, minutes: float = MINUTES) -> tuple[ClusterWorld, Report]:
    world, report = simulate_cluster(seed, profile=profile, minutes=minutes, nodes=nodes)
    if report.violations:
        path = write_history(world, report, KEEP, command_of(report, minutes))
        pytest.fail(f"{told(report, minutes)}\nhistory: {path}", pytrace=False)
    return world, report


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("nodes", "profile", "chunk"), CHUNKS)
def test_every_promise_is_kept_on_every_seed(nodes: int, profile: str, chunk: int) -> None:
    seeds = range(chunk * SEEDS_A_TEST + 1, (chunk + 1) * SEEDS_A_TEST + 1)
    digests: set[str] = set()
    inconclusive = 0
    for seed in seeds:
        _, report = run(seed, CLUSTER_PROFILES[profile], nodes)
        assert report.delivered > 0
        digests.add(report.digest)
        inconclusive += report.inconclusive
    assert len(digests) == len(seeds), "another seed is another run"
    assert inconclusive <= INCONCLUSIVE_MAX, "a run with less than 80 % of its load proves nothing"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("nodes", "seed", "profile"), FOUND)
def test_what_a_seed_has_found_once_stays_mended(nodes: int, seed: int, profile: str) -> None:
    run(seed, CLUSTER_PROFILES[profile], nodes)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not PROOF, reason="long runs: `make proof` does them")
def test_every_fault_of_a_cluster_occurs() -> None:
    faults: Counter[str] = Counter()
    for seed in (1, 2):
        _, report = run(seed, CLUSTER_PROFILES["tour"], minutes=TOUR_MINUTES)
        faults.update(report.faults)
    assert set(faults) == {fault.value for fault in Fault} - _ALONE_ONLY


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("nodes", [3, 5])
def test_without_faults_every_execution_arrives_once_and_on_time_and_one_node_leads(nodes: int) -> None:
    for seed in dose(range(1, 7), 2):
        world, report = run(seed, CLUSTER_PROFILES["calm"], nodes)
        assert report.faults == {}
        arrivals = world.evidence.arrivals
        assert len({arrival.execution_id for arrival in arrivals}) == len(arrivals)
        open_still = {execution.id for execution in world.evidence.open_at_end}
        unsettled = [one for one in arrivals if one.execution_id in open_still]
        assert [one for one in unsettled if one.at < world.evidence.seconds - 1] == [], "all but what met the last stop"
        assert max(_late(arrival) for arrival in arrivals) < 1.0
        assert {arrival.token.split(".")[1] for arrival in arrivals} == {"1"}
        assert len({arrival.node for arrival in arrivals}) == nodes, "every node has a share"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_rolling_restart_loses_nothing_and_repeats_nothing() -> None:
    for seed in dose(range(1, 9), 2):
        world, report = run(seed, CLUSTER_PROFILES["rolling"])
        assert report.faults["rolling_restart"] >= 1
        arrivals = world.evidence.arrivals
        assert len({arrival.execution_id for arrival in arrivals}) == len(arrivals)
        assert max(_late(arrival) for arrival in arrivals) <= 3.0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_when_a_leader_is_killed_the_next_one_sends_within_three_seconds() -> None:
    for seed in dose(range(1, 9), 2):
        world, _ = run(seed, CLUSTER_PROFILES["kills"])
        leading = _leading(world)
        for trouble in world.evidence.troubles:
            before = [by for at, by in leading if at <= trouble.began]
            after = [at for at, by in leading if at > trouble.began]
            if before and before[-1] == trouble.facts["nodes"] and after:
                first = min(arrival.at for arrival in world.evidence.arrivals if arrival.at >= after[0])
                assert first - trouble.began <= 3.0, f"seed {seed}: {trouble}"


def _late(arrival: Arrival) -> float:
    return arrival.clock - max(arrival.scheduled_s, arrival.not_before_us / 1e6)


def _leading(world: ClusterWorld) -> list[tuple[float, str]]:
    return [
        (entry.at, event.by.partition("#")[0])
        for entry in world.evidence.entries
        for change in entry.changes
        for event in change.events
        if event.type is EventType.LEADER_CHANGED
    ]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_equal_seeds_of_a_cluster_are_equal_runs() -> None:
    for seed in dose(range(1, 7), 2):
        digests = {run(seed, CLUSTER_PROFILES["standard"])[1].digest for _ in range(2)}
        assert len(digests) == 1


def test_what_a_broken_run_keeps_tells_what_happened_and_how_to_replay_it(tmp_path: Path) -> None:
    world, report = run(3, CLUSTER_PROFILES["kills"])
    path = write_history(world, report, tmp_path, "the command")
    lines = path.read_text().splitlines()
    assert lines[0].startswith('{"replay":"the command"')
    assert sum('"what":"arrival"' in line for line in lines) == report.delivered
    drawing = path.with_suffix(".svg").read_text()
    assert drawing.startswith("<svg")
    assert "kill" in drawing
