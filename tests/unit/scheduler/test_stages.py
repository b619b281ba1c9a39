"""Where an execution's time goes is measured, once for each stage it has gone through."""

from __future__ import annotations

from typing import Any

from tests.unit.kept import Kept

from chronos.dispatch.port import Answer, Delivered, Done, NotSent
from chronos.model.execution import Attempt, Execution, Kind
from chronos.scheduler.stages import note_granted, note_settled
from chronos.telemetry import Telemetry

DUE_US = 1_700_000_000_000_000


def granted(decided_at_us: int, attempts: int = 1, **facts: Any) -> Execution:
    started = tuple(Attempt(0, n, "node#1", "0.1.1", DUE_US) for n in range(1, attempts + 1))
    return Execution(
        "occ_1", "J1", "nightly", "default", Kind.SCHEDULE, "", DUE_US // 1_000_000, DUE_US, 1, 5, decided_at_us,
        attempts=started, **facts,
    )  # fmt: skip


def a_telemetry() -> tuple[Telemetry, Kept]:
    telemetry, kept = Telemetry(), Kept()
    telemetry.add_sink(kept)
    return telemetry, kept


def test_a_claim_ahead_of_its_instant_was_decided_in_time_and_its_wait_counts_from_the_decision() -> None:
    telemetry, kept = a_telemetry()
    note_granted(telemetry, [granted(DUE_US - 250_000), granted(DUE_US + 40_000)], DUE_US + 50_000)
    assert kept.of("decision_lateness_seconds") == [0.0, 0.04]
    assert kept.of("start_grant_seconds") == [0.3, 0.01]


def test_a_retry_was_decided_long_ago_and_says_nothing_of_either() -> None:
    telemetry, kept = a_telemetry()
    note_granted(telemetry, [granted(DUE_US, attempts=2), granted(DUE_US, series=1)], DUE_US + 50_000)
    assert kept.seen == []


def test_an_answer_is_measured_from_the_start_and_its_outcome_from_the_answer() -> None:
    telemetry, kept = a_telemetry()
    done = Done("occ_1", 1, Delivered(Answer(200)), DUE_US, DUE_US + 20_000)
    note_settled(telemetry, [done], DUE_US + 25_000)
    assert kept.of("attempt_answer_seconds") == [0.02]
    assert kept.of("outcome_commit_seconds") == [0.005]


def test_what_was_never_sent_has_no_answer() -> None:
    telemetry, kept = a_telemetry()
    note_settled(telemetry, [Done("occ_1", 1, NotSent("capacity"), DUE_US, DUE_US)], DUE_US + 25_000)
    assert kept.seen == []
