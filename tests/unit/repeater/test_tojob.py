"""The job that runs what `rpr` repeats: accepted by who reads job files, or refused with a line that says why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.cli.chronosctl.jobfiles import check_job, parse_jobs
from chronos.cli.chronosctl.yamlfile import dump_yaml
from chronos.cli.rpr.subcommands import SUBCOMMANDS
from chronos.errors import Invalid
from chronos.repeater.tojob import REFUSED, job_of, notes

ARGV = ("sync", "--all", "a b", "it's")


def made(mode: str = "interval", *, argv: tuple[str, ...] = ARGV, **values: Any) -> dict[str, Any]:
    given = {"every": 30.0, "cron": "0 9 * * 1-5", **values}
    return job_of("sync", mode, given, argv, zone="Europe/Paris", retries=False, directory="/srv")


def test_an_interval_becomes_a_schedule_and_nothing_is_tried_twice_or_made_up_for() -> None:
    assert made(timeout=10.0, grace=0.5, until_at=1_800_000_000) == {
        "name": "sync",
        "schedule": "@every 30s",
        "end_at": "2027-01-15T08:00:00Z",
        "target": {"type": "process", "argv": list(ARGV), "directory": "/srv", "env_allow": ["PATH", "LANG"]},
        "timeout": "10s",
        "cancel_grace": "500ms",
        "concurrency": "forbid",
        "retry_policy": {"max_attempts": 1},
        "missed_run_policy": "ignore",
        "on_unknown": "fail",
    }


def test_a_cron_expression_keeps_its_zone_and_its_first_run() -> None:
    job = made("cron")
    assert (job["schedule"], job["timezone"]) == ("0 9 * * 1-5", "Europe/Paris")
    assert not any("first run" in note for note in notes(job))
    assert any("first run" in note for note in notes(made()))


@pytest.mark.parametrize(("on_busy", "concurrency"), [("skip", "forbid"), ("queue", "queue"), ("restart", "replace")])
def test_what_happens_to_a_tick_that_finds_a_run_on_stays_the_same(on_busy: str, concurrency: str) -> None:
    job = made(on_busy=on_busy)
    assert job["concurrency"] == concurrency
    assert check_job(job, "here").spec.concurrency == concurrency


@given(
    every=st.integers(1, 10**7),
    words=st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1), min_size=1, max_size=5
    ),
    grace=st.sampled_from([0.0, 0.25, 5.0, 90.0]),
)
def test_whatever_is_made_is_read_again_as_the_same_job(every: int, words: list[str], grace: float) -> None:
    try:
        job = made(argv=tuple(words), every=float(every), grace=grace)
    except Invalid as exc:
        assert "RPR_" in str(exc) or "fill in" in str(exc)  # noqa: PT017 - only these words are refused
        return
    [read] = parse_jobs(dump_yaml(job), "here")
    assert read.document == job


@pytest.mark.parametrize("mode", [mode for mode in SUBCOMMANDS if mode.name not in ("interval", "cron")])
def test_modes_that_no_server_has_are_refused_with_what_to_write_instead(mode: Any) -> None:
    with pytest.raises(Invalid, match=r"`?rpr (interval|cron)") as refused:
        job_of("sync", mode.name, {}, ARGV, zone="UTC", retries=mode.retries, directory="/")
    assert f"`rpr {mode.name}`" in str(refused.value)


@pytest.mark.parametrize("flag", REFUSED)
def test_flags_that_no_job_has_are_refused_by_name(flag: str) -> None:
    with pytest.raises(Invalid, match=f"--{flag.replace('_', '-')} cannot be kept"):
        job_of("sync", "interval", {"every": 1.0, flag: True}, ARGV, zone="UTC", retries=False, directory="/")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"every": 0.5}, "whole seconds"),
        ({"concurrency": 2}, "--concurrency"),
        ({"stdin": "replay"}, "--stdin"),
        ({"jitter": "20%"}, "--jitter"),
        ({"argv": ("sh", "-c", "echo $RPR_RUN")}, "RPR_"),
        ({"argv": ("echo", "{{.JobID}}")}, "fill in"),
        ({"argv": ("echo", "${secret:env:X}")}, "fill in"),
    ],
)
def test_what_would_mean_something_else_is_refused(values: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        made(**values)


def test_no_jitter_is_no_reason_to_refuse() -> None:
    assert made(jitter="0%") == made()
