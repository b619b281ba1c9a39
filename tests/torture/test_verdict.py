"""Each check of the verdict has a bad story that it does not believe; a good one passes all of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.torture.verdict import Evidence, survivors, violations
from tests.torture.witness import ACCEPTED, Arrival, Left, Witness

from chronos.model.execution import Attempt, AttemptStatus, Execution, Kind, RangeRecord, SkipReason, Status

T0 = 1_800_000_000


class Story:
    """Two instants of an `allow` job: the first ran twice around a kill, the second once; and one of `forbid`.

    And two of a `long` one: of the first nothing was heard, and it ran again; the second went on over the kill.
    """

    def __init__(self) -> None:
        self.arrivals = [
            arrival("a", 1, "allow-00", T0, at=0.1, until=0.2, status=0),
            arrival("a", 2, "allow-00", T0, at=2.0, until=2.1),
            arrival("b", 1, "allow-00", T0 + 1, at=1.1, until=1.2),
            arrival("c", 1, "forbid-00", T0, at=0.1, until=1.3),
            arrival("d", 1, "long-00", T0, at=0.1, until=0.2, status=ACCEPTED),
            reported(arrival("d", 2, "long-00", T0, at=3.5, until=3.6, status=ACCEPTED), at=4.0),
            reported(arrival("e", 1, "long-00", T0 + 1, at=1.1, until=1.2, status=ACCEPTED), at=2.4),
        ]
        self.repeated: list[tuple[str, int]] = []
        self.lives = [Left(T0 + 1.5, "anywhere", {"b": (1, "success")}, {("a", 1)}, frozenset({("d", 1), ("e", 1)}))]
        self.executions = [
            execution("a", "allow-00", T0, 2),
            execution("b", "allow-00", T0 + 1, 1),
            execution("c", "forbid-00", T0, 1),
            execution("d", "long-00", T0, 2),
            execution("e", "long-00", T0 + 1, 1),
        ]
        self.ranges = [
            RangeRecord("J", "default", T0 + 1, T0 + 1, 1, SkipReason.OVERLAP, job_name="forbid-00"),
        ]
        self.told = [{"id": "a", "status": "success", "attempt": 2, "attempts": [{"attempt": 1}, {"attempt": 2}]}]

    def evidence(self) -> Evidence:
        witness = Witness(Path("nowhere"))
        witness.arrivals, witness.repeated = sorted(self.arrivals, key=lambda each: each.at), self.repeated
        witness.by_sent = {(each.id, each.attempt): each for each in self.arrivals}
        return Evidence(witness, self.lives, self.executions, self.ranges, self.told, (T0, T0 + 1))

    def violations(self) -> list[str]:
        return violations(self.evidence())

    def sent(self, key: str, attempt: int) -> Arrival:
        return next(each for each in self.arrivals if (each.id, each.attempt) == (key, attempt))


def arrival(key: str, attempt: int, job: str, due: int, *, at: float, until: float, status: int = 200) -> Arrival:
    text = datetime.fromtimestamp(due, UTC).isoformat()
    return Arrival(T0 + at, job, key, attempt, text, status, T0 + until)


def reported(arrival: Arrival, *, at: float, result: str = "success", taken: int = 200) -> Arrival:
    arrival.result, arrival.said_at, arrival.taken, arrival.taken_at = result, T0 + at, taken, T0 + at
    return arrival


def execution(key: str, job: str, due: int, attempts: int, status: Status = Status.SUCCESS) -> Execution:
    tried = tuple(Attempt(0, n + 1, "n", "0.0.0", 0, status=AttemptStatus.SUCCESS) for n in range(attempts))
    return Execution(
        key, "J", job, "default", Kind.SCHEDULE, str(due), due, due * 10**6, 1, 5, 0, status=status, attempts=tried
    )


def ended_and_sent_again(story: Story) -> None:
    story.lives[0].ended["a"] = (1, "success")


def an_attempt_twice(story: Story) -> None:
    story.repeated.append(("b", 1))


def a_second_attempt_for_nothing(story: Story) -> None:
    story.lives[0].in_flight.clear()


def attempts_backwards(story: Story) -> None:
    story.arrivals[0].at, story.arrivals[1].at = story.arrivals[1].at, story.arrivals[0].at


def a_number_left_out(story: Story) -> None:
    story.arrivals[1].attempt = 3


def in_flight_and_forgotten(story: Story) -> None:
    story.lives[0].in_flight.add(("c", 2))


def an_instant_without_record(story: Story) -> None:
    story.ranges.clear()


def an_instant_with_two_records(story: Story) -> None:
    story.ranges *= 2


def due_and_not_sent(story: Story) -> None:
    del story.arrivals[2]


def one_instant_under_two_ids(story: Story) -> None:
    story.arrivals.append(arrival("x", 1, "allow-00", T0, at=0.3, until=0.4))


def skipped_and_sent(story: Story) -> None:
    story.executions[2] = execution("c", "forbid-00", T0, 0, Status.SKIPPED)


def success_that_was_refused(story: Story) -> None:
    story.arrivals[2].status = 503


def still_open(story: Story) -> None:
    story.executions[2] = execution("c", "forbid-00", T0, 1, Status.PENDING)


def unknown_to_history(story: Story) -> None:
    story.arrivals.append(arrival("x", 1, "allow-00", T0 + 9, at=9.3, until=9.4))


def told_otherwise(story: Story) -> None:
    story.told[0]["status"] = "failed"


def two_at_once(story: Story) -> None:
    story.arrivals.append(arrival("c", 2, "forbid-00", T0, at=0.5, until=0.6))


def given_up_too_early(story: Story) -> None:
    story.sent("d", 2).at -= 1.5


def asked_again_over_a_kill(story: Story) -> None:
    story.arrivals.append(reported(arrival("e", 2, "long-00", T0 + 1, at=2.0, until=2.1, status=ACCEPTED), at=3.0))


def a_success_nobody_reported(story: Story) -> None:
    reported(story.sent("e", 1), at=0, result="", taken=0)


def a_success_that_was_reported_a_failure(story: Story) -> None:
    story.sent("e", 1).result = "failure"


def a_report_that_was_forgotten(story: Story) -> None:
    story.executions[-1] = execution("e", "long-00", T0 + 1, 1, Status.CANCELLED)


def a_report_refused_for_nothing(story: Story) -> None:
    story.sent("e", 1).taken = 409


def a_report_refused_as_forged(story: Story) -> None:
    story.sent("e", 1).taken = 403


def two_at_once_of_long_work(story: Story) -> None:
    for each in story.arrivals:
        each.job = each.job.replace("long", "hold")
    story.executions[-2:] = [replace(execution, job_name="hold-00") for execution in story.executions[-2:]]
    story.sent("e", 1).said_at = T0 + 3.9


def hold_that_failed(*, said: float, again: float) -> Story:
    """Return the story of work that reports its failure, and is tried again before anybody has answered that."""
    story = Story()
    first = reported(arrival("f", 1, "hold-00", T0, at=0.1, until=0.2, status=ACCEPTED), at=said, result="failure")
    first.taken_at = T0 + again + 1
    second = reported(arrival("f", 2, "hold-00", T0, at=again, until=again + 0.1, status=ACCEPTED), at=again + 0.5)
    story.arrivals += [first, second]
    story.executions.append(execution("f", "hold-00", T0, 2))
    story.ranges.append(RangeRecord("J", "default", T0 + 1, T0 + 1, 1, SkipReason.OVERLAP, job_name="hold-00"))
    return story


def test_a_failure_that_a_dying_server_heard_and_never_answered_is_the_end_of_its_attempt() -> None:
    assert hold_that_failed(said=1.0, again=1.6).violations() == []


def test_work_that_was_silent_for_too_long_may_be_asked_for_again_while_it_goes_on() -> None:
    assert hold_that_failed(said=5.0, again=3.5).violations() == []


def test_work_that_was_not_silent_for_long_enough_may_not() -> None:
    found = hold_that_failed(said=5.0, again=2.0).violations()
    assert any(each.startswith("overlapping runs") for each in found), found


def test_work_whose_server_died_before_it_was_accepted_may_be_asked_for_again_while_it_goes_on() -> None:
    story = hold_that_failed(said=3.0, again=2.0)
    story.sent("f", 1).status = 0
    story.lives[0].in_flight.add(("f", 1))
    assert story.violations() == []


def test_work_that_hung_up_for_no_death_may_not() -> None:
    story = hold_that_failed(said=3.0, again=2.0)
    story.sent("f", 1).status = 0
    assert any(each.startswith("overlapping runs") for each in story.violations()), story.violations()


def test_a_good_story_is_believed() -> None:
    assert Story().violations() == []


def test_what_went_on_over_a_kill_is_counted() -> None:
    story = Story()
    assert survivors(story.evidence()) == 1
    story.sent("e", 1).result = "failure"
    assert survivors(story.evidence()) == 0


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (ended_and_sent_again, "sent after its outcome was recorded"),
        (an_attempt_twice, "repeated without cause"),
        (a_second_attempt_for_nothing, "repeated without cause"),
        (attempts_backwards, "repeated without cause"),
        (a_number_left_out, "repeated without cause"),
        (in_flight_and_forgotten, "attempts with gaps"),
        (an_instant_without_record, "instants without one record"),
        (an_instant_with_two_records, "instants without one record"),
        (due_and_not_sent, "due and never sent"),
        (one_instant_under_two_ids, "due and never sent"),
        (skipped_and_sent, "history and target disagree"),
        (success_that_was_refused, "history and target disagree"),
        (still_open, "history and target disagree"),
        (unknown_to_history, "history and target disagree"),
        (told_otherwise, "api and disk disagree"),
        (two_at_once, "overlapping runs"),
        (given_up_too_early, "repeated without cause"),
        (asked_again_over_a_kill, "repeated without cause"),
        (a_success_nobody_reported, "history and target disagree"),
        (a_success_that_was_reported_a_failure, "history and target disagree"),
        (a_report_that_was_forgotten, "reported and forgotten"),
        (a_report_refused_for_nothing, "reported and forgotten"),
        (a_report_refused_as_forged, "reported and forgotten"),
        (two_at_once_of_long_work, "overlapping runs"),
    ],
)
def test_a_bad_story_is_not(spoil: Callable[[Story], None], complaint: str) -> None:
    story = Story()
    spoil(story)
    assert any(found.startswith(complaint) for found in story.violations()), story.violations()
