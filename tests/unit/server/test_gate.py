"""What every request has to pass, whatever it asks for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests.unit.server.asgi import EVERYBODY, application, ask

from chronos.errors import Unauthenticated
from chronos.model.principal import Principal
from chronos.plugin import Call, Endpoint, Reply


async def yes(call: Call) -> Reply:
    return Reply(value={"who": call.principal.id})


async def bug(_: Call) -> Reply:
    raise RuntimeError("SELECT * FROM secrets at /srv/chronos")


ENDPOINTS = [
    Endpoint("GET", "/health", yes, "public"),
    Endpoint("GET", "/api/v1/things", yes, "thing:read"),
    Endpoint("POST", "/api/v1/things", yes, "thing:create"),
    Endpoint("DELETE", "/api/v1/things/{thing}", yes, "thing:delete"),
    Endpoint("GET", "/bug", bug, "thing:read"),
]
OPEN = application(ENDPOINTS)


async def only_with_a_key(headers: Mapping[str, str]) -> Principal:
    if headers.get("x-api-key") != "right":
        raise Unauthenticated
    return EVERYBODY


LOCKED = application(ENDPOINTS, authenticate=only_with_a_key)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:99", "LOCALHOST:1", "chronos.example"])
@pytest.mark.asyncio
async def test_its_own_names_are_answered(host: str) -> None:
    assert (await ask(OPEN, "GET", "/health", headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "chronos.example.evil", "localhost@evil", "a b", "10.0.0.1", "[::2]"],
)
@pytest.mark.asyncio
async def test_a_rebound_name_is_misdirected(host: str) -> None:
    answered = await ask(OPEN, "GET", "/health", headers={"Host": host})

    assert answered.status == 421
    assert answered.json["type"] == "misdirected-request"


@pytest.mark.asyncio
async def test_a_request_without_a_host_is_refused() -> None:
    assert (await ask(OPEN, "GET", "/health", headers={"Host": ""})).status == 400


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:8081"},
        {"Origin": "https://127.0.0.1:8080"},
        {"Origin": "http://127.0.0.1:8080.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none", "Origin": "http://evil.example"},
    ],
)
@pytest.mark.asyncio
async def test_pages_of_another_origin_are_refused(method: str, headers: dict[str, str]) -> None:
    answered = await ask(OPEN, method, "/api/v1/things", headers=headers)

    assert (answered.status, answered.json["type"]) == (403, "cross-origin")
    assert "access-control-allow-origin" not in answered.headers


@pytest.mark.parametrize("headers", [{"Origin": "http://127.0.0.1:8080"}, {"Sec-Fetch-Site": "same-origin"}, {}])
@pytest.mark.asyncio
async def test_its_own_page_and_programs_are_answered(headers: dict[str, str]) -> None:
    assert (await ask(OPEN, "POST", "/api/v1/things", headers=headers)).status == 200


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json;charset=utf-16"],
)
@pytest.mark.asyncio
async def test_a_write_without_the_json_content_type_is_refused_even_without_a_body(kind: str) -> None:
    answered = await ask(OPEN, "POST", "/api/v1/things", headers={"Content-Type": kind})

    assert (answered.status, answered.json["type"]) == (415, "unsupported-media-type")


@pytest.mark.asyncio
async def test_a_compressed_body_is_refused() -> None:
    answered = await ask(OPEN, "POST", "/api/v1/things", b"\x1f\x8b", headers={"Content-Encoding": "gzip"})

    assert (answered.status, answered.json["type"]) == (415, "content-encoding")


@pytest.mark.parametrize(
    "suffix",
    [
        "/",
        "/health",
        "/ready",
        "/healthz",
        ";x",
        "%2fhealth",
        "//",
        "/./",
        "/..;/",
        ".",
        "%00",
        "\\",
        "#",
        "/../health",
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/things", "/health"])
@pytest.mark.asyncio
async def test_no_spelling_of_a_path_lets_a_stranger_in(path: str, suffix: str) -> None:
    raw = (path + suffix).encode()
    decoded = raw.decode().replace("%2f", "/").replace("%00", "\0")

    stranger = await ask(LOCKED, "GET", decoded, raw_path=raw)
    friend = await ask(LOCKED, "GET", decoded, raw_path=raw, headers={"X-API-Key": "right"})

    assert stranger.status == 401
    assert friend.status in (404, 405), "never a success"


@pytest.mark.parametrize("path", ["/HEALTH", "/Health", "//health", "/health?x=1"])
@pytest.mark.asyncio
async def test_only_the_exact_public_path_is_public(path: str) -> None:
    answered = await ask(LOCKED, "GET", path)

    assert answered.status == (422 if "?" in path else 401)


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"])
@pytest.mark.asyncio
async def test_headers_that_rename_a_request_are_not_read(header: str) -> None:
    assert (await ask(LOCKED, "GET", "/api/v1/things", headers={header: "/health"})).status == 401


@pytest.mark.asyncio
async def test_an_unknown_address_is_unknown_only_to_whom_we_know() -> None:
    assert (await ask(LOCKED, "GET", "/nothing")).status == 401
    answered = await ask(LOCKED, "GET", "/nothing", headers={"X-API-Key": "right"})
    assert (answered.status, answered.json["type"]) == (404, "not-found")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "TRACE", "HEAD", "PROPFIND"])
@pytest.mark.asyncio
async def test_a_method_an_address_does_not_take_is_answered_with_those_it_does(method: str) -> None:
    answered = await ask(OPEN, method, "/api/v1/things")

    assert (answered.status, answered.headers["allow"]) == (405, "GET, POST")


@pytest.mark.parametrize("name", ["api_key", "API_KEY", "apikey", "api-key", "access_token"])
@pytest.mark.asyncio
async def test_a_key_in_the_address_is_refused_and_not_repeated(name: str) -> None:
    answered = await ask(OPEN, "GET", f"/api/v1/things?{name}=chr_secret")

    assert (answered.status, answered.json["type"]) == (400, "key-in-query")
    assert b"chr_secret" not in answered.body


@pytest.mark.asyncio
async def test_a_fault_of_ours_says_nothing_of_the_inside() -> None:
    answered = await ask(OPEN, "GET", "/bug", headers={"X-Request-Id": "abc-1"})

    assert (answered.status, answered.json["type"]) == (500, "internal-error")
    assert answered.json["request_id"] == answered.headers["x-request-id"] == "abc-1"
    assert b"SELECT" not in answered.body
    assert b"srv" not in answered.body


@pytest.mark.asyncio
async def test_a_made_up_request_id_with_control_characters_is_replaced() -> None:
    answered = await ask(OPEN, "GET", "/health", headers={"X-Request-Id": "a\tb"})

    assert len(answered.headers["x-request-id"]) == 26


@pytest.mark.parametrize("path", ["/health", "/nothing", "/bug"])
@pytest.mark.asyncio
async def test_every_answer_has_the_security_headers(path: str) -> None:
    answered = await ask(OPEN, "GET", path)

    policy = answered.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answered.headers["x-content-type-options"] == "nosniff"
    assert answered.headers["referrer-policy"] == "no-referrer"
    assert "server" not in answered.headers


@pytest.mark.asyncio
async def test_while_it_shuts_down_reads_are_answered_and_writes_are_sent_away() -> None:
    app = application(ENDPOINTS, is_draining=lambda: True)

    assert (await ask(app, "GET", "/api/v1/things")).status == 200
    answered = await ask(app, "POST", "/api/v1/things")
    assert (answered.status, answered.json["type"], answered.headers["retry-after"]) == (503, "draining", "1")


@pytest.mark.asyncio
async def test_a_caller_without_the_permission_is_told_which_one() -> None:
    async def reader(_: Mapping[str, str]) -> Principal:
        return Principal(id="key:1", permissions=frozenset({"thing:read"}))

    app = application(ENDPOINTS, authenticate=reader)

    assert (await ask(app, "GET", "/api/v1/things")).status == 200
    answered = await ask(app, "POST", "/api/v1/things")
    assert (answered.status, answered.json["permission"]) == (403, "thing:create")
