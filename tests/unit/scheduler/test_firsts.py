from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.scheduler.harness import a_spec

from chronos.errors import CalendarInvalid
from chronos.model.job import Dst, Job, Pause
from chronos.model.times import Times, packed, plan_row, times_of, unpacked
from chronos.scheduler import firsts
from chronos.scheduler.firsts import Firsts
from chronos.scheduler.plan import Plan
from chronos.timing.calendar import Calendar, CalendarRules, Shift, compile_calendar
from chronos.timing.zone import Gap, OverlapTime

NOW = 1_798_804_800
SCHEDULES = [
    ["* * * * * *"],
    ["30 2 * * *"],
    ["H H * * *"],
    ["TZ=Asia/Tehran 0 9 * * THU"],
    ["@every 11s"],
    ["TZ=Europe/Paris @every 90m"],
    ["@daily", "0 12 * * 1-5"],
    ["@at 2027-01-01T11:59:00Z"],
    [],
]
WEEKDAYS = compile_calendar(CalendarRules(exclude_weekends=True))
DAYS = st.none() | st.integers(-3, 400).map(lambda days: datetime.fromtimestamp(NOW + days * 86_400, UTC))


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    schedules = draw(st.sampled_from(SCHEDULES))
    spec = replace(
        a_spec(draw(st.sampled_from(["nightly", "hourly"]))),
        schedule=None,
        schedules=schedules,
        timezone=draw(st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"])),
        dst=Dst(gap=draw(st.sampled_from(Gap)), overlap=draw(st.sampled_from(OverlapTime))),
        start_at=draw(DAYS),
        end_at=draw(DAYS),
        calendar=draw(st.sampled_from([None, "weekdays"])),
        shift=Shift.NONE,
    )
    since_us = draw(st.integers(0, 3).map(lambda days: (NOW + days * 86_400) * 1_000_000 + 5))
    anchor_s = NOW - draw(st.integers(0, 999))
    return Job(
        id=draw(st.sampled_from(["J1", "J2"])),
        spec=spec,
        revision=1,
        created_at_us=0,
        updated_at_us=0,
        owed_since_us=since_us,
        anchor_s=anchor_s,
        paused=draw(st.sampled_from([None, None, None, Pause()])),
    )


def calendar_of(namespace: str, name: str) -> Calendar | None:
    return WEEKDAYS


@given(st.lists(jobs(), min_size=1, max_size=8), st.integers(-86_400, 3 * 86_400), st.integers(0, 2 * 86_400))
def test_jobs_that_share_a_timetable_owe_what_each_would_alone(found: list[Job], mark: int, outage_s: int) -> None:
    mark += NOW
    from_s = mark - outage_s
    shared = Firsts(calendar_of, mark, from_s=from_s, to_s=mark)
    plans = [Plan(job, calendar_of) for job in found]
    since = [max(from_s, plan.since_us // 1_000_000) for plan in plans]
    firsts = list(shared.of(map(plan_row, found)))
    assert firsts == [(job.id, alone(plan, max(mark, at))) for job, plan, at in zip(found, plans, since, strict=True)]
    missed = [(job.id, alone(plan, at)) for job, plan, at in zip(found, plans, since, strict=True)]
    assert shared.owing == [job_id for job_id, first in missed if first is not None and first <= mark]


def alone(plan: Plan, after_s: int) -> int | None:
    return plan.next_planned_s(after_s) if plan.job.paused is None else None


@given(jobs())
def test_what_a_job_is_due_by_is_kept_and_read_again(job: Job) -> None:
    assert unpacked(packed(times_of(job))) == times_of(job)


def test_jobs_share_a_timetable_unless_it_depends_on_who_they_are() -> None:
    def row(name: str, schedule: str, anchor_s: int) -> bytes:
        spec = a_spec(name, schedule).normal()
        job = Job(id=name, spec=spec, revision=1, created_at_us=0, updated_at_us=0, anchor_s=anchor_s)
        return plan_row(job)[1]

    assert row("a", "0 9 * * thu", 1) == row("b", "0 9 * * thu", 2)
    assert row("a", "H 9 * * *", 1) != row("b", "H 9 * * *", 1)
    assert row("a", "@every 5m", 1) != row("a", "@every 5m", 2)
    assert len(row("a", "0 9 * * *", 1)) < 20


def test_a_job_whose_calendar_is_gone_says_so() -> None:
    job = Job(
        id="J1", spec=a_spec("a", "* * * * *", calendar="gone").normal(), revision=1, created_at_us=0, updated_at_us=0
    )
    firsts = Firsts(lambda namespace, name: None, NOW)
    assert list(firsts.of([plan_row(job)])) == []
    [(job_id, error)] = firsts.unplanned
    assert job_id == "J1"
    assert isinstance(error, CalendarInvalid)


def test_timetables_of_many_jobs_that_share_none_are_not_all_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firsts, "SHARED_MAX", 5)
    many = Firsts(calendar_of, NOW)
    for anchor in range(100):
        times = Times(("@every 1h",), anchor_s=NOW + anchor)
        row = plan_row(Job(id="J1", spec=a_spec("a").normal(), revision=1, created_at_us=0, updated_at_us=0))
        assert list(many.of([(row[0], packed(times), *row[2:])])) == [("J1", NOW + anchor + 3_600)]
        assert len(many._known) <= 5
