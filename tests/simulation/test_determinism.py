"""Equal seeds are equal runs: in another process, with other hashes, another zone, another language."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tests.dose import PROOF

from chronos.testing.simulation.profile import PROFILES
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


def run_elsewhere(seed: int, profile: str, **environment: str) -> dict[str, object]:
    arguments = ["--seed", str(seed), "--minutes", str(MINUTES), "--profile", profile, "--json"]
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
    there = run_elsewhere(seed, profile, PYTHONHASHSEED=str(seed), TZ="Pacific/Apia", LANG="tr_TR.UTF-8", LC_ALL="C")
    assert there["digest"] == here.digest
    assert there["violations"] == []
    assert there["planned"] == here.planned
    assert there["delivered"] == here.delivered
    assert there["virtual_seconds"] == here.virtual_seconds


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_second_run_in_one_process_comes_to_the_same_digest() -> None:
    first, second = (simulate(7, profile=PROFILES["standard"], minutes=1.0).digest for _ in range(2))
    assert first == second
