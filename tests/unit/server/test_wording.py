"""Wrong values, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest

from chronos.errors import Unprocessable
from chronos.features.access.model import ApiKeyAsked
from chronos.model.job import JobSpec
from chronos.server.decoding import convert, convert_text
from chronos.server.rest.executions import ExecutionsQuery
from chronos.server.rest.jobs import JobsQuery

JOB: dict[str, Any] = {"name": "a", "schedule": "@daily", "webhook": {"url": "http://127.0.0.1:9/"}}


@pytest.mark.parametrize(
    ("change", "field", "detail"),
    [
        (
            {"name": "Bad/Name"},
            "name",
            "`name` has to be letters, digits, spaces, `.`, `_` and `-`, beginning with a letter",
        ),
        ({"name": ""}, "name", "`name` has to be letters, digits, spaces,"),
        ({"namespace": "Bad NS"}, "namespace", "`namespace` has to be lower-case letters, digits and dashes"),
        ({"schedule": 5}, "schedule", "`schedule` has to be text or null, and is a whole number."),
        ({"tags": ["x"]}, "tags", "`tags` has to be an object, and is a list."),
        ({"tags": {"k": "v" * 300}}, "tags[...]", "`tags[...]` has to have at most 256 characters."),
        ({"schedules": ["@daily"] * 17}, "schedules", "`schedules` has to have at most 16 entries."),
        (
            {"retry_policy": {"max_attempts": 0}},
            "retry_policy.max_attempts",
            "`retry_policy.max_attempts` has to be at least 1.",
        ),
        (
            {"concurrency": "forbidden"},
            "concurrency",
            "`concurrency` is `forbidden`; it has to be one of `allow`, `forbid`, `queue`, `replace`. Did",
        ),
        ({"concurrency": 7}, "concurrency", "`concurrency` has to be text, and is a whole number."),
        (
            {"webhook": {"url": "http://x/", "method": "get"}},
            "webhook.method",
            "`webhook.method` is `get`; it has to be one of `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, ",
        ),
        (
            {"webhook": {"url": "http://x/", "auth": {"type": "digest"}}},
            "webhook.auth.type",
            "`webhook.auth.type` is `digest`; it has to be one of `basic`, `bearer`, `api_key`.",
        ),
        (
            {"webhook": {"url": "http://x/", "headers": {"bad header": "x"}}},
            "webhook.headers",
            "A key of `webhook.headers` has to be letters, digits and",
        ),
        (
            {"target": {"type": "pigeon"}},
            "target.type",
            "`target.type` is `pigeon`; it has to be one of `http`,",
        ),
        (
            {"start_at": "2027-01-01"},
            "start_at",
            "`start_at` has to be an instant with its offset, like `2027-",
        ),
        ({"start_at": "2027-01-01T00:00:00"}, "start_at", "`start_at` has to be an instant with its offset"),
    ],
)
def test_a_wrong_field_of_a_job_is_told_in_words(change: dict[str, Any], field: str, detail: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        convert({**JOB, **change}, JobSpec)

    assert str(refused.value).startswith(detail)
    assert refused.value.facts["field"] == field


@pytest.mark.parametrize(
    ("of", "query", "detail"),
    [
        (JobsQuery, {"limit": "x"}, "`limit` has to be a whole number, and is text."),
        (JobsQuery, {"limit": "0"}, "`limit` has to be at least 1."),
        (JobsQuery, {"enabled": "maybe"}, "`enabled` has to be `true` or `false` or null, and is text."),
        (JobsQuery, {"offset": "10"}, "There is no field `offset`. Did you mean `cursor`?"),
        (
            JobsQuery,
            {"tag": "x"},
            "There is no field `tag`. Filter by tags with `tag.KEY=VALUE`;",
        ),
        (
            ExecutionsQuery,
            {"status": ["sucess"]},
            "`status[0]` is `sucess`; it has to be one of `pending`, `running`, `retrying`, ",
        ),
        (ExecutionsQuery, {"since": "yesterday"}, "`since` has to be an instant with its offset"),
    ],
)
def test_a_wrong_parameter_is_told_in_words(of: Any, query: dict[str, Any], detail: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        convert_text(query, of)

    assert str(refused.value).startswith(detail)


def test_a_body_that_is_something_else_is_told_as_such() -> None:
    with pytest.raises(Unprocessable, match=r"^The body has to be an object, and is a list\.$"):
        convert([], JobSpec)


def test_a_permission_is_shown_how_one_looks() -> None:
    with pytest.raises(Unprocessable, match=r"^`permissions\[0\]` has to be a permission like `job:read`"):
        convert({"name": "k", "permissions": ["jobs"]}, ApiKeyAsked)
