"""Spans of runs, as a collector gets them from the command that people type."""

from __future__ import annotations

import http.server
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import msgspec
import pytest
from tests.acceptance.rpr.typed import a_line, rpr, running

from chronos.repeater.exporting import BATCH_MAX, LAST_S, QUEUE_MAX, REQUEST_S, TRIES_MAX

LATE_S = 20.0
SECOND_STAYS = 'echo "$RPR_RUN"; [ "$RPR_RUN" = 1 ] || exec sleep 60'
REFERENCE = (Path(__file__).resolve().parents[3] / "docs/reference/rpr-observability.md").read_text()
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


# OTLP's JSON as opentelemetry/proto/trace/v1 has it, read strictly: 64-bit numbers are text, ids hexadecimal.
class Value(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    string_value: str | None = None
    int_value: str | None = None


class Attribute(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    key: str
    value: Value


class Status(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    code: int
    message: str = ""


class Span(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    trace_id: str
    span_id: str
    flags: int
    name: str
    kind: int
    start_time_unix_nano: str
    end_time_unix_nano: str
    attributes: list[Attribute]
    parent_span_id: str = ""
    status: Status = Status(0)

    @property
    def facts(self) -> dict[str, str | None]:
        return {each.key: each.value.string_value or each.value.int_value for each in self.attributes}

    @property
    def seconds(self) -> float:
        return (int(self.end_time_unix_nano) - int(self.start_time_unix_nano)) / 1e9


class Scope(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    name: str
    version: str


class ScopeSpans(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    scope: Scope
    spans: list[Span]


class Resource(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    attributes: list[Attribute]


class ResourceSpans(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    resource: Resource
    scope_spans: list[ScopeSpans]


class Request(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    resource_spans: list[ResourceSpans]


class Collector:
    """What a collector has got."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: Queue[tuple[str, dict[str, str], Request]] = Queue()

    def all(self) -> list[Request]:
        return [self.requests.get_nowait()[2] for _ in range(self.requests.qsize())]

    def spans(self) -> list[Span]:
        """Return the spans so far, by run."""
        found = [span for each in self.all() for part in each.resource_spans[0].scope_spans for span in part.spans]
        return sorted(found, key=lambda span: int(span.facts["rpr.run"] or 0))


@contextmanager
def collector() -> Iterator[Collector]:
    it = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            it.requests.put((self.path, dict(self.headers.items()), msgspec.json.decode(body, type=Request)))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """The test's output is not the place for it."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        it.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield it
        finally:
            server.shutdown()
            thread.join(LATE_S)


def test_each_run_is_a_span_and_knows_its_own() -> None:
    with collector() as there:
        script = 'echo "$TRACEPARENT"; sleep 0.05; [ "$RPR_RUN" != 2 ] || exit 7'
        done = rpr("count", "--times", "3", "--otlp-endpoint", there.url, "--", "sh", "-c", script)
        spans = there.spans()
    assert (done.code, len(spans)) == (1, 3)
    assert [f"00-{span.trace_id}-{span.span_id}-01" for span in spans] == done.lines
    assert len({span.trace_id for span in spans}) == 3
    assert [span.facts["rpr.run"] for span in spans] == ["1", "2", "3"]
    assert [span.facts["process.exit.code"] for span in spans] == ["0", "7", "0"]
    assert [(span.status.code, span.status.message) for span in spans] == [(0, ""), (2, "exit code 7"), (0, "")]
    assert [span.facts["rpr.attempt"] for span in spans] == ["1", "1", "2"]
    assert {(span.name, span.facts["rpr.mode"]) for span in spans} == {("sh", "count")}
    assert all(0.05 <= span.seconds < LATE_S for span in spans)


def test_tries_of_one_thing_are_numbered_and_belong_to_the_trace_they_were_started_in() -> None:
    line = ["exponential", "--base-delay", "1ms", "--attempts", "3", "--timeout", "50ms", "--", "sleep", "60"]
    with collector() as there:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": there.url, "TRACEPARENT": PARENT}
        assert rpr(*line, env=environment).code == 1
        spans = there.spans()
    assert [span.facts["rpr.attempt"] for span in spans] == ["1", "2", "3"]
    assert {(span.trace_id, span.parent_span_id) for span in spans} == {tuple(PARENT.split("-")[1:3])}
    assert {(span.facts["error.type"], span.status.message) for span in spans} == {("timed_out", "timeout")}


def test_a_command_that_is_not_there_is_a_span_too() -> None:
    with collector() as there:
        rpr("count", "--times", "1", "--otlp-endpoint", there.url, "--", "nonexistent-cmd")
        [span] = there.spans()
    assert (span.facts["error.type"], span.facts["process.exit.code"]) == ("not_started", "127")


def test_the_reference_has_every_attribute_and_every_bound() -> None:
    with collector() as there:
        rpr("count", "--times", "1", "--otlp-endpoint", there.url, "--", "false")
        [span] = there.spans()
    attributes = REFERENCE.partition("| attribute | |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([\w.]+)` \|", attributes, re.MULTILINE) == list(span.facts)
    bounds = REFERENCE.partition("| bound | |")[2]
    assert f"| spans that wait | {QUEUE_MAX:,};" in bounds
    assert f"| spans in one request | {BATCH_MAX}," in bounds
    assert f"| a request | {REQUEST_S:g} s " in bounds
    assert f"| tries | {TRIES_MAX}, " in bounds
    assert f"| the end of `rpr` | put off for up to {LAST_S:g} s " in bounds


def test_the_file_may_name_the_collector_and_what_is_typed_wins(tmp_path: Path) -> None:
    with collector() as there:
        (tmp_path / "rpr.toml").write_text('[observability]\notlp_endpoint = "http://127.0.0.1:1"\n')
        line = ["--config", "rpr.toml", "count", "--times", "1", "--otlp-endpoint", there.url, "--", "true"]
        assert rpr(*line, cwd=tmp_path).err == ""
        assert len(there.spans()) == 1
        (tmp_path / "rpr.toml").write_text(f'[observability]\notlp_endpoint = "{there.url}"\n')
        assert rpr("--config", "rpr.toml", "count", "--times", "1", "--", "true", cwd=tmp_path).err == ""
        assert len(there.spans()) == 1


def test_a_request_goes_to_the_path_of_traces_with_the_headers_of_the_environment() -> None:
    with collector() as there:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"{there.url}/otlp",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20abc,x-tenant=7",
            "OTEL_SERVICE_NAME": "nightly",
        }
        assert rpr("count", "--times", "1", "--", "true", env=environment).code == 0
        path, headers, request = there.requests.get_nowait()
    assert (path, headers["authorization"], headers["x-tenant"]) == ("/otlp/v1/traces", "Bearer abc", "7")
    said = {each.key: each.value.string_value for each in request.resource_spans[0].resource.attributes}
    assert said["service.name"] == "nightly"


def test_six_hundred_runs_are_six_hundred_spans_in_few_requests() -> None:
    with collector() as there:
        assert rpr("count", "--times", "600", "-q", "--otlp-endpoint", there.url, "--", "true").code == 0
        requests = there.requests.qsize()
        assert [span.facts["rpr.run"] for span in there.spans()] == [str(number) for number in range(1, 601)]
    assert requests < 60


@contextmanager
def silent() -> Iterator[str]:
    """Whoever connects is heard by nobody, and never hears that."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_without_an_answer_runs_are_as_they_would_be_and_one_line_says_what_is_lost() -> None:
    line = ["--", "sh", "-c", "echo $RPR_RUN; exit 3"]
    with silent() as url:
        done = rpr("count", "--times", "3", "--exit-code", "last", "--otlp-endpoint", url, *line)
        quiet = rpr("count", "--times", "1", "--quiet", "--otlp-endpoint", url, *line)
    assert (done.code, done.out) == (3, "1\n2\n3\n")
    assert f"Warning: 3 spans did not reach {url}/v1/traces: no answer\n" in done.err
    assert "Warning" not in quiet.err
    assert done.seconds < LATE_S


def test_an_interrupted_repetition_sends_what_it_has_and_the_run_that_was_cut() -> None:
    with collector() as there:
        with running("i", "-e", "1ms", "--otlp-endpoint", there.url, "--", "sh", "-c", SECOND_STAYS) as process:
            assert [a_line(process) for _ in range(2)] == [b"1\n", b"2\n"]
            process.send_signal(signal.SIGINT)
            assert process.wait(LATE_S) == 130
        spans = there.spans()
    assert [span.facts["rpr.result"] for span in spans] == ["ok", "cut"]
    assert [span.status.code for span in spans] == [0, 0]


def test_a_silent_collector_does_not_keep_an_interrupted_repetition() -> None:
    with (
        silent() as url,
        running("i", "-e", "1ms", "--otlp-endpoint", url, "--", "sh", "-c", SECOND_STAYS) as process,
    ):
        assert [a_line(process) for _ in range(2)] == [b"1\n", b"2\n"]
        process.send_signal(signal.SIGINT)
        assert process.wait(LATE_S) == 130


@pytest.mark.parametrize(
    "environment",
    [{"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317"}, {"OTEL_EXPORTER_OTLP_HEADERS": "hidden"}],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(environment: dict[str, str]) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **environment}
    done = rpr("count", "--times", "1", "--", "echo", "x", env=environment)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "hidden" not in done.err


def test_switched_off_there_are_no_spans_and_the_command_is_told_nothing() -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}
    done = rpr("count", "--times", "1", "--", "sh", "-c", 'echo "[$TRACEPARENT]"', env=environment)
    assert (done.code, done.out, done.err) == (0, "[]\n", "")
