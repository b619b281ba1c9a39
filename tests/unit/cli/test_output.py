"""What is printed: tables that hold their columns, documents that programs read, nothing that steers a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, timedelta, timezone
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cli.conftest import Ctl, FixedClock

from chronos.cli.chronosctl.following import follow_logs
from chronos.cli.chronosctl.output import local_time, pairs, table, took, visible, visible_text, width_of
from chronos.cli.chronosctl.session import Session
from chronos.cli.chronosctl.views import execution_details, executions_table, jobs_table, state_of, why_of
from chronos.cli.chronosctl.yamlfile import load_yaml


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(("A", "LONG"), [("xyz", 1), ("日本", None)]) == "A     LONG\nxyz   1\n日本  -"


@given(st.lists(st.tuples(st.text(max_size=10), st.text(max_size=10)), max_size=5))
def test_a_table_has_a_line_for_each_row_whatever_is_in_it(rows: list[tuple[str, str]]) -> None:
    assert table(("A", "B"), rows).count("\n") == len(rows)


@given(st.text())
def test_nothing_that_is_printed_steers_the_terminal(text: str) -> None:
    assert all(c.isprintable() for c in visible(text))
    assert all(c.isprintable() or c in "\n\t" for c in visible_text(text))


def test_an_escape_sequence_in_a_name_is_shown() -> None:
    assert visible("a\x1b[31mb\n") == "a\\x1b[31mb\\n"
    assert "\x1b" not in jobs_table([{"name": "\x1b]0;x\x07", "schedule": "@hourly"}])


def test_wide_and_combining_characters_are_counted_as_a_terminal_does() -> None:
    assert (width_of("abc"), width_of("日本"), width_of("e\u0301")) == (3, 4, 1)


@pytest.mark.parametrize(
    ("ms", "text"), [(None, "-"), (0.4, "0 ms"), (340, "340 ms"), (12_345, "12.3 s"), (250_000, "4 m 10 s")]
)
def test_lengths_of_time_are_for_people(ms: float | None, text: str) -> None:
    assert took(ms) == text


def test_instants_are_shown_in_the_zone_of_the_reader() -> None:
    assert local_time("2027-01-01T00:00:00Z", UTC) == "2027-01-01 00:00:00 UTC"
    assert local_time("2027-01-01T00:00:00Z", timezone(timedelta(hours=9), "JST")) == "2027-01-01 09:00:00 JST"
    assert local_time(None) == "-"
    assert local_time("soon") == "soon"


def test_pairs_leave_out_what_is_empty() -> None:
    assert pairs([("A", 1), ("Long", "x"), ("None", None), ("Empty", "")]) == "A:     1\nLong:  x"


@pytest.mark.parametrize(
    ("job", "text"),
    [
        ({"enabled": True}, "enabled"),
        ({"enabled": False}, "disabled"),
        ({"enabled": False, "paused": {"reason": "moving"}}, "paused: moving"),
        ({"enabled": False, "paused": {}}, "paused"),
    ],
)
def test_a_job_that_does_not_fire_says_why(job: dict[str, Any], text: str) -> None:
    assert state_of(job) == text


def test_an_execution_that_did_not_run_says_why() -> None:
    run = {"id": "occ_1", "job_name": "a", "status": "skipped", "reason": "overlap", "blocked_by": "occ_0"}
    assert "overlap by occ_0" in executions_table([run])
    assert "overlap by occ_0" in execution_details(run)


@pytest.mark.parametrize(
    ("reason", "error", "why"),
    [
        ("gave up after 3 attempts: refused", "refused", "gave up after 3 attempts: refused"),
        ("breaker", "refused", "breaker: refused"),
        ("", "refused", "refused"),
        ("overlap", "", "overlap"),
        (None, None, ""),
    ],
)
def test_why_it_failed_is_said_once(reason: str | None, error: str | None, why: str) -> None:
    assert why_of({"status": "failed", "reason": reason, "error": error}) == why


def test_an_execution_shows_its_attempts_and_what_was_answered() -> None:
    attempts = [
        {"attempt": 1, "status": "failed", "status_code": 500, "error": "HTTP 500"},
        {"attempt": 2, "status": "success", "status_code": 200, "excerpt": "fine\x1b"},
    ]
    text = execution_details({"id": "occ_1", "job_name": "a", "status": "success", "attempts": attempts})
    assert "HTTP 500" in text
    assert text.endswith("Answer:\nfine\\x1b")


def test_every_list_can_be_read_by_programs(ctl: Ctl) -> None:
    ctl.server.add("a")
    as_json = ctl("job", "list", "-o", "json")
    as_yaml = ctl("-o", "yaml", "job", "list")
    assert json.loads(as_json.out) == load_yaml(as_yaml.out, "x")[0]


def test_there_are_no_colours_off_a_terminal(ctl: Ctl) -> None:
    runs = [{"id": "occ_1", "job_id": "j", "job_name": "a", "status": "failed"}]
    ctl.server.on("GET", "/api/v1/executions", 200, {"executions": runs})
    assert "\x1b" not in ctl("execution", "list").out


def test_executions_are_filtered_by_status_and_time(ctl: Ctl) -> None:
    ctl.server.on("GET", "/api/v1/executions", 200, {"executions": [], "next_cursor": None})
    ctl("execution", "list", "--status", "failed", "--status", "skipped", "--since", "2h", "--limit", "7")
    assert dict(ctl.server.requests[-1].url.params) == {
        "status": "failed,skipped",
        "since": "2027-01-01T10:00:00+00:00",
        "limit": "7",
    }


def test_executions_of_a_job_are_asked_by_its_id(ctl: Ctl) -> None:
    job = ctl.server.add("nightly")
    path = f"/api/v1/jobs/{job['id']}/executions"
    ctl.server.on("GET", path, 200, {"executions": [{"id": "occ_1", "job_id": job["id"], "status": "success"}]})
    assert "occ_1" in ctl("execution", "list", "nightly").out


def test_a_live_view_shows_a_line_for_each_change(ctl: Ctl) -> None:
    frames = (
        b": watching\n\n"
        b'id: 1.0\nevent: execution_started\ndata: {"id":"occ_1","job_id":"j","job_name":"a","status":"running"}\n\n'
        b'id: 1.1\nevent: job_updated\ndata: {"job_id":"j"}\n\n'
        b'id: 2.0\nevent: execution_finished\ndata: {"id":"occ_1","job_id":"j","job_name":"a","status":"success"}\n\n'
    )
    answer = httpx2.Response(200, content=frames, headers={"content-type": "text/event-stream"})
    ctl.server.answers["GET", "/api/v1/executions/stream"] = lambda _: answer
    done = ctl("execution", "watch", "--count", "2")
    assert [line.split()[:2] for line in done.out.splitlines()] == [["running", "a"], ["success", "a"]]


def test_logs_are_printed_by_attempt(ctl: Ctl) -> None:
    logs = [{"attempt": 1, "text": "one\n", "is_excerpt": False}, {"attempt": 2, "text": "two\x07", "is_excerpt": True}]
    ctl.server.on("GET", "/api/v1/executions/occ_1/logs", 200, {"execution_id": "occ_1", "logs": logs})
    assert ctl("execution", "logs", "occ_1").out == "--- attempt 1\none\n--- attempt 2\ntwo\\x07\n"


def stream(*events: dict[str, Any]) -> Callable[[httpx2.Request], httpx2.Response]:
    """Answer with server-sent events."""
    text = "".join(f"event: {e.pop('event')}\ndata: {json.dumps(e)}\n\n" for e in map(dict, events))
    return lambda _: httpx2.Response(200, text=text, headers={"content-type": "text/event-stream"})


def test_following_tells_every_attempt_once_until_the_execution_has_ended(ctl: Ctl) -> None:
    path = "/api/v1/executions/occ_1"
    one, two = ({"event": "log", "attempt": n, "text": f"{n}", "is_excerpt": False} for n in (1, 2))
    # The server ends its first stream while the execution waits for its second attempt, and breaks off the second one.
    streams = iter([stream(one, {"event": "end", "status": "retrying"}), stream(one), stream(one, two)])
    statuses = iter(["retrying", "running", "success"])
    ctl.server.answers["GET", f"{path}/logs"] = lambda request: next(streams)(request)
    ctl.server.answers["GET", path] = lambda _: httpx2.Response(200, json={"id": "occ_1", "status": next(statuses)})
    waits: list[float] = []
    session = Session(environ={"HOME": str(ctl.home)}, transport=ctl.server.transport, given_clock=FixedClock())
    told = list(follow_logs(session, "occ_1", sleep=waits.append))
    assert [(e["event"], e.get("attempt", e.get("status"))) for e in told] == [
        ("log", 1),
        ("log", 2),
        ("end", "success"),
    ]
    assert len(waits) == 2


def test_an_execution_that_has_ended_is_followed_to_its_end_at_once(ctl: Ctl) -> None:
    entry = {"event": "log", "attempt": 1, "text": "hello\n", "is_excerpt": False}
    ctl.server.answers["GET", "/api/v1/executions/occ_1/logs"] = stream(entry, {"event": "end", "status": "failed"})
    ctl.server.on("GET", "/api/v1/executions/occ_1", 200, {"id": "occ_1", "status": "failed"})
    done = ctl("execution", "logs", "occ_1", "-f")
    assert (done.out, done.err) == ("--- attempt 1\nhello\n", "The execution has ended: failed.\n")
    lines = ctl("execution", "logs", "occ_1", "-f", "-o", "json").out.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["log", "end"]


def test_what_a_program_prints_is_told_once_though_the_stream_begins_anew(ctl: Ctl) -> None:
    path = "/api/v1/executions/occ_1"
    hello, rest = (
        {"event": "output", "attempt": 1, "offset": offset, "text": text}
        for offset, text in ((0, "Tromsø\n"), (8, "is\n"))
    )
    whole = {"event": "output", "attempt": 1, "offset": 0, "text": "Tromsø\nis\ncold\n"}
    log = {"event": "log", "attempt": 1, "text": "Tromsø\nis\ncold\n", "is_excerpt": False}
    streams = iter([stream(hello), stream(hello, rest), stream(whole, log)])
    statuses = iter(["running", "running", "success"])
    ctl.server.answers["GET", f"{path}/logs"] = lambda request: next(streams)(request)
    ctl.server.answers["GET", path] = lambda _: httpx2.Response(200, json={"id": "occ_1", "status": next(statuses)})
    session = Session(environ={"HOME": str(ctl.home)}, transport=ctl.server.transport, given_clock=FixedClock())
    told = list(follow_logs(session, "occ_1", sleep=lambda _: None))
    assert "".join(e["text"] for e in told if e["event"] == "output") == "Tromsø\nis\ncold\n"
    assert [e["offset"] for e in told if e["event"] == "output"] == [0, 8, 11]
    assert [e["event"] for e in told] == ["output", "output", "output", "log", "end"]


def test_people_see_a_program_s_output_as_it_comes_and_not_again_at_the_end(ctl: Ctl) -> None:
    piece = {"event": "output", "attempt": 2, "offset": 0, "text": "hello\n"}
    failed = {"event": "log", "attempt": 1, "text": "no connection", "is_excerpt": False}
    log = {"event": "log", "attempt": 2, "text": "hello\n", "is_excerpt": False}
    ctl.server.answers["GET", "/api/v1/executions/occ_1/logs"] = stream(failed, piece, log)
    ctl.server.on("GET", "/api/v1/executions/occ_1", 200, {"id": "occ_1", "status": "success"})
    assert ctl("execution", "logs", "occ_1", "-f").out == "--- attempt 1\nno connection\n--- attempt 2\nhello\n"


LONG = {
    "id": "occ_1",
    "job_id": "j",
    "job_name": "backup",
    "status": "running",
    "kind": "schedule",
    "attempt": 1,
    "progress": 40,
    "message": "four of ten",
}


def test_how_far_a_long_run_is_stands_in_the_list(ctl: Ctl) -> None:
    done = LONG | {"id": "occ_2", "status": "success", "progress": 100}
    ctl.server.on("GET", "/api/v1/executions", 200, {"executions": [LONG, done]})
    listed = ctl("execution", "list").out
    assert "running 40 %" in listed
    assert "100 %" not in listed


def test_what_was_heard_of_a_long_run_is_shown(ctl: Ctl) -> None:
    ongoing = {
        "accepted_at": "2027-01-01T00:00:00Z",
        "deadline": "2027-01-01T04:00:00Z",
        "heard_at": "2027-01-01T01:00:00Z",
        "progress": 40,
        "message": "four of ten",
    }
    attempts = [{"attempt": 1, "status": "started", "ongoing": ongoing}]
    ctl.server.on("GET", "/api/v1/executions/occ_1", 200, LONG | {"attempts": attempts})
    shown = ctl("execution", "get", "occ_1").out
    assert "40 %: four of ten" in shown
    assert "Last heard" in shown
    assert "Deadline" in shown
    silent = [{"attempt": 1, "status": "started", "ongoing": ongoing | {"progress": None, "message": ""}}]
    ctl.server.on("GET", "/api/v1/executions/occ_1", 200, LONG | {"attempts": silent})
    assert "not reported" in ctl("execution", "get", "occ_1").out


def test_the_log_of_a_long_run_says_how_far_it_came(ctl: Ctl) -> None:
    entry = {"attempt": 1, "text": "", "is_excerpt": True, "progress": 40, "message": "four of ten"}
    ctl.server.on("GET", "/api/v1/executions/occ_1/logs", 200, {"execution_id": "occ_1", "logs": [entry]})
    assert ctl("execution", "logs", "occ_1").out == "--- attempt 1 (40 %: four of ten)\n"


def test_reports_are_followed_and_told_once(ctl: Ctl) -> None:
    path = "/api/v1/executions/occ_1"
    first, second = ({"event": "progress", "attempt": 1, "progress": n, "message": ""} for n in (10, 20))
    log = {"event": "log", "attempt": 1, "text": "done", "is_excerpt": False}
    streams = iter([stream(first), stream(first, second, log)])
    statuses = iter(["running", "success"])
    ctl.server.answers["GET", f"{path}/logs"] = lambda request: next(streams)(request)
    ctl.server.answers["GET", path] = lambda _: httpx2.Response(200, json={"id": "occ_1", "status": next(statuses)})
    session = Session(environ={"HOME": str(ctl.home)}, transport=ctl.server.transport, given_clock=FixedClock())
    told = list(follow_logs(session, "occ_1", sleep=lambda _: None))
    assert [(e["event"], e.get("progress")) for e in told] == [
        ("progress", 10),
        ("progress", 20),
        ("log", None),
        ("end", None),
    ]


def test_people_see_reports_as_they_come(ctl: Ctl) -> None:
    report = {"event": "progress", "attempt": 1, "progress": 40, "message": "four\x07"}
    ctl.server.answers["GET", "/api/v1/executions/occ_1/logs"] = stream(report, {"event": "end", "status": "success"})
    ctl.server.on("GET", "/api/v1/executions/occ_1", 200, {"id": "occ_1", "status": "success"})
    assert ctl("execution", "logs", "occ_1", "-f").out == "attempt 1: 40 %: four\\x07\n"
