"""Where spans go, and what is said about us, as OpenTelemetry's variables have it."""

from __future__ import annotations

import contextlib

import pytest

from chronos.cli.rpr.asked import Asked
from chronos.cli.rpr.subcommands import BY_NAME
from chronos.cli.rpr.traced import collector_at, pairs, resource_of, trace
from chronos.errors import ConfigInvalid, Invalid
from chronos.repeater.engine import Plan
from chronos.repeater.exporting import Collector
from chronos.timing.clock import SystemChance


@pytest.mark.parametrize(
    ("url", "collector", "shown"),
    [
        ("http://localhost:4318", Collector("localhost", 4318, "/v1/traces"), "http://localhost:4318/v1/traces"),
        ("http://localhost:4318/", Collector("localhost", 4318, "/v1/traces"), "http://localhost:4318/v1/traces"),
        ("https://in.example/otlp", Collector("in.example", 443, "/otlp/v1/traces", True), "https://in.example:443/"),
        ("http://[::1]", Collector("::1", 80, "/v1/traces"), "http://[::1]:80/v1/traces"),
    ],
)
def test_the_path_of_traces_is_put_behind_the_endpoint(url: str, collector: Collector, shown: str) -> None:
    assert collector_at(url, {}) == collector
    assert str(collector).startswith(shown)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:4318",
        "grpc://localhost:4317",
        "http://",
        "http://h:99999",
        "http://[::1",
        "http://h?x=1",
        "http://h#x",
        "http://h/a b",
        "http://h/\n",
        f"http://{'a' * 70}.example",
    ],
)
def test_what_is_no_endpoint_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(Invalid, match="Write for example --otlp-endpoint http://localhost:4318"):
        collector_at(url, {})


def test_a_password_in_an_endpoint_is_refused_and_not_repeated() -> None:
    with pytest.raises(Invalid) as refused:
        collector_at("http://me:hidden@h", {})
    assert "hidden" not in str(refused.value)


def test_the_environment_says_who_we_are() -> None:
    assert {"service.name", "service.version", "host.name", "process.pid"} == set(resource_of({}))
    assert resource_of({})["service.name"] == "rpr"
    said = {"OTEL_RESOURCE_ATTRIBUTES": "service.name=a,team=night%20shift, ,x=", "OTEL_SERVICE_NAME": "b"}
    found = resource_of(said)
    assert (found["service.name"], found["team"], found["x"]) == ("b", "night shift", "")


@pytest.mark.parametrize("text", ["hidden", "a=1,hidden", "=hidden", "a b=hidden", "a=hidden%0d%0aInjected: 1"])
def test_headers_that_cannot_be_read_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"OTEL_EXPORTER_OTLP_HEADERS: pair \d") as refused:
        pairs("OTEL_EXPORTER_OTLP_HEADERS", {"OTEL_EXPORTER_OTLP_HEADERS": text})
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_the_environment_can_switch_spans_off(off: dict[str, str]) -> None:
    asked = Asked(BY_NAME["count"], {"otlp_endpoint": "http://127.0.0.1:1"}, Plan(("true",)))
    with contextlib.ExitStack() as stack:
        assert trace(asked, off, SystemChance(), stack) is None
        assert trace(asked, {}, SystemChance(), stack) is not None
