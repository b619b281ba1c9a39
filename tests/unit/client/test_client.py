"""What a program may rely on when it speaks with a server through the SDK."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.client.conftest import Wire

from chronos import errors
from chronos.client import AsyncClient, Client, Patience, ServerFailed, UnknownAnswer
from chronos.client import operations as ops
from chronos.client.operation import path_of
from chronos.client.problems import error_of
from chronos.errors import ChronosError, Invalid, NameTaken, NotFound, Overlap, Unavailable, VersionConflict
from chronos.model.job import JobSpec
from chronos.model.target import HttpTarget

LAST = {"id": "occ_1", "status": "success", "scheduled_time": "2026-12-31T00:00:00Z", "of_tomorrow": 1}
JOB = {
    "id": "01J",
    "name": "a",
    "revision": 3,
    "enabled": True,
    "next_run": "2027-01-01T00:00:00Z",
    "last_execution": LAST,
    "of_tomorrow": 1,
}
OK = httpx2.Response(200, json=JOB)
BUSY = httpx2.Response(503, json={"type": "draining", "detail": "Going down."}, headers={"retry-after": "1"})
LOST = httpx2.ReadError("gone")

Wires = Callable[..., Wire]


def test_a_job_comes_back_typed_and_what_is_unknown_is_overlooked(wire: Wires) -> None:
    job = wire(OK).client().get_job("a")
    assert (job.id, job.revision, job.next_run) == ("01J", 3, datetime(2027, 1, 1, tzinfo=UTC))
    assert job.last_execution is not None
    assert (job.last_execution.id, job.last_execution.status) == ("occ_1", "success")


def test_fetch_gives_the_whole_answer(wire: Wires) -> None:
    assert wire(OK).client().fetch(ops.job("a")) == JOB


def test_a_spec_is_sent_as_it_was_meant(wire: Wires) -> None:
    line = wire(OK)
    line.client().create_job(JobSpec(name="a", schedule="@hourly", webhook=HttpTarget(url="http://t.example/")))
    sent = json.loads(line.requests[0].content)
    assert (sent["name"], sent["schedule"], sent["webhook"]["url"]) == ("a", "@hourly", "http://t.example/")
    assert None not in sent.values()


@pytest.mark.parametrize("first", [BUSY, LOST, httpx2.ConnectTimeout("slow"), httpx2.Response(502, text="<html>")])
def test_a_lost_write_is_sent_again_under_the_same_key(wire: Wires, first: httpx2.Response | Exception) -> None:
    line = wire(first, first, OK)
    assert line.client().create_job({"name": "a"}).name == "a"
    assert len(line.requests) == 3
    assert len({request.headers["idempotency-key"] for request in line.requests}) == 1
    assert len({request.content for request in line.requests}) == 1


def test_two_writes_have_two_keys(wire: Wires) -> None:
    line = wire(OK)
    client = line.client()
    client.enable_job("a")
    client.enable_job("a")
    assert len({request.headers["idempotency-key"] for request in line.requests}) == 2


@pytest.mark.parametrize("answer", [BUSY, LOST])
def test_tries_end(wire: Wires, answer: httpx2.Response | Exception) -> None:
    line = wire(answer)
    with pytest.raises(Unavailable):
        line.client(Patience(tries_max=3)).trigger_job("a")
    assert len(line.requests) == 3


@given(st.integers(1, 20), st.floats(0.0, 30.0), st.sampled_from(["0", "1", "3600", "-5", "nan", "inf", "soon", ""]))
def test_waiting_is_bounded_whatever_the_server_asks(tries: int, total_s: float, retry_after: str) -> None:
    line = Wire([httpx2.Response(503, json={}, headers={"retry-after": retry_after})])
    with pytest.raises(Unavailable):
        line.client(Patience(tries_max=tries, total_s=total_s, pause_s_max=5.0)).resume_job("a")
    assert len(line.requests) <= tries
    assert sum(line.clock.waits) <= total_s
    assert all(0 <= wait <= 5.0 for wait in line.clock.waits)


def test_retry_after_is_waited_for(wire: Wires) -> None:
    line = wire(BUSY, OK)
    line.client().get_job("a")
    assert line.clock.waits == [1.0]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 422, 428, 429, 500, 507])
def test_what_was_refused_is_not_asked_again(wire: Wires, status: int) -> None:
    line = wire(httpx2.Response(status, json={"detail": "No."}))
    with pytest.raises(ChronosError):
        line.client().delete_job("a")
    assert len(line.requests) == 1


def leaves(kind: type[ChronosError]) -> list[type[ChronosError]]:
    return [kind, *(leaf for below in kind.__subclasses__() for leaf in leaves(below))]


@pytest.mark.parametrize("kind", [kind for kind in leaves(ChronosError) if kind.__module__ == errors.__name__])
def test_an_error_arrives_as_the_class_it_left_as(kind: type[ChronosError]) -> None:
    body = json.dumps({"type": kind.slug, "title": "T.", "status": 400, "detail": "What.", "field": "x"}).encode()
    error = error_of(400, body, "here")
    assert type(error) is kind
    assert str(error) == "What."
    assert error.facts == {"field": "x", "status": 400}


@pytest.mark.parametrize(
    ("status", "family"),
    [(400, Invalid), (404, NotFound), (412, VersionConflict), (499, Invalid), (500, ServerFailed), (504, Unavailable)],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"type": "of-tomorrow"}', b'{"type": 5}'])
def test_an_unknown_error_is_of_its_status_family(status: int, family: type[ChronosError], body: bytes) -> None:
    error = error_of(status, body, "http://h")
    assert type(error) is family
    assert str(error)


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, text="<html>hello</html>"),
        httpx2.Response(200, json=[1]),
        httpx2.Response(200, json={"name": 5}),
        httpx2.Response(302, headers={"location": "http://elsewhere/"}),
    ],
)
def test_what_no_chronos_would_answer_is_said_to_be_so(wire: Wires, answer: httpx2.Response) -> None:
    line = wire(answer)
    with pytest.raises(UnknownAnswer):
        line.client(api_key="k").get_job("a")
    assert [request.url.host for request in line.requests] == ["127.0.0.1"]


def test_a_change_says_what_it_is_based_on(wire: Wires) -> None:
    line = wire(OK)
    line.client().replace_job("a", {"name": "a"}, revision=7)
    assert line.requests[0].headers["if-match"] == '"7"'


def test_refusals_have_their_names(wire: Wires) -> None:
    with pytest.raises(NameTaken):
        wire(httpx2.Response(409, json={"type": "name-taken"})).client().create_job({"name": "a"})
    with pytest.raises(Overlap) as caught:
        wire(httpx2.Response(409, json={"type": "overlap", "blocked_by": "occ_0"})).client().trigger_job("a")
    assert caught.value.facts["blocked_by"] == "occ_0"


def test_waiting_for_an_execution_is_given_the_time_it_needs(wire: Wires) -> None:
    line = wire(httpx2.Response(202, json={"id": "occ_1", "job_id": "j", "status": "success"}))
    assert line.client().trigger_job("a", wait="45s").has_ended
    assert line.requests[0].url.params["wait"] == "45s"
    assert line.requests[0].extensions["timeout"]["read"] == 75.0


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_a_name_stays_one_part_of_the_path(name: str) -> None:
    assert path_of("jobs", name, "trigger").count("/") == 5


def test_pages_are_walked_to_the_end(wire: Wires) -> None:
    pages = [
        httpx2.Response(
            200, json={"jobs": [{"id": str(n), "name": f"j{n}"}], "next_cursor": f"c{n}" if n < 3 else None}
        )
        for n in range(1, 4)
    ]
    line = wire(*pages)
    assert [job.name for job in line.client().iter_jobs(tags={"a": "b"}, limit=1)] == ["j1", "j2", "j3"]
    assert [request.url.params.get("cursor") for request in line.requests] == [None, "c1", "c2"]
    assert all(request.url.params["tag.a"] == "b" for request in line.requests)


def test_a_cursor_that_does_not_move_ends_the_walk(wire: Wires) -> None:
    line = wire(httpx2.Response(200, json={"executions": [], "next_cursor": "c"}))
    assert list(line.client().iter_executions()) == []
    assert len(line.requests) == 2


LOCAL = httpx2.Response(503, json={"detail": "No quorum; ?consistency=local reads this node."})


def test_a_read_falls_back_to_the_node_and_says_how_stale(wire: Wires) -> None:
    told: list[str] = []
    answer = httpx2.Response(200, json=JOB, headers={"Chronos-Applied-Index": "42"})
    line = wire(LOCAL, answer)
    assert line.client(Patience(tries_max=1), on_stale=told.append).get_job("a").id == "01J"
    assert line.requests[-1].url.params["consistency"] == "local"
    assert len(told) == 1
    assert "42" in told[0]


def test_a_write_never_falls_back(wire: Wires) -> None:
    line = wire(LOCAL)
    with pytest.raises(Unavailable):
        line.client(Patience(tries_max=1)).delete_job("a")
    assert len(line.requests) == 1


def frames(*ids: int) -> httpx2.Response:
    text = "".join(f'id: {n}.0\nevent: execution_finished\ndata: {{"n": {n}}}\n\n' for n in ids)
    return httpx2.Response(200, text=": hi\n\n" + text, headers={"content-type": "text/event-stream"})


def test_a_stream_goes_on_behind_the_last_event(wire: Wires) -> None:
    line = wire(frames(1, 2), BUSY, LOST, frames(3), httpx2.Response(401, json={"type": "unauthenticated"}))
    events = line.client().watch_executions()
    assert [event.data["n"] for event in islice(events, 3)] == [1, 2, 3]
    with pytest.raises(errors.Unauthenticated):
        next(events)
    assert [request.headers.get("last-event-id") for request in line.requests] == [None, "2.0", "2.0", "2.0", "3.0"]


def test_a_stream_that_brings_nothing_more_is_given_up(wire: Wires) -> None:
    line = wire(frames())
    with pytest.raises(Unavailable):
        list(line.client().watch_executions())
    assert len(line.requests) == 6


def test_what_is_no_stream_is_said_to_be_so(wire: Wires) -> None:
    line = wire(OK)
    with pytest.raises(UnknownAnswer):
        list(line.client().watch_executions())
    assert len(line.requests) == 1


@pytest.mark.parametrize("server", ["", "127.0.0.1:8080", "ftp://h", "http://", "http://h:port", "file:///etc/passwd"])
def test_what_is_no_address_is_refused(server: str) -> None:
    with pytest.raises(Invalid):
        Client(server)


def test_certificates_that_are_not_there_are_refused() -> None:
    with pytest.raises(Invalid) as caught:
        Client("https://127.0.0.1:1", ca_file="/no/such/file.pem")
    assert "/no/such/file.pem" in str(caught.value)


def test_both_clients_offer_the_same() -> None:
    def surface(kind: type) -> dict[str, list[str]]:
        return {
            name: [str(p) for p in inspect.signature(member).parameters.values() if p.name != "sleep"]
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert surface(Client) == surface(AsyncClient)


def test_the_awaited_client_follows_the_same_rules(wire: Wires) -> None:
    async def scenario() -> None:
        line = wire(BUSY, LOST, OK)
        async with line.async_client(api_key="k") as client:
            assert (await client.create_job({"name": "a"})).name == "a"
        assert len({request.headers["idempotency-key"] for request in line.requests}) == 1
        assert line.requests[0].headers["authorization"] == "Bearer k"

        line = wire(frames(1, 2), frames(3), httpx2.Response(403, json={"type": "denied"}))
        async with line.async_client() as client:
            events = client.watch_executions()
            assert [(await anext(events)).data["n"] for _ in range(3)] == [1, 2, 3]
            with pytest.raises(errors.Denied):
                await anext(events)

        line = wire(httpx2.Response(200, json={"jobs": [{"id": "1", "name": "j"}]}))
        async with line.async_client() as client:
            assert [job.name async for job in client.iter_jobs()] == ["j"]

    asyncio.run(scenario())


OPERATIONS = [
    name
    for name, member in vars(ops).items()
    if getattr(member, "__module__", "") == ops.__name__ and not name.startswith("_")
]


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_under_the_api_and_declares_a_body_only_when_it_writes(name: str) -> None:
    function = getattr(ops, name)
    now = datetime(2027, 1, 1, tzinfo=UTC)
    samples = {"spec": {"name": "a"}, "specs": [{}], "patch": {}, "document": {}, "target": {}, "number": 1}
    samples |= {"revision": 1, "since": now, "until": now, "old": 1, "new": 2}
    needed = {
        p.name: samples.get(p.name, "x")
        for p in inspect.signature(function).parameters.values()
        if p.default is inspect.Parameter.empty
    }
    operation = function(**needed)
    assert operation.path.startswith(("/api/v1/", "/health", "/ready"))
    assert operation.method in ("GET", "POST", "PUT", "PATCH", "DELETE")
    assert not (operation.is_read and operation.body)
