"""Circles of dependencies are refused when they are written."""

from __future__ import annotations

import pytest

from chronos.errors import JobInvalid
from chronos.model.job import Dependencies, Job, JobSpec
from chronos.scheduler.dependencies import check_acyclic


def spec(name: str, *parents: str) -> JobSpec:
    return JobSpec(name=name, dependencies=Dependencies(depends_on=list(parents)) if parents else None)


def jobs(*specs: JobSpec) -> dict[str, Job]:
    return {s.name: Job(id=f"id-{s.name}", spec=s, revision=1, created_at_us=0, updated_at_us=0) for s in specs}


def test_a_job_that_depends_on_itself_is_refused() -> None:
    with pytest.raises(JobInvalid, match="a → a"):
        check_acyclic(spec("a", "a"), {"a"}, dict[str, Job]().get)


def test_a_circle_over_others_is_refused_and_named() -> None:
    others = jobs(spec("b", "c"), spec("c", "a"))

    with pytest.raises(JobInvalid, match="a → b → c → a"):
        check_acyclic(spec("a", "b"), {"a"}, others.get)


def test_a_circle_by_id_is_refused() -> None:
    others = jobs(spec("b", "id-a"))

    with pytest.raises(JobInvalid, match="itself"):
        check_acyclic(spec("a", "b"), {"a", "id-a"}, others.get)


def test_a_diamond_is_no_circle() -> None:
    others = jobs(spec("b", "d"), spec("c", "d"), spec("d"))

    check_acyclic(spec("a", "b", "c"), {"a"}, others.get)


def test_a_parent_that_does_not_exist_yet_is_no_circle() -> None:
    check_acyclic(spec("a", "later"), {"a"}, dict[str, Job]().get)
