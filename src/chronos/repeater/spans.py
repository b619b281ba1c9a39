"""What a run is as an OpenTelemetry span: its place in a trace, and how that is written down."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from chronos.repeater.engine import Report
from chronos.repeater.stops import Fate

TEXT_CHARS_MAX = 1_000
CLIENT = 3
"""The kind of a span that waits for another program."""

ERROR = 2
SAMPLED = 1

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


class Parent(NamedTuple):
    """The span that a repetition belongs to.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 of them.
    """

    trace_id: str
    span_id: str
    is_sampled: bool


class Place(NamedTuple):
    """Where a run is in a trace. `parent_id` is empty for the first span of one."""

    trace_id: str
    span_id: str
    parent_id: str
    is_sampled: bool

    @property
    def traceparent(self) -> str:
        """Return what the command is told, so that its own spans become children of the run's."""
        return f"00-{self.trace_id}-{self.span_id}-{self.is_sampled:02x}"


def parent_in(text: str) -> Parent | None:
    """Return what a `traceparent` names; None when it is none, which is no error.

    Source: https://www.w3.org/TR/trace-context/
    """
    found = _TRACEPARENT.fullmatch(text.strip())
    if not found:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    is_known = version != "ff" and (version != "00" or rest is None)
    if not is_known or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return Parent(trace_id, span_id, bool(int(flags, 16) & SAMPLED))


class Tracer:
    """A listener that makes a span of each run that has ended, and tells each run its place before it starts.

    A run's ids follow from its number, so that nothing is kept for runs that are on.

    Args:
        key: Random bytes, other ones for each repetition.
        parent: With one, all runs are in its trace; without, each run is a trace of its own.
        add: Takes a span, encoded; must return at once.
    """

    def __init__(
        self, key: bytes, parent: Parent | None, *, mode: str, argv: Sequence[str], add: Callable[[bytes], None]
    ) -> None:
        self._key = key
        self._parent = parent
        self._mode = mode
        self._command = os.path.basename(argv[0]) or argv[0]
        self._add = add

    def place(self, number: int) -> Place:
        digest = hashlib.blake2b(str(number).encode(), digest_size=24, key=self._key).hexdigest()
        if self._parent:
            return Place(self._parent.trace_id, digest[32:], self._parent.span_id, self._parent.is_sampled)
        return Place(digest[:32], digest[32:], "", True)

    def environment(self, number: int) -> Mapping[str, str]:
        """Return what a run's environment has besides."""
        return {"TRACEPARENT": self.place(number).traceparent}

    def wrote(self, number: int, stream: int, data: bytes) -> None:
        """What a run prints is not told: it may be secret."""

    def ended(self, report: Report) -> None:
        place = self.place(report.run.number)
        if place.is_sampled:
            self._add(span(report, place, mode=self._mode, command=self._command))


def span(report: Report, place: Place, *, mode: str, command: str) -> bytes:
    """Return a run as OTLP's JSON. Its length is measured, not the difference of two readings of the wall clock."""
    run = report.run
    began_ns = round(run.started_at * 1e9)
    found: dict[str, Any] = {
        "traceId": place.trace_id,
        "spanId": place.span_id,
        "flags": SAMPLED,
        "name": _text(command),
        "kind": CLIENT,
        "startTimeUnixNano": str(began_ns),
        "endTimeUnixNano": str(began_ns + max(0, round((run.ended_s - run.started_s) * 1e9))),
        "attributes": attributes(_facts(report, mode, command)),
    }
    if place.parent_id:
        found["parentSpanId"] = place.parent_id
    if report.fate.counts and not run.ok:
        found["status"] = {"code": ERROR, "message": _text(_why(report))}
    return json.dumps(found, separators=(",", ":")).encode()


def _facts(report: Report, mode: str, command: str) -> dict[str, str | int]:
    run = report.run
    facts: dict[str, str | int] = {
        "process.executable.name": command,
        "process.exit.code": run.exit_code,
        "rpr.mode": mode,
        "rpr.run": run.number,
        "rpr.attempt": report.attempt,
        "rpr.result": report.fate.value,
    }
    return {**facts, "error.type": _error_type(report)} if report.fate.counts and not run.ok else facts


def _error_type(report: Report) -> str:
    """Return one of few words, so that failures can be counted by it."""
    if report.fate in (Fate.TIMED_OUT, Fate.NOT_STARTED):
        return str(report.fate.value).replace(" ", "_")
    return "pattern" if report.reason or not report.run.exit_code else str(report.run.exit_code)


def _why(report: Report) -> str:
    code = report.run.exit_code
    return report.reason or (f"exit code {code}" if code else "the failure pattern matched")


def attributes(facts: Mapping[str, str | int]) -> list[dict[str, Any]]:
    """Return names and values as OTLP's JSON has them."""
    return [
        {"key": name, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": _text(value)}}
        for name, value in facts.items()
    ]


def _text(text: str) -> str:
    """Return text that can be sent: a file name may hold bytes that are no characters."""
    return text[:TEXT_CHARS_MAX].encode("utf-8", "replace").decode()


def document(resource: Mapping[str, str | int], version: str, spans: Sequence[bytes]) -> bytes:
    """Return a request to a collector.

    Source: https://opentelemetry.io/docs/specs/otlp/
    """
    head = json.dumps({"attributes": attributes(resource)}).encode()
    scope = json.dumps({"name": "rpr", "version": version}).encode()
    scope_spans = b'{"scope":%s,"spans":[%s]}' % (scope, b",".join(spans))
    return b'{"resourceSpans":[{"resource":%s,"scopeSpans":[%s]}]}' % (head, scope_spans)
