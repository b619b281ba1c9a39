"""Equal seeds are equal runs: in another process, with other hashes, another zone, another language."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tests.dose import PROOF

from chronos.testing.simulation.cluster.run import simulate_cluster
from chronos.testing.simulation.profile import CLUSTER_PROFILES, PROFILES
from chronos.testing.simulation.run import simulate

# Short runs may agree by luck: what differs between processes shows where much is under way at once, as in a stop.
MINUTES = 5.0 if PROOF else 2.0
SEEDS = {
    "standard": tuple(range(1, 9)) if PROOF else (1, 2),
    "disk": (4, 11, 12, 13) if PROOF else (4,),
    "clock": (5, 14, 15) if PROOF else (5,),
    "churn": (6, 16, 17) if PROOF else (6,),
    "targets": (18,) if PROOF else (),
    "tour": (19,) if PROOF else (),
}
OTHERWISE = {"TZ": "Pacific/Apia", "LANG": "tr_TR.UTF-8", "LC_ALL": "C"}
CLUSTER_MINUTES = 1.0 if PROOF else 0.7
CLUSTERS = [(3, "standard", 1), (3, "network", 2), (3, "processes", 3), (5, "standard", 4)][: 4 if PROOF else 1]
"""(nodes, profile, seed)."""


def run_elsewhere(seed: int, profile: str, minutes: float, *options: str, **environment: str) -> dict[str, object]:
    arguments = ["--seed", str(seed), "--minutes", str(minutes), "--profile", profile, "--json", *options]
    done = subprocess.run(
        [sys.executable, "-m", "chronos.testing.simulate", *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return report


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("profile", "seed"), [(name, seed) for name, seeds in SEEDS.items() for seed in seeds])
def test_another_process_comes_to_the_same_digest(profile: str, seed: int) -> None:
    here = simulate(seed, profile=PROFILES[profile], minutes=MINUTES)
    there = run_elsewhere(seed, profile, MINUTES, **OTHERWISE, PYTHONHASHSEED=str(seed))
    assert there["digest"] == here.digest
    assert there["violations"] == []
    assert there["planned"] == here.planned
    assert there["delivered"] == here.delivered
    assert there["virtual_seconds"] == here.virtual_seconds


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("nodes", "profile", "seed"), CLUSTERS)
def test_another_process_comes_to_the_same_digest_of_a_cluster(nodes: int, profile: str, seed: int) -> None:
    _, here = simulate_cluster(seed, profile=CLUSTER_PROFILES[profile], minutes=CLUSTER_MINUTES, nodes=nodes)
    there = run_elsewhere(seed, profile, CLUSTER_MINUTES, "--nodes", str(nodes), **OTHERWISE, PYTHONHASHSEED=str(seed))
    assert there["digest"] == here.digest
    assert there["violations"] == []
    assert there["delivered"] == here.delivered


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_second_run_in_one_process_comes_to_the_same_digest() -> None:
    first, second = (simulate(7, profile=PROFILES["standard"], minutes=1.0).digest for _ in range(2))
    assert first == second
