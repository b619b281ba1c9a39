"""From bytes to a call, and what is said when they cannot be one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import Struct, field
from tests.unit.server.asgi import application, ask

from chronos.model.job import JobSpec
from chronos.plugin import Call, Endpoint, Reply
from chronos.testing import virtual_time


class Asked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: int = 50
    enabled: bool | None = None
    status: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)


class Little(Struct, forbid_unknown_fields=True):
    """A body that may be left out."""

    by: str = ""


seen: list[Call] = []


async def note(call: Call) -> Reply:
    seen.append(call)
    return Reply(value={"ok": True}, headers={"ETag": '"4"'})


async def think(_: Call) -> Reply:
    await asyncio.sleep(3600)
    return Reply(value={"ok": True})


async def fail_of_its_own(_: Call) -> Reply:
    raise TimeoutError


APP = application(
    [
        Endpoint("GET", "/thoughts", think, "job:read"),
        Endpoint("POST", "/thoughts", think, "job:create"),
        Endpoint("GET", "/failures", fail_of_its_own, "job:read"),
        Endpoint("POST", "/jobs", note, "job:create", body=JobSpec, status=201),
        Endpoint("POST", "/nothing", note, "job:create"),
        Endpoint("POST", "/little", note, "job:create", body=Little),
        Endpoint("GET", "/jobs", note, "job:read", query=Asked),
        Endpoint("PUT", "/jobs/{job}", note, "job:update", body=JobSpec, needs_if_match=True),
        Endpoint("POST", "/lines", note, "job:create", raw_body="application/x-ndjson"),
    ]
)
GOOD = b'{"name":"a","schedule":"@daily","webhook":{"url":"http://a.example/"}}'


@pytest.mark.asyncio
async def test_a_good_body_arrives_decoded() -> None:
    answered = await ask(APP, "POST", "/jobs", GOOD)

    assert (answered.status, answered.json) == (201, {"ok": True})
    assert isinstance(seen[-1].body, JobSpec)


@pytest.mark.parametrize(
    ("body", "status", "slug", "field_name"),
    [
        (b"", 400, "malformed-json", None),
        (b"{", 400, "malformed-json", None),
        (b"\xff\xfe", 400, "malformed-json", None),
        (b'{"name":"a","name":"b"}', 400, "malformed-json", "name"),
        (b'{"max_concurrent":NaN}', 400, "malformed-json", None),
        (b'{"max_concurrent":-Infinity}', 400, "malformed-json", None),
        (b"[" * 40 + b"]" * 40, 400, "malformed-json", None),
        (b"[" * 200_000, 400, "malformed-json", None),
        (b'{"max_concurrent":' + b"9" * 5_000 + b"}", 400, "malformed-json", None),
        (b"[]", 422, "field-invalid", ""),
        (b'{"schedule":"@daily"}', 422, "field-missing", "name"),
        (b'{"name":"a","concurrency_policy":"forbid"}', 422, "field-unknown", "concurrency_policy"),
        (b'{"name":"a","webhook":{"url":"u","metod":"GET"}}', 422, "field-unknown", "webhook.metod"),
        (b'{"name":"a","max_concurrent":"many"}', 422, "field-invalid", "max_concurrent"),
        (b'{"name":"a","retry_policy":{"max_attempts":101}}', 422, "field-invalid", "retry_policy.max_attempts"),
        (b'{"name":"a","id":"01X"}', 422, "field-unknown", "id"),
        (b'{"name":"../x"}', 422, "field-invalid", "name"),
    ],
)
@pytest.mark.asyncio
async def test_a_bad_body_is_refused_with_the_field(
    body: bytes, status: int, slug: str, field_name: str | None
) -> None:
    before = len(seen)
    answered = await ask(APP, "POST", "/jobs", body)

    assert (answered.status, answered.json["type"], answered.json.get("field")) == (status, slug, field_name)
    assert answered.headers["content-type"] == "application/problem+json"
    assert answered.json["status"] == status
    assert answered.json["title"]
    assert answered.json["detail"]
    assert len(seen) == before, "nothing was done"


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [("concurrency_policy", "`concurrency`"), ("time_zone", "`timezone`"), ("webhook_url", "`webhook.url`")],
)
@pytest.mark.asyncio
async def test_an_unknown_field_is_told_its_nearest(wrong: str, hint: str) -> None:
    answered = await ask(APP, "POST", "/jobs", b'{"name":"a","%s":"x"}' % wrong.encode())

    assert f"Did you mean {hint}?" in answered.json["detail"]


@pytest.mark.asyncio
async def test_a_body_of_more_than_a_mebibyte_is_refused_however_it_is_sent() -> None:
    big = b'{"name":"' + b"a" * (1 << 20) + b'"}'
    whole = await ask(APP, "POST", "/jobs", big, headers={"Content-Length": str(len(big))})
    chunked = await ask(APP, "POST", "/jobs", pieces=[big[:600_000], big[600_000:]])

    assert (whole.status, chunked.status) == (413, 413)
    assert whole.json["type"] == chunked.json["type"] == "payload-too-large"


@pytest.mark.asyncio
async def test_an_operation_without_a_body_takes_an_empty_one_only() -> None:
    answered = [(await ask(APP, "POST", "/nothing", body)).status for body in (b"", b" {}\n", b'{"a":1}', b" ", b"x")]
    assert answered == [200, 200, 422, 422, 422]


@pytest.mark.asyncio
async def test_a_body_that_may_be_left_out_is_json_where_there_is_one() -> None:
    answered = [(await ask(APP, "POST", "/little", body)).status for body in (b"", b"{}", b'{"by":"ann"}', b" ", b"x")]
    assert answered == [200, 200, 200, 400, 400]


@pytest.mark.asyncio
async def test_a_query_is_read_by_its_types() -> None:
    await ask(APP, "GET", "/jobs?limit=7&enabled=true&status=failed,success&tag.team=a&tag.env=b%20c")

    assert seen[-1].query == Asked(
        limit=7, enabled=True, status=["failed", "success"], tags={"team": "a", "env": "b c"}
    )


@pytest.mark.parametrize(
    ("query", "status", "field_name"),
    [
        ("limit=x", 422, "limit"),
        ("limit=1&limit=2", 422, "limit"),
        ("nope=1", 422, "nope"),
        ("%ff=1", 400, None),
        ("namespace=UPPER", 422, "namespace"),
        ("namespace=a&namespace=b", 422, "namespace"),
    ],
)
@pytest.mark.asyncio
async def test_a_bad_query_is_refused_with_the_parameter(query: str, status: int, field_name: str | None) -> None:
    answered = await ask(APP, "GET", f"/jobs?{query}")

    assert (answered.status, answered.json.get("field")) == (status, field_name)


@pytest.mark.asyncio
async def test_the_namespace_comes_from_query_or_header() -> None:
    await ask(APP, "GET", "/jobs?namespace=blue")
    await ask(APP, "GET", "/jobs", headers={"X-Namespace": "red"})
    await ask(APP, "GET", "/jobs")

    assert [call.namespace for call in seen[-3:]] == ["blue", "red", "default"]


@pytest.mark.parametrize(
    ("tag", "status"), [("", 428), ("nonsense", 400), ("*", 200), ('"3"', 200), ('W/"3"', 200), ('"3", "4"', 400)]
)
@pytest.mark.asyncio
async def test_a_write_that_needs_the_etag_says_so(tag: str, status: int) -> None:
    answered = await ask(APP, "PUT", "/jobs/a", GOOD, headers={"If-Match": tag})

    assert answered.status == status
    if status == 200:
        assert seen[-1].if_match == (-1 if tag == "*" else 3)


@pytest.mark.parametrize("key", ["a b", "x" * 256, "é"])
@pytest.mark.asyncio
async def test_an_idempotency_key_nobody_could_repeat_is_refused(key: str) -> None:
    assert (await ask(APP, "POST", "/jobs", GOOD, headers={"Idempotency-Key": key})).status == 400


@pytest.mark.asyncio
async def test_lines_arrive_as_they_were_sent() -> None:
    kind: dict[str, Any] = {"Content-Type": "application/x-ndjson"}
    await ask(APP, "POST", "/lines", b"{}\n{}\n", headers=kind)

    assert seen[-1].raw == b"{}\n{}\n"
    assert (await ask(APP, "POST", "/lines", b"{}")).status == 415


@virtual_time
async def test_a_read_that_waits_too_long_is_told_to_come_back() -> None:
    before = asyncio.get_running_loop().time()
    answered = await ask(APP, "GET", "/thoughts")

    assert (answered.status, answered.json["type"], answered.headers["retry-after"]) == (503, "overloaded", "5")
    assert "within 20 s" in answered.json["detail"]
    assert asyncio.get_running_loop().time() - before == pytest.approx(20)


@virtual_time
async def test_a_write_is_not_broken_off_in_the_middle() -> None:
    assert (await ask(APP, "POST", "/thoughts")).status == 200


@pytest.mark.asyncio
async def test_a_timeout_of_the_handlers_own_is_its_bug() -> None:
    assert (await ask(APP, "GET", "/failures")).json["type"] == "internal-error"


@pytest.mark.asyncio
async def test_half_a_body_is_not_taken_for_a_whole_one() -> None:
    before = len(seen)
    kind = {"Content-Type": "application/x-ndjson"}
    answered = await ask(APP, "POST", "/lines", pieces=[b"{}\n"], headers=kind, breaks_off=True)

    assert (answered.status, answered.json["type"]) == (400, "bad-request")
    assert len(seen) == before, "nothing was done"


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({}, True),
        ({"Content-Length": str(1 << 21)}, True),
        ({"Content-Length": str(1 << 30)}, False),
        ({"Content-Length": str(1 << 21), "Expect": "100-continue"}, False),
    ],
)
@pytest.mark.asyncio
async def test_a_connection_is_kept_when_nothing_of_the_body_is_left_in_it(headers: dict[str, str], kept: bool) -> None:
    answered = await ask(APP, "POST", "/jobs", pieces=[b"{", b"{"], headers=headers)

    assert answered.status == (413 if headers else 400)
    assert answered.headers.get("connection") == (None if kept else "close")


@pytest.mark.asyncio
async def test_who_breaks_off_a_body_that_is_too_large_is_not_waited_for() -> None:
    large = {"Content-Length": str(1 << 21)}
    answered = await ask(APP, "POST", "/jobs", pieces=[b"{"], headers=large, breaks_off=True)

    assert (answered.status, answered.headers.get("connection")) == (413, "close")


@pytest.mark.asyncio
async def test_a_stream_ends_what_it_has_begun_when_the_client_leaves() -> None:
    told: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                told.append("piece")
                yield b"data: x\n\n"
                await asyncio.sleep(0)
        finally:
            told.append("ended")

    async def stream(_: Call) -> Reply:
        return Reply(stream=pieces())

    app = application([Endpoint("GET", "/stream", stream, "job:read", content_type="text/event-stream")])
    answered = await ask(app, "GET", "/stream")

    assert answered.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert told[-1] == "ended"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/css; charset=utf-8", "text/css; charset=utf-8"),
        ("a/b", "a/b"),
    ],
)
@pytest.mark.asyncio
async def test_a_text_says_how_it_is_encoded(kind: str, told: str) -> None:
    async def text(_: Call) -> Reply:
        return Reply(text=b"x", content_type=kind)

    answered = await ask(application([Endpoint("GET", "/text", text, "job:read")]), "GET", "/text")

    assert (answered.headers["content-type"], answered.body) == (told, b"x")
