from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.scheduler.harness import a_spec

from chronos.model.execution import Kind, RangeRecord, SkipReason, execution_id
from chronos.model.job import Job
from chronos.scheduler.plan import Plan
from chronos.scheduler.planner import CATCHUP_SPACING_US, Verdict, add_owed, owed, paused_range
from chronos.timing.calendar import CalendarRules, compile_calendar
from chronos.timing.schedule import parse_schedule

NOW = 1_798_804_800
S = 1_000_000
SCHEDULES = [
    "* * * * * *",
    "*/7 * * * * *",
    "* * * * *",
    "*/15 * * * *",
    "30 2 * * *",
    "0 9 * * mon",
    "@every 11s",
    "@every 1h",
    "@at 2027-01-01T11:59:00Z",
]


def a_plan(schedule: str = "* * * * * *", *, since_s: int = 0, schedules: list[str] | None = None, **spec: Any) -> Plan:
    whole = a_spec("nightly", schedule, **spec)
    if schedules:
        whole = replace(whole, schedule=None, schedules=schedules)
    job = Job(
        id="J1",
        spec=whole.normal(),
        revision=1,
        created_at_us=0,
        updated_at_us=0,
        owed_since_us=since_s * S,
        anchor_s=NOW - 100_000,
    )
    return Plan(job, lambda namespace, name: None)


def naive(plan: Plan, after_s: int, to_s: int, now_us: int) -> dict[int, str]:
    """Return what becomes of each instant, by looking at each."""
    job, now_s = plan.job, now_us // S
    instants, at = [], max(after_s, plan.since_us // S)
    while (found := plan.next_s(at)) is not None and found <= to_s:
        instants.append(found)
        at = found
    grace = plan.grace_s(min(now_s, to_s))
    fate: dict[int, str] = {}
    missed = []
    for instant in instants:
        if instant >= now_s - grace:
            fate[instant] = "run"
        elif instant <= now_s - plan.catchup_window_s:
            fate[instant] = "expired"
        else:
            missed.append(instant)
    policy = job.spec.missed_run_policy.value
    for place, instant in enumerate(missed):
        if policy == "ignore":
            fate[instant] = "misfire"
        elif policy == "execute_one":
            fate[instant] = "late" if place == len(missed) - 1 else "coalesced"
        else:
            fate[instant] = "late" if place < job.spec.max_catchup else "misfire"
    return fate


def told(plan: Plan, verdict: Verdict) -> dict[int, str]:
    fate: dict[int, str] = {}
    for one in verdict.occurrences:
        assert one.scheduled_s not in fate
        fate[one.scheduled_s] = "late" if one.late else "run"
    for record in verdict.ranges:
        inside, at = [], record.first_s - 1
        while (found := plan.next_s(at)) is not None and found <= record.last_s:
            inside.append(found)
            at = found
        assert len(inside) == record.count
        assert (inside[0], inside[-1]) == (record.first_s, record.last_s)
        for instant in inside:
            assert instant not in fate
            fate[instant] = record.reason.value
    return fate


@settings(max_examples=400, deadline=None)
@given(
    schedule=st.sampled_from(SCHEDULES),
    outage=st.integers(0, 20_000),
    ahead=st.integers(0, 1),
    since=st.integers(-20_000, 0),
    policy=st.sampled_from(["execute_one", "execute_all", "ignore"]),
    window=st.sampled_from(["10s", "5m", "2h", "24h"]),
    most=st.integers(1, 200),
    micros=st.integers(0, S - 1),
)
def test_what_is_owed_is_what_looking_at_each_instant_says(
    schedule: str, outage: int, ahead: int, since: int, policy: str, window: str, most: int, micros: int
) -> None:
    plan = a_plan(schedule, since_s=NOW + since, missed_run_policy=policy, catchup_window=window, max_catchup=most)
    now_us = NOW * S + micros
    after, to = NOW - outage, NOW + ahead
    verdict = owed(plan, after_s=after, to_s=to, now_us=now_us)
    assert told(plan, verdict) == naive(plan, after, to, now_us)
    assert len(verdict.occurrences) + sum(record.count for record in verdict.ranges) == plan.count_s(
        max(after, NOW + since), to
    )


@given(cut=st.integers(1, 3_599), policy=st.sampled_from(["execute_all", "ignore"]))
def test_two_spans_owe_what_the_whole_owes(cut: int, policy: str) -> None:
    plan = a_plan("*/7 * * * * *", missed_run_policy=policy, max_catchup=10_000)
    whole = told(plan, owed(plan, after_s=NOW - 3_600, to_s=NOW, now_us=NOW * S))
    first = told(plan, owed(plan, after_s=NOW - 3_600, to_s=NOW - cut, now_us=NOW * S))
    second = told(plan, owed(plan, after_s=NOW - cut, to_s=NOW, now_us=NOW * S))
    assert first | second == whole


def test_the_older_ones_say_which_run_took_their_place() -> None:
    plan = a_plan("0 * * * *")
    verdict = owed(plan, after_s=NOW - 10 * 3_600, to_s=NOW - 1_800, now_us=(NOW - 1_800) * S)
    [run], [record] = verdict.occurrences, verdict.ranges
    key = execution_id("J1", Kind.SCHEDULE, str(run.scheduled_s), run.scheduled_s)
    assert (record.reason, record.into, record.count) == (SkipReason.COALESCED, key, 8)
    assert run.late


def test_catch_up_runs_are_spread_a_second_apart_oldest_first() -> None:
    plan = a_plan("* * * * *", missed_run_policy="execute_all", max_catchup=5)
    late = [o for o in owed(plan, after_s=NOW - 3_600, to_s=NOW, now_us=NOW * S).occurrences if o.late]
    assert [o.effective_us - NOW * S for o in late] == [place * CATCHUP_SPACING_US for place in range(5)]
    assert [o.scheduled_s for o in late] == [NOW - 3_600 + 60 * n for n in range(1, 6)]


class Counting:
    """A schedule of every second that counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def next_s(self, after: int) -> int | None:
        self.calls += 1
        return after + 1

    def prev_s(self, before: int) -> int | None:
        self.calls += 1
        return before - 1

    def count_s(self, a: int, b: int) -> int:
        self.calls += 1
        return b - a

    def period_hint_s(self, at: int) -> int:
        return 1


@pytest.mark.parametrize("policy, runs", [("execute_one", 1), ("execute_all", 100), ("ignore", 0)])
def test_ten_years_of_missed_seconds_are_not_walked_through(policy: str, runs: int) -> None:
    plan = a_plan(missed_run_policy=policy)
    instants = Counting()
    plan._instants = instants
    decade = 10 * 366 * 86_400
    verdict = owed(plan, after_s=NOW - decade, to_s=NOW, now_us=NOW * S)
    assert len([o for o in verdict.occurrences if o.late]) == runs
    assert len(verdict.occurrences) + sum(record.count for record in verdict.ranges) == decade
    assert len(verdict.ranges) <= 3
    assert instants.calls < 150


def test_ten_real_years_of_seconds_are_counted_exactly() -> None:
    plan = a_plan("* * * * * *", timezone="Europe/Berlin")
    decade = 10 * 365 * 86_400
    verdict = owed(plan, after_s=NOW - decade, to_s=NOW, now_us=NOW * S)
    assert len(verdict.occurrences) + sum(record.count for record in verdict.ranges) == decade


def test_schedules_that_meet_at_an_instant_owe_it_once() -> None:
    plan = a_plan(schedules=["*/2 * * * * *", "*/3 * * * * *"])
    verdict = owed(plan, after_s=NOW, to_s=NOW + 12, now_us=NOW * S)
    assert [o.scheduled_s - NOW for o in verdict.occurrences] == [2, 3, 4, 6, 8, 9, 10, 12]


def test_jitter_never_passes_the_next_instant() -> None:
    plan = a_plan("*/5 * * * * *", jitter="1h")
    for one in owed(plan, after_s=NOW, to_s=NOW + 30, now_us=NOW * S).occurrences:
        assert 0 <= one.effective_us - one.scheduled_s * S < 5 * S


def test_nothing_is_owed_after_the_end_or_before_the_start() -> None:
    plan = a_plan(start_at="2027-01-01T12:00:03Z", end_at="2027-01-01T12:00:06Z")
    verdict = owed(plan, after_s=NOW - 10, to_s=NOW + 20, now_us=NOW * S)
    assert [o.scheduled_s - NOW for o in verdict.occurrences] == [3, 4, 5, 6]


def test_a_one_shot_that_came_late_runs_once() -> None:
    plan = a_plan("@at 2027-01-01T11:00:00Z")
    verdict = owed(plan, after_s=NOW - 7_200, to_s=NOW, now_us=NOW * S)
    assert [(o.scheduled_s - NOW, o.late) for o in verdict.occurrences] == [(-3_600, True)]
    assert verdict.ranges == []


def test_a_pause_counts_what_passed_since_it_began_or_was_recorded() -> None:
    plan = a_plan("*/10 * * * * *", since_s=NOW)
    assert [r.count for r in paused_range(plan, after_s=0, to_s=NOW + 60)] == [6]
    [record] = paused_range(plan, after_s=NOW + 10, to_s=NOW + 60)
    assert isinstance(record, RangeRecord)
    assert (record.first_s - NOW, record.count, record.reason) == (20, 5, SkipReason.PAUSED)
    assert paused_range(plan, after_s=0, to_s=NOW + 9) == []


def under_calendar(schedules: list[str], rules: str) -> Plan:
    calendar = compile_calendar(msgspec.json.decode(rules, type=CalendarRules))
    spec = replace(a_spec("nightly", "@daily", calendar="c"), schedule=None, schedules=schedules)
    job = Job(id="J1", spec=spec.normal(), revision=1, created_at_us=0, updated_at_us=0)
    return Plan(job, lambda namespace, name: calendar)


NIGHT = '{"blackouts": [{"from": "00:00", "to": "06:00", "reason": "night"}]}'


def test_ten_years_in_which_a_calendar_left_out_every_night_are_a_handful_of_records() -> None:
    plan = under_calendar(["* * * * * *", "@every 7s"], NIGHT)
    span_s = 3_650 * 86_400
    verdict = owed(plan, after_s=NOW, to_s=NOW + span_s, now_us=(NOW + span_s) * S)
    assert len(verdict.ranges) < 10
    planned = sum(record.count for record in verdict.ranges) + len(verdict.occurrences)
    assert planned == span_s
    assert sum(r.count for r in verdict.ranges if r.reason is SkipReason.BLACKOUT) == span_s // 4


def test_what_is_left_out_on_both_sides_of_a_run_are_two_records() -> None:
    noon = '{"blackouts": [{"from": "11:58", "to": "12:00"}, {"from": "12:01", "to": "12:03"}]}'
    plan = under_calendar(["* * * * *"], noon)
    verdict = owed(plan, after_s=NOW - 150, to_s=NOW + 150, now_us=(NOW + 10) * S)
    runs = sorted(one.scheduled_s - NOW for one in verdict.occurrences)
    blackouts = [(r.first_s - NOW, r.last_s - NOW, r.count) for r in verdict.ranges]
    assert runs == [0]
    assert blackouts == [(-120, -60, 2), (60, 120, 2)]


def test_what_starts_in_time_asks_for_the_right_to_send_with_its_decision() -> None:
    verdict = owed(a_plan("@every 1s"), after_s=NOW - 1, to_s=NOW + 3, now_us=NOW * S + 7, claim_to_us=(NOW + 1) * S)
    claimed = {owed.scheduled_s: owed.not_before_us for owed in verdict.occurrences}
    assert claimed == {NOW: NOW * S + 7, NOW + 1: (NOW + 1) * S, NOW + 2: 0, NOW + 3: 0}


def test_a_missed_run_that_is_made_up_for_now_does_so_too_and_those_spread_behind_it_do_not() -> None:
    plan = a_plan("@every 1h", missed_run_policy="execute_all", max_catchup=3)
    verdict = owed(plan, after_s=NOW - 4 * 3_600, to_s=NOW - 1_800, now_us=NOW * S, claim_to_us=NOW * S + 250_000)
    assert [owed.late for owed in verdict.occurrences] == [True] * len(verdict.occurrences)
    assert [owed.not_before_us for owed in verdict.occurrences] == [NOW * S] + [0] * (len(verdict.occurrences) - 1)
    assert len(verdict.occurrences) > 1


@pytest.mark.parametrize("policy", ["ignore", "execute_one", "execute_all"])
def test_what_many_jobs_owe_is_what_each_of_them_owes_one_after_the_other(policy: str) -> None:
    schedules = ["* * * * * *", "@every 11s"]
    plans = [a_plan(schedule, missed_run_policy=policy) for schedule in SCHEDULES]
    plans += [a_plan(schedules=schedules, missed_run_policy=policy), under_calendar(schedules, NIGHT)]
    span: dict[str, int] = {"after_s": NOW - 300, "to_s": NOW + 2, "now_us": NOW * S, "claim_to_us": (NOW + 1) * S}
    total = Verdict()
    for plan in plans:
        add_owed(total, plan, **span)
    each = [owed(plan, **span) for plan in plans]
    assert total.occurrences == [one for verdict in each for one in verdict.occurrences]
    assert total.ranges == [one for verdict in each for one in verdict.ranges]
    assert all(verdict.occurrences or verdict.ranges for verdict in each[:3])


def test_jobs_with_the_same_times_may_be_asked_by_turns_in_any_order() -> None:
    plans, alone = [a_plan("*/7 * * * * *"), a_plan("*/7 * * * * *")], parse_schedule("*/7 * * * * *")
    asked = [NOW, NOW + 7, NOW, NOW + 3, NOW + 21, NOW + 6, NOW + 14, NOW - 1, NOW + 8, NOW + 20]
    found = [plans[number % 2].next_s(after) for number, after in enumerate(asked)]
    assert found == [alone.next_s(after) for after in asked]
    back = [plans[number % 2].prev_s(before) for number, before in enumerate(asked)]
    assert back == [alone.prev_s(before) for before in asked]
    spans = [(a, b) for a in asked for b in asked]
    counts = [plans[number % 2].count_s(*span) for number, span in enumerate(spans)]
    assert counts == [alone.count_s(a, b) if a < b else 0 for a, b in spans]
