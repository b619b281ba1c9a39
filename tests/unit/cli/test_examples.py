"""Every example is read as a user's file would be, and has runs ahead of it."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import msgspec
import pytest

from chronos.cli.chronosctl.commands.calendar import read_calendar
from chronos.cli.chronosctl.crontab import parse_crontab
from chronos.cli.chronosctl.jobfiles import check_job, parse_jobs
from chronos.model.job import JobSpec
from chronos.timing.calendar import CalendarRules, compile_calendar
from chronos.timing.schedule import parse_schedule

EXAMPLES = Path(__file__).parents[3] / "examples"
NOW = datetime(2027, 1, 1, tzinfo=UTC)
NOT_JOBS = {"chronos.yaml"}
CALENDARS = sorted(EXAMPLES.glob("calendar-*.yaml"))
JOB_FILES = sorted(
    file
    for file in EXAMPLES.iterdir()
    if file.suffix in (".yaml", ".json") and file.name not in NOT_JOBS and file not in CALENDARS
)


def runs_of(spec: JobSpec) -> list[datetime]:
    """Return the next five runs of the spec's schedules together."""
    found: list[datetime] = []
    for text in spec.normal().schedules:
        schedule = parse_schedule(text, timezone=spec.timezone, hash_key=f"{spec.namespace}/{spec.name}")
        found += islice(schedule.between(NOW, datetime(2100, 1, 1, tzinfo=UTC)), 5)
    return sorted(found)[:5]


@pytest.mark.parametrize("file", JOB_FILES, ids=lambda file: file.name)
def test_a_job_file_is_valid_and_its_jobs_run(file: Path) -> None:
    jobs = parse_jobs(file.read_text("utf-8"), file.name)
    assert jobs
    assert all(runs_of(job.spec) for job in jobs)


@pytest.mark.parametrize("file", JOB_FILES, ids=lambda file: file.name)
def test_an_example_shows_no_secret(file: Path) -> None:
    for job in parse_jobs(file.read_text("utf-8"), file.name):
        target = msgspec.to_builtins(job.spec.normal().target)
        for value in (target.get("signing_secret"), *(target.get("auth") or {}).values()):
            assert value in (None, "basic", "bearer", "api_key", "X-API-Key") or value.startswith("${secret:")


@pytest.mark.parametrize("file", CALENDARS, ids=lambda file: file.name)
def test_a_calendar_is_valid(file: Path) -> None:
    name, rules = read_calendar(str(file))
    assert name
    compile_calendar(msgspec.convert(rules, CalendarRules))


def test_the_calendar_that_an_example_names_is_an_example() -> None:
    named = {job.spec.calendar for file in JOB_FILES for job in parse_jobs(file.read_text("utf-8"), file.name)}
    assert named - {None} <= {read_calendar(str(file))[0] for file in CALENDARS}


def test_no_two_examples_have_the_same_name() -> None:
    names = [job.spec.name for file in JOB_FILES for job in parse_jobs(file.read_text("utf-8"), file.name)]
    assert len(names) == len(set(names))


def test_the_sample_crontab_becomes_jobs_that_run() -> None:
    found = parse_crontab((EXAMPLES / "sample.crontab").read_text("utf-8"), timezone="Europe/Paris")
    assert found.refused == []
    specs = [check_job(job, "sample.crontab").spec for job in found.jobs]
    assert [spec.name for spec in specs] == ["check-queue", "backup-sh", "certbot", "find", "mail", "close-of-business"]
    assert [spec.timezone for spec in specs] == ["Europe/Paris"] * 5 + ["America/New_York"]
    assert all(runs_of(spec) for spec in specs)
