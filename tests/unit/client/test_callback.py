"""The SDK's half of a long job."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from tests.unit.client.conftest import Wire

from chronos.client import AsyncCallback, Callback, Reported
from chronos.errors import AttemptEnded, CallbackRefused, Invalid, Unavailable

ADDRESS = "https://chronos.example.org/cron/api/v1/callbacks?token=occ_1.1.2.mac"
MakeWire = Callable[..., Wire]


def answer(**body: Any) -> httpx2.Response:
    return httpx2.Response(200, json={"execution_id": "occ_1", "status": "running", "cancelled": False} | body)


def problem(status: int, slug: str) -> httpx2.Response:
    return httpx2.Response(status, json={"type": slug, "title": "No.", "status": status})


def a_callback(wire: Wire) -> Callback:
    return Callback(ADDRESS, transport=wire.transport, clock=wire.clock, sleep=wire.clock.sleep)


def sent(wire: Wire) -> list[Any]:
    return [json.loads(request.content) for request in wire.requests]


def test_a_report_goes_to_the_address_as_it_is_and_without_any_key(wire: MakeWire) -> None:
    line = wire(answer())
    with a_callback(line) as callback:
        assert callback.progress(40, "four of ten") is True
        assert callback.address == ADDRESS
    [request] = line.requests
    assert (request.method, str(request.url)) == ("POST", ADDRESS)
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers
    assert sent(line) == [{"progress": 40, "message": "four of ten"}]


def test_saying_nothing_says_that_it_goes_on_and_odd_figures_are_brought_in_bounds(wire: MakeWire) -> None:
    line = wire(answer())
    with a_callback(line) as callback:
        callback.progress()
        callback.progress(120, "x" * 5_000)
        callback.progress(-3)
    assert sent(line) == [{}, {"message": "x" * 4_096, "progress": 100}, {"progress": 0}]


@pytest.mark.parametrize("said", [answer(cancelled=True), problem(409, "attempt-ended")])
def test_progress_says_when_the_work_is_to_stop(wire: MakeWire, said: httpx2.Response) -> None:
    with a_callback(wire(said)) as callback:
        assert callback.progress(50) is False


def test_progress_that_finds_nobody_does_not_stop_the_work(wire: MakeWire) -> None:
    line = wire(httpx2.ConnectError("refused"))
    with a_callback(line) as callback:
        assert callback.progress(50) is True
    assert len(line.requests) == 2


def test_an_address_that_is_refused_is_an_error(wire: MakeWire) -> None:
    with a_callback(wire(problem(403, "callback-refused"))) as callback, pytest.raises(CallbackRefused):
        callback.progress(50)


def test_a_result_outlasts_a_restart_of_the_server(wire: MakeWire) -> None:
    line = wire(*[httpx2.ConnectError("refused")] * 20, problem(503, "draining"), answer(status="success"))
    with a_callback(line) as callback:
        assert callback.succeed("all ten") == Reported(execution_id="occ_1", status="success")
    assert {json.dumps(body) for body in sent(line)} == {
        json.dumps({"result": "success", "message": "", "output": "all ten", "retry": True})
    }
    assert len({request.headers["idempotency-key"] for request in line.requests}) == 1


def test_patience_ends(wire: MakeWire) -> None:
    line = wire(httpx2.ConnectError("refused"))
    with a_callback(line) as callback, pytest.raises(Unavailable):
        callback.succeed()
    assert 600 < line.clock.boottime() <= 900


def test_a_failure_says_why_and_whether_trying_again_can_help(wire: MakeWire) -> None:
    line = wire(answer())
    with a_callback(line) as callback:
        callback.fail("disk full", output="x" * 70_000, retry=False)
    [body] = sent(line)
    assert body == {"result": "failure", "message": "disk full", "output": "x" * 65_536, "retry": False}


def test_a_result_that_is_too_late_is_an_error(wire: MakeWire) -> None:
    with a_callback(wire(problem(409, "attempt-ended"))) as callback, pytest.raises(AttemptEnded):
        callback.succeed()


@pytest.mark.asyncio
async def test_the_same_can_be_awaited(wire: MakeWire) -> None:
    line = wire(answer())
    async with AsyncCallback(
        ADDRESS, transport=line.transport, clock=line.clock, sleep=line.clock.sleep_async
    ) as callback:
        assert await callback.progress(10) is True
        assert (await callback.succeed()).execution_id == "occ_1"
        assert (await callback.fail("no")).status == "running"
    assert [body.get("result") for body in sent(line)] == [None, "success", "failure"]


def test_the_address_is_found_among_the_headers_whatever_their_case() -> None:
    with Callback.of({"x-chronos-callback": ADDRESS}) as callback:
        assert callback.address == ADDRESS
    with pytest.raises(Invalid, match="completion: callback"):
        Callback.of({"X-Other": ADDRESS})


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ftp://chronos.example.org/api/v1/callbacks?token=x",
        "https://chronos.example.org/api/v1/callbacks",
        "https://chronos.example.org/api/v1/callbacks?token=",
        "https://chronos.example.org/api/v1/callbacks/more?token=x",
        "https://chronos.example.org/api/v1/jobs?token=x",
        "https:///api/v1/callbacks?token=x",
        "nonsense",
        "http://[::1/api/v1/callbacks?token=x",
    ],
)
def test_what_is_no_callback_address_is_refused(address: str) -> None:
    with pytest.raises(Invalid, match="no callback address"):
        Callback(address)


def test_reports_go_to_the_server_that_was_named_and_to_no_other() -> None:
    Callback(ADDRESS, server="https://Chronos.example.org/cron/").close()
    for server in ("https://chronos.example.org", "http://chronos.example.org/cron", "https://chronos.example"):
        with pytest.raises(Invalid, match="and not to"):
            Callback(ADDRESS, server=server)
