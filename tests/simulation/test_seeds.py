"""Whole servers on many seeds: every promise is kept, whatever goes wrong.

`make test` runs a sample of the seeds; `make proof` (CHRONOS_PROOF=1), which CI runs too, all of them.
A failing seed prints the command that replays it, line by line. See docs/explanation/simulation.md.
"""

from __future__ import annotations

from collections import Counter

import pytest
from tests.dose import PROOF

from chronos.model.execution import SkipReason
from chronos.testing.simulate import told
from chronos.testing.simulation.longwork import Turn
from chronos.testing.simulation.profile import PROFILES
from chronos.testing.simulation.run import simulate

SEEDS_A_TEST = 15 if PROOF else 3
MINUTES = 3.0
TOUR_MINUTES = 9.0
INCONCLUSIVE_MAX = 2

# Chunk n runs its profile's seeds n * SEEDS_A_TEST + 1 … (n + 1) * SEEDS_A_TEST: 300 in all for the proof.
CHUNKS = [(n, "standard") for n in range(12 if PROOF else 2)]
CHUNKS += [(n, name) for name in ("churn", "disk", "clock", "targets") for n in range(2 if PROOF else 1)]

FOUND = [
    # The line before a slow disk outlasts the fault by 8 s: what was due meanwhile is late for a reason.
    (65, "standard"),
]

# What one node cannot come to: there are no quotas and no target kinds that go away. Calendars, which black
# instants out, are tested against the brute-force evaluator of their own.
_NOT_HERE = {SkipReason.QUOTA, SkipReason.POLICY, SkipReason.NONEXISTENT_TARGET, SkipReason.BLACKOUT}
_STEPS = {
    "planned -> pending",
    "pending -> running",
    "pending -> skipped",
    "pending -> cancelled",
    "running -> success",
    "running -> failed",
    "running -> retrying",
    "running -> cancelled",
    "running -> pending",
    "retrying -> running",
    "retrying -> cancelled",
    "failed -> pending",
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("chunk", "profile"), CHUNKS)
def test_every_promise_is_kept_on_every_seed(chunk: int, profile: str) -> None:
    seeds = range(chunk * SEEDS_A_TEST + 1, (chunk + 1) * SEEDS_A_TEST + 1)
    digests: set[str] = set()
    inconclusive = 0
    for seed in seeds:
        report = simulate(seed, profile=PROFILES[profile], minutes=MINUTES)
        assert not report.violations, told(report, MINUTES)
        assert report.delivered > 0
        digests.add(report.digest)
        inconclusive += report.inconclusive
    assert len(digests) == len(seeds), "another seed is another run"
    assert inconclusive <= INCONCLUSIVE_MAX, "a run with less than 80 % of its load proves nothing"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("seed", "profile"), FOUND)
def test_what_a_seed_has_found_once_stays_mended(seed: int, profile: str) -> None:
    report = simulate(seed, profile=PROFILES[profile], minutes=MINUTES)
    assert not report.violations, told(report, MINUTES)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not PROOF, reason="six long runs: `make proof` does them")
def test_every_fault_reason_and_transition_occurs() -> None:
    faults: Counter[str] = Counter()
    skips: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    disk: Counter[str] = Counter()
    long_work: Counter[str] = Counter()
    for seed in range(1, 7):
        report = simulate(seed, profile=PROFILES["tour"], minutes=TOUR_MINUTES)
        assert not report.violations, told(report, TOUR_MINUTES)
        faults.update(report.faults)
        skips.update(report.skips)
        steps.update(report.transitions)
        disk.update(report.disk)
        long_work.update(report.long_work)
    assert set(faults) == {fault.value for fault in PROFILES["tour"].faults}
    assert set(skips) == {reason.value for reason in SkipReason if reason not in _NOT_HERE}
    assert _STEPS - set(steps) == set()
    assert set(long_work) == {turn.value for turn in Turn}
    assert set(disk) == {"disk_full", "fsync_eio", "write_eio"}, "each trouble has met a write"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_without_faults_every_execution_arrives_once_and_on_time() -> None:
    for seed in range(1, 9):
        report = simulate(seed, profile=PROFILES["calm"], minutes=MINUTES)
        assert not report.violations, told(report, MINUTES)
        assert report.faults == {}
        assert not report.inconclusive
        assert report.delivered == report.transitions["running -> success"]
