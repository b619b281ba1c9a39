"""The server's log tells of failures, of everything when asked, and never floods."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs
from tests.unit.executions import an_execution

from chronos.model.events import Event, EventType
from chronos.model.execution import Attempt, AttemptStatus, RangeRecord, SkipReason, Status
from chronos.server.journal import LINES_MAX, SECOND_US, Journal, Wanted


def ended(status: Status, *, reason: str = "", time_us: int = 0, code: int = 200) -> Event:
    attempt = Attempt(0, 1, "n#1", "0.1.1", 0, 1_000, 4_000, AttemptStatus.SUCCESS, code)
    attempts = [] if status is Status.SKIPPED else [attempt]
    execution = an_execution("j", 1, status, id="occ_1", job_name="nightly", reason=reason, attempts=attempts)
    return Event(type=EventType.EXECUTION_FINISHED, index=1, seq=0, time_us=time_us, execution=execution)


def told(wanted: Wanted, *events: Event) -> list[str]:
    with capture_logs() as lines:
        Journal(wanted).on_events(events)
    return [line["event"] for line in lines]


SUCCESS, FAILURE = ended(Status.SUCCESS), ended(Status.FAILED, reason="exhausted", code=503)
MISSED = ended(Status.SKIPPED, reason="misfire")


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        ("all", ["execution_succeeded", "execution_failed", "execution_skipped"]),
        ("failures", ["execution_failed", "execution_skipped"]),
        ("none", []),
    ],
)
def test_what_is_told_is_what_was_asked_for(wanted: Wanted, lines: list[str]) -> None:
    assert told(wanted, SUCCESS, FAILURE, MISSED) == lines


def test_a_line_names_the_job_the_attempt_and_the_answer() -> None:
    with capture_logs() as lines:
        Journal("failures").on_events([FAILURE])

    assert lines[0]["job"] == "nightly"
    assert (lines[0]["attempt"], lines[0]["status_code"]) == (1, 503)
    assert lines[0]["log_level"] == "error"


def test_missed_instants_are_told_even_when_only_failures_are_wanted() -> None:
    skipped = RangeRecord("j", "default", 60, 120, 2, SkipReason.MISFIRE, job_name="nightly")
    event = Event(type=EventType.RANGE_SKIPPED, index=1, seq=0, time_us=0, range=skipped)

    assert told("failures", event) == ["instants_skipped"]


def test_a_burst_of_successes_does_not_crowd_out_the_failure() -> None:
    assert told("all", *[SUCCESS] * 1_000, FAILURE).count("execution_failed") == 1


def test_a_burst_is_cut_and_its_rest_counted_in_the_next_second() -> None:
    journal = Journal("all")
    with capture_logs() as lines:
        journal.on_events([SUCCESS] * 100)
        journal.on_events([ended(Status.SUCCESS, time_us=SECOND_US)])

    assert len(lines) == LINES_MAX + 2
    assert [line["count"] for line in lines if line["event"] == "lines_left_out"] == [100 - LINES_MAX]
