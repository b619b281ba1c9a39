"""What is said against a target when its job is written, and where."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from chronos.dispatch.check import check_target
from chronos.errors import JobInvalid
from chronos.model.target import ApiKeyAuth, BasicAuth, BearerAuth, HttpTarget, ProcessTarget

URL = "https://example.com/hook"
KEY = "whsec_" + base64.b64encode(bytes(32)).decode()

GOOD: list[dict[str, Any]] = [
    {},
    {"url": "http://{{.JobName}}.example.com:8080/{{.ExecutionID}}?a={{.Attempt}}"},
    {"url": "${secret:env:CHRONOS_SECRET_URL}"},
    {"url": "https://${secret:env:CHRONOS_SECRET_HOST}:${secret:env:CHRONOS_SECRET_PORT}/x?k=${secret:file:key}"},
    {"url": "https://example.com/x?k=${env:KEY}"},
    {"headers": {"Content-Type": "text/plain", "User-Agent": "mine", "Authorization": "Bearer ${secret:env:A}"}},
    {"headers": {"X-Run": "{{.ExecutionID}} of {{.JobName}}", "X-Latin": "é"}},
    {"body": '{"math": "{{7*7}}", "id": "{{.JobID}}"}'},
    {"auth": BasicAuth(username="me", password="a:b")},
    {"auth": BearerAuth(token="${secret:env:A}")},
    {"auth": ApiKeyAuth(api_key="***")},
    {"signing_secret": KEY},
    {"signing_secret": "sealed:abc"},
    {"signing_secret": "***"},
    {"signing_secret": "${secret:env:CHRONOS_SECRET_KEY}"},
    {"cancel_url": "https://example.com/stop/{{.ExecutionID}}"},
]

BAD: list[tuple[dict[str, Any], str]] = [
    ({"url": "ftp://example.com/"}, "target.url"),
    ({"url": "http://user:pw@example.com/"}, "target.url"),
    ({"url": "http://127.1/"}, "target.url"),
    ({"url": "http://example.com/\r\nX: y"}, "target.url"),
    ({"url": "http://example.com/{{.Job}}"}, "target.url"),
    ({"cancel_url": "file:///etc/passwd"}, "target.cancel_url"),
    ({"headers": {"Host": "evil.test"}}, "target.headers.Host"),
    ({"headers": {"content-length": "3"}}, "target.headers.content-length"),
    ({"headers": {"Transfer-Encoding": "chunked"}}, "target.headers.Transfer-Encoding"),
    ({"headers": {"Connection": "close"}}, "target.headers.Connection"),
    ({"headers": {"Webhook-Signature": "v1,x"}}, "target.headers.Webhook-Signature"),
    ({"headers": {"chronos-fencing-token": "9.9.9"}}, "target.headers.chronos-fencing-token"),
    ({"headers": {"X-Chronos-Attempt": "1"}}, "target.headers.X-Chronos-Attempt"),
    ({"headers": {"Idempotency-Key": "1"}}, "target.headers.Idempotency-Key"),
    ({"headers": {"X A": "1"}}, "target.headers.X A"),
    ({"headers": {"X-A": "a\r\nX-B: c"}}, "target.headers.X-A"),
    ({"headers": {"X-A": "a\0b"}}, "target.headers.X-A"),
    ({"headers": {"X-A": "\N{SNOWMAN}"}}, "target.headers.X-A"),
    ({"headers": {"X-A": "{{.Nope}}"}}, "target.headers.X-A"),
    ({"body": "{{.Nope}}"}, "target.body"),
    ({"body": "{{.JobName}}" * 5_000}, "target.body"),
    ({"auth": BasicAuth(username="a:b", password="c")}, "target.auth"),
    ({"auth": BearerAuth(token="a\nb")}, "target.auth"),
    ({"auth": ApiKeyAuth(api_key="k", header="Host")}, "target.auth"),
    ({"signing_secret": "hunter2"}, "target.signing_secret"),
]


@pytest.mark.parametrize("fields", GOOD)
def test_what_can_be_called_is_accepted(fields: dict[str, Any]) -> None:
    check_target(HttpTarget(**({"url": URL} | fields)))


@pytest.mark.parametrize(("fields", "field"), BAD)
def test_what_cannot_be_called_is_refused_where_it_is_wrong(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(JobInvalid) as refused:
        check_target(HttpTarget(**({"url": URL} | fields)))
    assert refused.value.facts["field"] == field
    assert str(refused.value).startswith(field)


@pytest.mark.parametrize("secret", ["hunter2-very-secret", "whsec_hunter2"])
def test_a_refusal_never_repeats_a_credential(secret: str) -> None:
    with pytest.raises(JobInvalid) as refused:
        check_target(HttpTarget(url=URL, signing_secret=secret))
    assert "hunter2" not in str(refused.value) + str(refused.value.facts)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"argv": ["./run"]}, "target.argv[0]"),
        ({"argv": ["../run"]}, "target.argv[0]"),
        ({"argv": ["-c"]}, "target.argv[0]"),
        ({"argv": ["run", "a\0b"]}, "target.argv[1]"),
        ({"argv": ["run", "{{.Nope}}"]}, "target.argv[1]"),
        ({"env": {"A=B": "c"}}, "target.env.A=B"),
        ({"env": {"CHRONOS_EXECUTION_ID": "c"}}, "target.env.CHRONOS_EXECUTION_ID"),
        ({"env": {"LD_PRELOAD": "/tmp/evil.so"}}, "target.env.LD_PRELOAD"),
        ({"env": {"A": "b\0"}}, "target.env.A"),
        ({"env_allow": ["CHRONOS_API_KEY"]}, "target.env_allow[0]"),
        ({"directory": "work"}, "target.directory"),
        ({"run_as": "0"}, "target.run_as"),
        ({"run_as": "a b"}, "target.run_as"),
        ({"stdin": "{{.Nope}}"}, "target.stdin"),
    ],
)
def test_a_process_that_cannot_be_run_is_refused_where_it_is_wrong(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(JobInvalid) as refused:
        check_target(ProcessTarget(**({"argv": ["true"]} | fields)))
    assert refused.value.facts["field"] == field


def test_an_ordinary_process_is_accepted() -> None:
    check_target(ProcessTarget(argv=["backup", "--run", "{{.ExecutionID}}", "$(id)"], env={"A": "b"}, run_as="backup"))


def test_a_target_that_is_the_whole_of_a_request_is_named_by_its_own_fields() -> None:
    with pytest.raises(JobInvalid) as refused:
        check_target(HttpTarget(url="ftp://example.com/"), "")
    assert refused.value.facts["field"] == "url"
