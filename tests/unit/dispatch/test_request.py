"""Requests: what is prepared once for all runs of a target is what would be built for each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.dispatch.fakes import a_delivery

from chronos.dispatch.http.request import build_request, prepare
from chronos.model.target import BearerAuth, Completion, HttpTarget, Method

NOW_S = 1_798_794_000.75

urls = st.sampled_from(["http://a.test", "https://a.test:8443/x?y=%20z", "http://[2001:db8::1]/", "http://A.test/p#f"])
headers = st.dictionaries(
    st.sampled_from(["X-One", "x-two", "Content-Type", "User-Agent"]),
    st.sampled_from(["text/plain", "application/json", "de"]),
)
targets = st.builds(
    HttpTarget,
    url=urls,
    method=st.sampled_from(list(Method)),
    headers=headers,
    body=st.sampled_from(["", "{}", '{"a": "ü"}', "plain text", "[1, 2"]),
)
deliveries = st.builds(
    a_delivery,
    st.from_regex(r"occ_[0-9a-v]{32}", fullmatch=True),
    attempt=st.integers(1, 99),
    scheduled_s=st.integers(0, 4_000_000_000),
    token=st.from_regex(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,9}", fullmatch=True),
)


@given(targets, deliveries)
def test_a_prepared_request_is_byte_for_byte_the_one_that_is_built(target: HttpTarget, delivery: Any) -> None:
    prepared = prepare(target)
    built = build_request(delivery, target, NOW_S)
    assert prepared is not None
    assert prepared.wire(delivery, NOW_S) == built.wire()
    assert (prepared.url, prepared.method) == (built.url, built.method)


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "http://a.test/{{ .JobID }}"},
        {"body": "{{ .ExecutionID }}"},
        {"headers": {"X-Run": "{{ .Attempt }}"}},
        {"signing_secret": "whsec_" + "QUJD" * 8},
        {"completion": Completion.CALLBACK},
    ],
)
def test_what_differs_from_run_to_run_is_not_prepared(changes: dict[str, Any]) -> None:
    plain = HttpTarget(url="http://a.test/")
    assert prepare(plain) is not None
    assert prepare(replace(plain, **changes)) is None


def test_credentials_are_part_of_what_is_prepared_so_that_another_secret_is_another_request() -> None:
    first = prepare(HttpTarget(url="http://a.test/", auth=BearerAuth(token="one")))
    second = prepare(HttpTarget(url="http://a.test/", auth=BearerAuth(token="two")))
    assert first is not None
    assert second is not None
    assert "Bearer one" in first.after
    assert "Bearer two" in second.after
