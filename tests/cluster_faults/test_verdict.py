"""The judge sees every mistake: each is planted into a good story, and has to be found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_faults.evidence import Book, Evidence, Fault, Record, Skipped, Try
from tests.cluster_faults.keeping import picture
from tests.cluster_faults.verdict import duplicates, matched, violations
from tests.torture.witness import Arrival

T0 = 1_800_000_000
"""The first instant that is judged; it can be divided by all that jobs are due by."""
KILL = Fault("killed", ("n1",), T0 + 4.5, T0 + 8.0)
NODES = ("n1", "n2", "n3")


def stamp(instant: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(instant, UTC).isoformat()


class Story:
    """Ten seconds of three jobs on three nodes, of which n1 leads until it is killed, with a run under way."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.records: dict[str, Record] = {}
        self.ranges = [Skipped("forbid-00", T0 + 3, T0 + 4, "overlap")]
        self.wrong: dict[str, list[str]] = {node: [] for node in NODES}
        self.words: dict[str, dict[str, str]] = {node: {} for node in NODES}
        self.repeated: list[tuple[str, int]] = []
        self.stalls: list[tuple[float, float]] = []
        self.faults = [KILL]
        for second in range(10):
            term, index = (1, 10 + second) if second < 5 else (2, 20 + second)
            late = 0.01 if second < 5 or second > 6 else 7.2 - second
            self.run("each-00", T0 + second, late, term, index)
            if second % 2 == 0:
                self.run("even-00", T0 + second, late, term, index)
            if second not in (3, 4):
                self.run("forbid-00", T0 + second, late, term, index)
        cut_off = self.at("each-00", T0 + 4)
        cut_off.status, cut_off.until = 0, T0 + 4.5
        self.again("each-00", T0 + 4, at=T0 + 7.5, token=(0, 2, 24))

    def run(self, job: str, instant: int, late: float, term: int, index: int) -> None:
        """Let a job run at an instant as it should."""
        key, token = f"{job}@{instant - T0}", (0, term, index)
        at = instant + late
        self.arrivals.append(Arrival(at, job, key, 1, stamp(instant), 200, at + 0.05, token=dotted(token)))
        node = "n1" if term == 1 else "n2"
        self.records[key] = Record(key, job, instant, "success", (Try(1, node, token, "success"),))

    def again(self, job: str, instant: int, *, at: float, token: tuple[int, ...]) -> None:
        """Let an execution of which nobody knows what became be tried a second time."""
        key = f"{job}@{instant - T0}"
        record = self.records[key]
        first = record.tries[0]._replace(status="unknown")
        self.records[key] = record._replace(tries=(first, Try(2, "n2", token, "success")))
        self.arrivals.append(Arrival(at, job, key, 2, stamp(instant), 200, at + 0.05, token=dotted(token)))

    def drop(self, job: str, instant: int) -> None:
        """Let an instant of a job be skipped because another run of it goes on."""
        self.arrivals.remove(self.at(job, instant))
        del self.records[f"{job}@{instant - T0}"]
        self.ranges.append(Skipped(job, instant, instant, "overlap"))

    def at(self, job: str, instant: int, attempt: int = 1) -> Arrival:
        return next(
            each for each in self.arrivals if (each.job, each.due, each.attempt) == (job, stamp(instant), attempt)
        )

    def change(self, key: str, **fields: Any) -> None:
        self.records[key] = self.records[key]._replace(**fields)

    def evidence(self) -> Evidence:
        data = {key: repr(record) for key, record in self.records.items()}
        books = {
            node: Book(list(self.records.values()), [], self.ranges, T0 + 9, self.wrong[node], data | self.words[node])
            for node in NODES
        }
        since = dict.fromkeys(("each-00", "even-00", "forbid-00"), 0)
        return Evidence(self.arrivals, self.repeated, self.stalls, self.faults, books, (T0, T0 + 9), since)

    def violations(self) -> list[str]:
        return violations(self.evidence())


def dotted(token: tuple[int, ...]) -> str:
    return ".".join(map(str, token))


def never_sent(story: Story) -> None:
    story.arrivals.remove(story.at("each-00", T0 + 2))


def sent_too_late(story: Story) -> None:
    story.at("each-00", T0 + 1).at += 3.0


def sent_too_late_after_a_fault(story: Story) -> None:
    story.at("each-00", T0 + 5).at += 8.0


def sent_too_late_after_the_fault_is_forgotten(story: Story) -> None:
    story.faults = [KILL._replace(began=T0 - 60.0, healed=T0 - 50.0)]


def sent_before_its_time(story: Story) -> None:
    story.at("each-00", T0 + 2).at -= 0.5


def another_instant_than_it_was_for(story: Story) -> None:
    story.at("each-00", T0 + 1).due = stamp(T0 + 2)


def at_an_instant_nobody_planned(story: Story) -> None:
    story.run("even-00", T0 + 1, 0.01, 1, 11)


def under_two_ids(story: Story) -> None:
    run = story.at("each-00", T0 + 2)
    story.arrivals.append(replace(run, id="another", at=run.at + 0.2))


def twice_without_a_fault(story: Story) -> None:
    story.again("each-00", T0 + 1, at=T0 + 1.5, token=(0, 1, 19))


def twice_of_a_node_that_had_no_fault(story: Story) -> None:
    attempt, again = story.records["each-00@4"].tries
    story.change("each-00@4", tries=(attempt._replace(node="n3"), again))


def twice_although_the_first_was_known_to_have_arrived(story: Story) -> None:
    attempt, again = story.records["each-00@4"].tries
    story.change("each-00@4", tries=(attempt._replace(status="success"), again))


def one_attempt_twice(story: Story) -> None:
    story.repeated.append(("each-00@2", 1))


def two_at_once(story: Story) -> None:
    story.at("forbid-00", T0 + 1).until = T0 + 2.5


def goes_on_until(story: Story, at: float, *, node: str = "n1", began: float = T0 + 3.5) -> None:
    """Let the run of `forbid-00` at T0 + 2 come when a fault begins, be given up, and go on at the target."""
    story.ranges.clear()
    story.run("forbid-00", T0 + 3, 0.01, 1, 13)
    story.run("forbid-00", T0 + 4, 3.2, 2, 24)
    run = story.at("forbid-00", T0 + 2)
    run.until = at
    given_up = Try(1, node, (0, 1, 12), "unknown")
    again = Try(2, "n2", (0, 2, 23), "success")
    story.change("forbid-00@2", tries=(given_up, again))
    story.faults = [Fault("killed", ("n1",), began, T0 + 8.0)]
    story.arrivals.append(
        Arrival(T0 + 6.5, "forbid-00", "forbid-00@2", 2, stamp(T0 + 2), 200, T0 + 6.55, token="0.2.23")
    )
    for second in (3, 5):
        story.drop("forbid-00", T0 + second)


def given_up_too_soon(story: Story) -> None:
    goes_on_until(story, T0 + 7.0)
    story.at("forbid-00", T0 + 2, 2).at = T0 + 5.5


def given_up_by_a_node_without_a_fault(story: Story) -> None:
    goes_on_until(story, T0 + 7.0, node="n3")


def given_up_although_it_had_answered(story: Story) -> None:
    goes_on_until(story, T0 + 7.0)
    story.at("forbid-00", T0 + 2).status = 503


def at_once_before_the_target_stood_still(story: Story) -> None:
    two_at_once(story)
    story.stalls.append((T0 + 2.1, T0 + 2.6))


def sent_late(story: Story, *, pauses: bool, late_s: float = 1.0, status: str = "unknown") -> None:
    """Let n1 go on at T0 + 6 and send what others have taken over, while another run of the job goes on."""
    story.faults = [Fault("paused", ("n1",), T0 + 2.5, T0 + 6.0, pauses=pauses)]
    rightful = story.at("forbid-00", T0 + 5)
    rightful.at, rightful.until = T0 + 6.5, T0 + 9.9
    for second in (6, 7, 8, 9):
        story.drop("forbid-00", T0 + second)
    late = Try(1, "n1", (0, 1, 12), status)
    story.change("forbid-00@2", tries=(late, Try(2, "n2", (0, 2, 23), "success")))
    run = story.at("forbid-00", T0 + 2)
    story.arrivals.append(replace(run, attempt=2, at=T0 + 6.3, until=T0 + 6.4, token="0.2.23"))
    run.at, run.until, run.status = T0 + 6.0 + late_s, T0 + 6.05 + late_s, 0


def sent_late_by_a_node_that_had_not_stood_still(story: Story) -> None:
    sent_late(story, pauses=False)


def sent_late_long_after_its_node_went_on(story: Story) -> None:
    sent_late(story, pauses=True, late_s=2.5)


def sent_at_its_time_by_a_node_that_had_stood_still(story: Story) -> None:
    sent_late(story, pauses=True, status="success")


def a_token_that_goes_back(story: Story) -> None:
    attempt, again = story.records["each-00@4"].tries
    story.change("each-00@4", tries=(attempt, again._replace(token=(0, 1, 3))))
    story.at("each-00", T0 + 4, 2).token = "0.1.3"


def another_token_than_was_granted(story: Story) -> None:
    story.at("each-00", T0 + 8).token = "0.2.1"


def an_old_term_long_after_a_new_one(story: Story) -> None:
    story.at("each-00", T0 + 1).token = "0.2.11"
    story.change("each-00@1", tries=(Try(1, "n1", (0, 2, 11), "success"),))
    story.at("each-00", T0 + 8).token = "0.1.28"
    story.change("each-00@8", tries=(Try(1, "n2", (0, 1, 28), "success"),))


def an_instant_without_a_record(story: Story) -> None:
    del story.records["each-00@2"]


def an_instant_with_a_record_and_a_range(story: Story) -> None:
    story.ranges.append(Skipped("forbid-00", T0 + 5, T0 + 5, "overlap"))


def a_success_the_target_refused(story: Story) -> None:
    story.at("each-00", T0 + 2).status = 503


def skipped_and_sent(story: Story) -> None:
    story.change("forbid-00@2", status="skipped")


def skipped_for_no_reason(story: Story) -> None:
    story.ranges[0] = story.ranges[0]._replace(reason="misfire")
    story.faults = [KILL._replace(began=T0 + 30.0, healed=T0 + 31.0)]


def given_up(story: Story) -> None:
    story.change("each-00@2", status="failed")


def attempts_with_a_gap(story: Story) -> None:
    attempt, again = story.records["each-00@4"].tries
    story.change("each-00@4", tries=(attempt, again._replace(n=3)))
    story.at("each-00", T0 + 4, 2).attempt = 3


def nodes_that_know_different_things(story: Story) -> None:
    story.words["n3"]["each-00@2"] = "otherwise"


def an_export_that_does_not_verify(story: Story) -> None:
    story.wrong["n2"].append("a row was changed")


def test_a_good_story_is_believed() -> None:
    assert Story().violations() == []


def test_what_came_again_is_counted() -> None:
    assert duplicates(Story().evidence()) == 1


def test_while_the_machine_stood_still_nobody_is_late() -> None:
    story = Story()
    sent_too_late(story)
    story.stalls.append((T0 + 0.9, T0 + 3.9))
    assert story.violations() == []


def test_what_came_long_before_a_fault_and_went_on_until_then_may_come_again() -> None:
    story = Story()
    goes_on_until(story, T0 + 3.7, began=T0 + 3.6)
    assert story.violations() == []


def test_what_was_answered_long_enough_before_a_fault_may_not() -> None:
    story = Story()
    goes_on_until(story, T0 + 3.0, began=T0 + 3.6)
    [found] = story.violations()
    assert "attempt 1 at 1800000002.01 (unknown, by n1) was no fault's" in found


def test_a_machine_that_stood_still_for_a_moment_excuses_no_second_run() -> None:
    story = Story()
    twice_without_a_fault(story)
    story.stalls.append((T0 + 0.9, T0 + 1.5))
    assert story.violations()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (never_sent, "due and not in time"),
        (never_sent, "windows without a run"),
        (sent_too_late, "due and not in time"),
        (sent_too_late_after_a_fault, "due and not in time"),
        (sent_too_late_after_the_fault_is_forgotten, "due and not in time"),
        (sent_before_its_time, "runs nobody planned"),
        (another_instant_than_it_was_for, "due and not in time"),
        (at_an_instant_nobody_planned, "runs nobody planned"),
        (under_two_ids, "due and not in time"),
        (under_two_ids, "windows without a run"),
        (under_two_ids, "history and target disagree"),
        (twice_without_a_fault, "sent twice without cause"),
        (twice_of_a_node_that_had_no_fault, "sent twice without cause"),
        (twice_although_the_first_was_known_to_have_arrived, "sent twice without cause"),
        (one_attempt_twice, "sent twice without cause"),
        (two_at_once, "overlapping runs"),
        (given_up_too_soon, "overlapping runs"),
        (given_up_by_a_node_without_a_fault, "overlapping runs"),
        (given_up_although_it_had_answered, "overlapping runs"),
        (at_once_before_the_target_stood_still, "overlapping runs"),
        (sent_late_by_a_node_that_had_not_stood_still, "overlapping runs"),
        (sent_late_long_after_its_node_went_on, "overlapping runs"),
        (sent_at_its_time_by_a_node_that_had_stood_still, "overlapping runs"),
        (a_token_that_goes_back, "tokens going back"),
        (another_token_than_was_granted, "tokens going back"),
        (an_old_term_long_after_a_new_one, "tokens going back"),
        (an_instant_without_a_record, "instants without one record"),
        (an_instant_without_a_record, "history and target disagree"),
        (an_instant_with_a_record_and_a_range, "instants without one record"),
        (a_success_the_target_refused, "history and target disagree"),
        (skipped_and_sent, "history and target disagree"),
        (skipped_for_no_reason, "history and target disagree"),
        (given_up, "history and target disagree"),
        (attempts_with_a_gap, "history and target disagree"),
        (nodes_that_know_different_things, "nodes disagree"),
        (an_export_that_does_not_verify, "not verified"),
    ],
)
def test_a_bad_story_is_not(spoil: Callable[[Story], None], complaint: str) -> None:
    story = Story()
    spoil(story)
    assert any(found.startswith(complaint) for found in story.violations()), story.violations()


def overlaps(story: Story) -> list[str]:
    return [found for found in story.violations() if found.startswith("overlapping runs")]


def test_a_target_may_go_on_with_what_was_given_up_in_its_time() -> None:
    story = Story()
    goes_on_until(story, T0 + 6.9)
    assert overlaps(story) == []


def test_what_a_node_that_stood_still_sends_as_it_goes_on_is_nobody_s_fault() -> None:
    story = Story()
    sent_late(story, pauses=True)
    assert overlaps(story) == []


def test_of_what_came_while_the_target_stood_still_nobody_knows_the_order() -> None:
    story = Story()
    two_at_once(story)
    story.stalls.append((T0 + 1.9, T0 + 2.4))
    assert overlaps(story) == []


def test_an_attempt_that_came_twice_does_not_overlap_with_itself() -> None:
    story = Story()
    run = story.at("forbid-00", T0 + 1)
    story.arrivals.insert(0, replace(run, at=run.at - 0.005, until=float("inf"), status=0))
    story.repeated.append((run.id, 1))
    assert overlaps(story) == []


def test_no_other_way_of_dealing_out_runs_serves_more_windows() -> None:
    spans = [(0, 0.0, 2.0), (1, 1.0, 2.0), (2, 1.0, 4.0), (3, 3.0, 4.0)]
    for runs in product((0.5, 1.5, 2.5, 3.5), repeat=3):
        for count in range(1, len(spans) + 1):
            for windows in combinations(spans, count):
                empty, left = matched(windows, sorted(runs))
                best = most(windows, list(runs))
                assert (count - len(empty), len(runs) - left) == (best, best), (windows, runs)


def most(windows: tuple[tuple[int, float, float], ...], runs: list[float]) -> int:
    """Return how many windows can have a run of their own, by trying everything."""
    if not windows:
        return 0
    (_, opens, closes), *others = windows
    found = most(tuple(others), runs)
    for at, run in enumerate(runs):
        if opens <= run <= closes:
            found = max(found, 1 + most(tuple(others), runs[:at] + runs[at + 1 :]))
    return found


def test_the_picture_shows_the_faults_and_the_runs(tmp_path: Path) -> None:
    story = Story()
    drawn = picture(story.arrivals, story.faults, list(NODES))
    assert drawn.count("<circle") == len(story.arrivals)
    assert ">killed<" in drawn
    assert 'fill="none"' in drawn, "what came again is a ring"
