"""The slow evaluator of the simulation agrees with the product's, and refuses what it does not know."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import msgspec
import pytest

from chronos.model.job import Job, JobSpec
from chronos.testing.simulation.brute import instants
from chronos.testing.simulation.load import BEGINNINGS, a_spec, another_spec, first_specs
from chronos.timing.schedule import parse_schedule


def job_of(spec: JobSpec, at_s: int) -> Job:
    return Job(
        id="j", spec=spec.normal(), revision=1, created_at_us=0, updated_at_us=0, anchor_s=at_s, owed_since_us=at_s
    )


@pytest.mark.parametrize("seed", range(20))
def test_it_finds_what_the_product_finds_through_every_change_of_clocks(seed: int) -> None:
    draw = random.Random(seed)
    specs = [*first_specs(draw, 36, nasty=True), *(another_spec(draw, "other", nasty=True) for _ in range(20))]
    begin_s = int(draw.choice(BEGINNINGS).timestamp()) - draw.randrange(7_200)
    end_s = begin_s + 4 * 3_600
    for spec in specs:
        job = job_of(spec, begin_s - draw.randrange(100))
        assert spec.schedule is not None
        schedule = parse_schedule(spec.schedule, timezone=spec.timezone, anchor=job.anchor_s)
        assert list(instants(job, begin_s, end_s)) == list(schedule.between_s(begin_s, end_s)), spec


@pytest.mark.parametrize("schedule", ["61 2 * * *", "0 0 1 *", "@reboot", "@every soon"])
def test_it_refuses_what_is_no_schedule(schedule: str) -> None:
    spec = msgspec.structs.replace(a_spec(random.Random(1), "x", "* * * * *", "forbid", "ignore", nasty=False))
    spec = msgspec.structs.replace(spec, schedule=None, schedules=[schedule])
    with pytest.raises(ValueError, match=r"no |fields"):
        list(instants(job_of(spec, 0), 0, int(datetime(1970, 1, 3, tzinfo=UTC).timestamp())))


def test_it_refuses_a_job_with_a_calendar() -> None:
    spec = msgspec.structs.replace(
        a_spec(random.Random(1), "x", "* * * * *", "forbid", "ignore", nasty=False), calendar="c"
    )
    with pytest.raises(ValueError, match="calendar"):
        list(instants(job_of(spec, 0), 0, 60))
