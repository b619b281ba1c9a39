from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from chronos.errors import JobInvalid
from chronos.model import limits
from chronos.model.job import Concurrency, JobSpec, MissedRunPolicy, OnUnknown, RetryPolicy
from chronos.model.target import HttpTarget, Method, ProcessTarget
from chronos.timing.zone import Gap, OverlapTime

MINIMAL = {"name": "nightly", "schedule": "0 2 * * *", "webhook": {"url": "https://example.com/hook"}}


def decoded(**fields: Any) -> JobSpec:
    """Decode the minimal job with `fields` over it; a field given as `...` is left out."""
    job = {name: value for name, value in (MINIMAL | fields).items() if value is not ...}
    return msgspec.json.decode(json.dumps(job), type=JobSpec)


def test_three_fields_make_a_job_and_the_rest_has_defaults() -> None:
    job = decoded()
    assert job.timezone == "UTC"
    assert job.namespace == "default"
    assert job.concurrency is Concurrency.FORBID
    assert job.missed_run_policy is MissedRunPolicy.EXECUTE_ONE
    assert job.on_unknown is OnUnknown.RETRY
    assert (job.catchup_window, job.max_catchup, job.cancel_grace) == ("24h", 100, "10s")
    assert (job.priority, job.max_concurrent, job.queue_limit) == (5, 10, 1)
    assert (job.dst.gap, job.dst.overlap) == (Gap.AFTER, OverlapTime.FIRST)
    assert job.enabled is None, "absent leaves it as it is; a new job is enabled"
    assert job.webhook == HttpTarget(url="https://example.com/hook", method=Method.POST)


def test_a_partial_retry_policy_keeps_the_other_defaults() -> None:
    assert decoded(retry_policy={"max_attempts": 5}).retry_policy == RetryPolicy(
        max_attempts=5, initial_interval="1s", max_interval="1m", multiplier=2.0, retry_for="24h"
    )


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"shedule": "* * * * *"}, "shedule"),
        ({"webhook": {"url": "https://example.com", "methd": "GET"}}, "$.webhook"),
        ({"webhook": {"url": "https://example.com", "method": "get"}}, "$.webhook.method"),
        ({"webhook": {}}, "url"),
        ({"name": ...}, "name"),
        ({"name": ""}, "$.name"),
        ({"name": " leading"}, "$.name"),
        ({"name": "a" * 201}, "$.name"),
        ({"name": "new\nline"}, "$.name"),
        ({"namespace": "Upper"}, "$.namespace"),
        ({"namespace": "-a"}, "$.namespace"),
        ({"priority": 10}, "$.priority"),
        ({"priority": "5"}, "$.priority"),
        ({"priority": True}, "$.priority"),
        ({"enabled": "yes"}, "$.enabled"),
        ({"concurrency": "sometimes"}, "$.concurrency"),
        ({"max_concurrent": 0}, "$.max_concurrent"),
        ({"queue_limit": 1_001}, "$.queue_limit"),
        ({"max_catchup": 10_001}, "$.max_catchup"),
        ({"retry_policy": {"max_attempts": 0}}, "$.retry_policy.max_attempts"),
        ({"retry_policy": {"multiplier": 0.5}}, "$.retry_policy.multiplier"),
        ({"retry_policy": {"tries": 3}}, "$.retry_policy"),
        ({"start_at": "2027-01-01T00:00:00"}, "$.start_at"),
        ({"schedules": ["* * * * *"] * (limits.SCHEDULES_MAX + 1)}, "$.schedules"),
        ({"schedule": "x" * 513}, "$.schedule"),
        ({"tags": {str(i): "" for i in range(limits.TAGS_MAX + 1)}}, "$.tags"),
        ({"tags": {"team": 7}}, "$.tags"),
        ({"description": "x" * 2_001}, "$.description"),
        ({"webhook": {"url": "u" * 4_097}}, "$.webhook.url"),
        ({"webhook": {"url": "u", "body": "x" * (limits.BODY_BYTES_MAX + 1)}}, "$.webhook.body"),
        ({"webhook": {"url": "u", "headers": {"Bad Name": "x"}}}, "$.webhook.headers"),
        ({"webhook": {"url": "u", "success_codes": [99]}}, "$.webhook.success_codes"),
        ({"webhook": {"url": "u", "follow_redirects": 4}}, "$.webhook.follow_redirects"),
        ({"webhook": {"url": "u", "auth": {"type": "digest"}}}, "$.webhook.auth"),
        ({"webhook": ..., "target": {"type": "carrier-pigeon"}}, "$.target"),
        ({"webhook": ..., "target": {"type": "process", "argv": []}}, "$.target.argv"),
        ({"notify": {"channels": []}}, "$.notify.channels"),
        ({"notify": {"channels": [{"type": "email", "to": ["nobody"]}]}}, "$.notify.channels"),
        ({"dependencies": {"depends_on": []}}, "$.dependencies.depends_on"),
    ],
)
def test_a_wrong_job_is_refused_and_the_place_is_named(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        decoded(**fields)
    assert where in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "a"},
        {"name": "a" * 200},
        {"name": "Nightly report 2.0_x-y"},
        {"namespace": "a" * 63},
        {"priority": 0},
        {"priority": 9},
        {"retry_policy": {"max_attempts": 100}},
        {"tags": {str(i): "v" * 256 for i in range(limits.TAGS_MAX)}},
        {"webhook": {"url": "u", "body": "x" * limits.BODY_BYTES_MAX}},
        {"start_at": "2027-01-01T00:00:00+01:00", "end_at": "2027-02-01T00:00:00Z"},
    ],
)
def test_a_job_at_its_limits_is_accepted(fields: dict[str, Any]) -> None:
    decoded(**fields)


def test_webhook_is_the_short_form_of_an_http_target() -> None:
    long = decoded(webhook=..., target={"type": "http", "url": "https://example.com/hook"}, schedules=["0 2 * * *"])
    assert decoded().normal() == msgspec.structs.replace(long, schedule=None)
    assert decoded().normal().target == HttpTarget(url="https://example.com/hook")


def test_a_normal_job_is_normal_already() -> None:
    once = decoded().normal()
    assert once.normal() == once


def test_a_process_target_takes_the_place_of_the_webhook() -> None:
    job = decoded(webhook=..., target={"type": "process", "argv": ["/bin/true"]}).normal()
    assert job.target == ProcessTarget(argv=["/bin/true"])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"webhook": ...}, "webhook"),
        ({"target": {"type": "process", "argv": ["a"]}}, "webhook"),
        ({"schedules": ["@daily"]}, "schedules"),
        ({"schedule": ...}, "schedule"),
    ],
)
def test_a_job_that_contradicts_itself_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(JobInvalid) as caught:
        decoded(**fields).normal()
    assert caught.value.facts["field"] == field


def test_a_job_that_runs_after_others_needs_no_schedule() -> None:
    assert decoded(schedule=..., dependencies={"depends_on": ["load"]}).normal().schedules == []


def test_a_job_survives_the_way_through_the_log() -> None:
    job = decoded(tags={"team": "data"}, start_at="2027-01-01T00:00:00Z", timeout="90s").normal()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(job), type=JobSpec) == job
