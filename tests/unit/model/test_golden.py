"""What was written once can be read for ever: fields are only appended, and the files in `golden/` prove it.

When a field is appended, these tests go on passing; nothing in `golden/` is ever written anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from chronos.model.execution import (
    Attempt,
    AttemptStatus,
    Execution,
    Kind,
    RangeRecord,
    SkipReason,
    Status,
    Waited,
)
from chronos.model.job import Job, JobSpec, Pause, RetryPolicy
from chronos.model.target import BearerAuth, HttpTarget
from chronos.timing.clock import utc

GOLDEN = Path(__file__).parent / "golden"

EXECUTION = Execution(
    id="occ_01ljdr40040097h6i17rqgb9pi61psnn",
    job_id="01J9Z3K4M5N6P7Q8R9S0T1V2W3",
    job_name="nightly",
    namespace="default",
    kind=Kind.SCHEDULE,
    discriminator="1798761600",
    scheduled_s=1798761600,
    effective_us=1798761600_000_000,
    revision=3,
    priority=5,
    decided_at_us=1798761599_750_000,
    status=Status.FAILED,
    reason="exhausted",
    attempts=(
        Attempt(
            series=0,
            n=1,
            node="n1/01J9Z3K4M5N6P7Q8R9S0T1V2W4",
            token="0.1.42",
            not_before_us=1798761600_000_000,
            started_at_us=1798761600_000_321,
            ended_at_us=1798761600_120_000,
            status=AttemptStatus.FAILED,
            status_code=503,
            error_class="http_status",
            error="HTTP 503",
            body_bytes=11,
            sha256="ab" * 32,
            excerpt="unavailable",
            waited=Waited(slot=1, commit=2),
            notes=("Retry-After ignored",),
        ),
    ),
    started_at_us=1798761600_000_321,
    ended_at_us=1798761600_120_000,
    tries=1,
)

RANGE = RangeRecord(
    job_id="01J9Z3K4M5N6P7Q8R9S0T1V2W3",
    namespace="default",
    first_s=1798761600,
    last_s=1798765200,
    count=61,
    reason=SkipReason.PAUSED,
    decided_at_us=1798765200_000_000,
    job_name="nightly",
)

JOB = Job(
    id="01J9Z3K4M5N6P7Q8R9S0T1V2W3",
    spec=JobSpec(
        name="nightly",
        schedules=["0 2 * * *"],
        timezone="Europe/Paris",
        target=HttpTarget(url="https://example.com/hook", auth=BearerAuth(token="sealed:AAAA")),
        retry_policy=RetryPolicy(max_attempts=5),
        tags={"team": "data"},
        start_at=utc(1798761600),
        enabled=True,
    ),
    revision=3,
    created_at_us=1798761500_000_000,
    updated_at_us=1798761550_000_000,
    created_by="admin",
    owed_since_us=1798761550_000_000,
    paused=Pause(reason="holiday", until=utc(1798800000), by="admin", at=utc(1798761560)),
)

WRITTEN = {"execution": EXECUTION, "range": RANGE, "job": JOB}


def extends(new: Any, old: Any) -> bool:
    """Whether `new` is `old`, with nothing but fields and elements added behind or beside."""
    if isinstance(old, list):
        return isinstance(new, list) and len(new) >= len(old) and all(map(extends, new, old))
    if isinstance(old, dict):
        return isinstance(new, dict) and all(key in new and extends(new[key], value) for key, value in old.items())
    return bool(new == old) and type(new) is type(old)


@pytest.mark.parametrize("name", WRITTEN)
def test_what_was_written_is_read_as_it_was(name: str) -> None:
    sample = WRITTEN[name]
    assert msgspec.msgpack.decode((GOLDEN / f"{name}.msgpack").read_bytes(), type=type(sample)) == sample


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_now_only_adds_to_it(name: str) -> None:
    before = msgspec.msgpack.decode((GOLDEN / f"{name}.msgpack").read_bytes())
    assert extends(msgspec.msgpack.decode(msgspec.msgpack.encode(WRITTEN[name])), before)


def test_a_field_moved_renamed_or_retyped_is_seen() -> None:
    assert extends([1, "a", 0], [1, "a"])
    assert not extends(["a", 1], [1, "a"])
    assert not extends([1], [1, "a"])
    assert not extends([1, ["a"]], [1, "a"])
    assert not extends({"b": 1}, {"a": 1})
    assert not extends([True], [1])
