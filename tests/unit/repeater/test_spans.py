"""A run as a span of OpenTelemetry's."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.repeater.capture import Capture
from chronos.repeater.engine import Report
from chronos.repeater.port import Run
from chronos.repeater.spans import Parent, Tracer, document, parent_in
from chronos.repeater.stops import Fate

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KEY = bytes(32)


def a_report(number: int = 1, *, fate: Fate = Fate.OK, exit_code: int = 0, reason: str = "") -> Report:
    run = Run(number, 50.0, 51.25, 1_700_000_000.5, fate is Fate.OK, exit_code)
    return Report(run, fate, 2, reason, Capture(texts=False, fingerprint=False))


def spans_of(*reports: Report, parent: Parent | None = None, argv: tuple[str, ...] = ("/bin/work", "-x")) -> list[Any]:
    added: list[bytes] = []
    tracer = Tracer(KEY, parent, mode="count", argv=argv, add=added.append)
    for report in reports:
        tracer.ended(report)
    return [json.loads(span) for span in added]


def facts(span: Any) -> dict[str, str]:
    return {each["key"]: next(iter(each["value"].values())) for each in span["attributes"]}


def test_a_span_has_the_runs_times_and_what_it_came_to() -> None:
    [span] = spans_of(a_report(7, exit_code=0))
    assert span["name"] == "work"
    assert span["kind"] == 3
    assert span["startTimeUnixNano"] == "1700000000500000000"
    assert span["endTimeUnixNano"] == "1700000001750000000"
    assert "status" not in span
    assert facts(span) == {
        "process.executable.name": "work",
        "process.exit.code": "0",
        "rpr.mode": "count",
        "rpr.run": "7",
        "rpr.attempt": "2",
        "rpr.result": "ok",
    }


@pytest.mark.parametrize(
    ("fate", "exit_code", "reason", "kind", "message"),
    [
        (Fate.FAILED, 7, "", "7", "exit code 7"),
        (Fate.FAILED, -9, "", "-9", "exit code -9"),
        (Fate.FAILED, 0, "", "pattern", "the failure pattern matched"),
        (Fate.FAILED, 0, "the failure pattern took more than 100ms", "pattern", "the failure pattern took more"),
        (Fate.TIMED_OUT, -15, "timeout", "timed_out", "timeout"),
        (Fate.NOT_STARTED, 127, "x: command not found", "not_started", "x: command not found"),
    ],
)
def test_a_failure_is_an_error_that_says_why(fate: Fate, exit_code: int, reason: str, kind: str, message: str) -> None:
    [span] = spans_of(a_report(fate=fate, exit_code=exit_code, reason=reason))
    assert span["status"]["code"] == 2
    assert span["status"]["message"].startswith(message)
    assert facts(span)["error.type"] == kind


@pytest.mark.parametrize("fate", [Fate.CUT, Fate.RESTARTED])
def test_a_run_that_we_ended_ourselves_is_no_error(fate: Fate) -> None:
    [span] = spans_of(a_report(fate=fate, exit_code=-15))
    assert "status" not in span
    assert "error.type" not in facts(span)
    assert facts(span)["rpr.result"] == fate.value


def test_each_run_is_a_trace_of_its_own_unless_there_is_one_to_belong_to() -> None:
    alone = spans_of(*(a_report(number) for number in range(1, 50)))
    assert len({span["traceId"] for span in alone}) == len({span["spanId"] for span in alone}) == 49
    assert all("parentSpanId" not in span for span in alone)
    together = spans_of(*(a_report(number) for number in range(1, 50)), parent=Parent(TRACE, SPAN, True))
    assert {(span["traceId"], span["parentSpanId"]) for span in together} == {(TRACE, SPAN)}
    assert len({span["spanId"] for span in together}) == 49


@pytest.mark.parametrize("parent", [None, Parent(TRACE, SPAN, True)])
def test_what_the_command_is_told_is_the_span_that_is_sent(parent: Parent | None) -> None:
    tracer = Tracer(KEY, parent, mode="count", argv=("x",), add=lambda _: None)
    [span] = spans_of(a_report(3), parent=parent)
    assert tracer.environment(3) == {"TRACEPARENT": f"00-{span['traceId']}-{span['spanId']}-01"}


def test_two_repetitions_have_different_ids() -> None:
    one, other = (Tracer(key * 32, None, mode="m", argv=("x",), add=lambda _: None) for key in (b"a", b"b"))
    assert one.place(1).trace_id != other.place(1).trace_id


def test_a_trace_that_is_not_sampled_is_passed_on_and_not_sent() -> None:
    tracer = Tracer(KEY, Parent(TRACE, SPAN, False), mode="m", argv=("x",), add=lambda _: pytest.fail("it was sent"))
    tracer.ended(a_report())
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-00", tracer.environment(1)["TRACEPARENT"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"00-{TRACE}-{SPAN}-01", Parent(TRACE, SPAN, True)),
        (f" 00-{TRACE}-{SPAN}-00 ", Parent(TRACE, SPAN, False)),
        (f"00-{TRACE}-{SPAN}-03", Parent(TRACE, SPAN, True)),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", Parent(TRACE, SPAN, True)),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        ("", None),
    ],
)
def test_a_traceparent_is_read_as_w3c_says(text: str, found: Parent | None) -> None:
    assert parent_in(text) == found


@given(st.text(max_size=80))
def test_any_text_may_stand_where_a_traceparent_is_expected(text: str) -> None:
    assert parent_in(text) is None


def test_names_that_are_no_text_can_be_sent_and_long_ones_are_cut() -> None:
    [span] = spans_of(a_report(fate=Fate.FAILED, exit_code=1, reason="r" * 5_000), argv=("/bin/w\udcff" + "x" * 5_000,))
    assert len(span["name"]) == len(span["status"]["message"]) == 1_000
    assert span["name"].startswith("w?x")


def test_a_request_says_whose_spans_they_are() -> None:
    added: list[bytes] = []
    tracer = Tracer(KEY, None, mode="count", argv=("x",), add=added.append)
    for number in (1, 2):
        tracer.ended(a_report(number))
    [whole] = json.loads(document({"service.name": "nightly", "process.pid": 3}, "1.2", added))["resourceSpans"]
    assert whole["resource"]["attributes"] == [
        {"key": "service.name", "value": {"stringValue": "nightly"}},
        {"key": "process.pid", "value": {"intValue": "3"}},
    ]
    [scope] = whole["scopeSpans"]
    assert scope["scope"] == {"name": "rpr", "version": "1.2"}
    assert scope["spans"] == [json.loads(span) for span in added]
