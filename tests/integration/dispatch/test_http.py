"""HTTP deliveries over real sockets."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import msgspec
import pytest
from standardwebhooks import Webhook
from tests.integration.dispatch.samples import EXECUTION, a_delivery, http
from tests.integration.dispatch.target_server import FarSide, TargetServer

from chronos.dispatch.breaker import Breakers, BreakerSettings
from chronos.dispatch.egress import EgressGuard, EgressPolicy, EgressSettings
from chronos.dispatch.http import HttpDispatcher, HttpSettings
from chronos.dispatch.port import Answer, Delivered, Delivery, NoAnswer, Outcome, Refused
from chronos.dispatch.redaction import secrets_in_play
from chronos.dispatch.router import Router
from chronos.features.secrets import Secrets, Settings
from chronos.features.secrets.sources import EnvSource
from chronos.model.target import ApiKeyAuth, BasicAuth, BearerAuth, HttpTarget, Method, StoreResponse
from chronos.timing.clock import SystemClock

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


def real_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


@asynccontextmanager
async def dispatching(guard: EgressGuard | None = None) -> AsyncIterator[HttpDispatcher]:
    guard = guard or EgressGuard(EgressSettings())
    dispatcher = HttpDispatcher(guard, SystemClock(), HttpSettings(connect_timeout_s=5))
    try:
        yield dispatcher
    finally:
        await dispatcher.aclose()
        guard.close()


async def deliver(delivery: Delivery) -> Outcome:
    async with dispatching() as dispatcher:
        return await dispatcher.deliver(delivery)


async def deliver_in_time(delivery: Delivery) -> Outcome:
    async with dispatching() as dispatcher:
        return await Router({"http": dispatcher}, SystemClock()).deliver(delivery)


def answer_of(outcome: Outcome) -> Answer:
    assert isinstance(outcome, (Delivered, Refused))
    return outcome.answer


@real_time
async def test_a_request_says_which_run_of_which_job_it_is() -> None:
    async with TargetServer() as server:
        outcome = await deliver(http(server.url("/hook?x=1"), body='{"a": 1}'))
    assert isinstance(outcome, Delivered)
    [got] = server.got
    assert (got.method, got.path, got.body) == ("POST", "/hook?x=1", b'{"a": 1}')
    assert got.headers["webhook-id"] == got.headers["idempotency-key"] == EXECUTION
    assert got.headers["x-chronos-execution-id"] == EXECUTION
    assert got.headers["x-chronos-job-id"] == "01JABCDEFGHJKMNPQRSTVWXYZ0"
    assert got.headers["x-chronos-attempt"] == "2"
    assert got.headers["x-chronos-scheduled-time"] == "2027-01-01T09:00:00Z"
    assert got.headers["chronos-fencing-token"] == "1.7.4711"
    assert got.headers["user-agent"].startswith("Chronos/")
    assert got.headers["content-type"] == "application/json"
    assert got.headers["host"] == f"127.0.0.1:{server.port}"
    assert int(got.headers["webhook-timestamp"]) > 1_700_000_000


@real_time
async def test_a_request_that_is_given_up_is_dropped_and_one_that_was_answered_ends_in_peace() -> None:
    ends: list[str] = []
    async with FarSide(ends) as far:
        assert isinstance(await deliver_in_time(a_delivery(http(far.url).target, timeout_us=200_000)), NoAnswer)
        await far.ended.wait()
    async with FarSide(ends, b"HTTP/1.1 204 No Content\r\n\r\n") as far:
        assert isinstance(await deliver_in_time(http(far.url)), Delivered)
        await far.ended.wait()
    assert ends == ["reset", "closed"], "what a reset drops does not arrive when a cut cable is mended"


@pytest.mark.parametrize("method", list(Method))
@real_time
async def test_every_method_is_delivered(method: Method) -> None:
    async with TargetServer() as server:
        # 204: no body, whatever the method.
        outcome = await deliver(http(server.url("/status/204"), method=method))
    assert isinstance(outcome, Delivered)
    assert server.got[0].method == method.value
    assert "content-type" not in server.got[0].headers


@real_time
async def test_templates_are_filled_in_where_they_stand() -> None:
    async with TargetServer() as server:
        await deliver(
            http(
                server.url("/run/{{.JobName}}?at={{.ScheduledTime}}"),
                headers={"X-Run": "{{.ExecutionID}}#{{ .Attempt }}"},
                body='{"job": "{{.JobID}}", "n": {{.Attempt}}, "math": "{{7*7}}", "shell": "${HOME}"}',
            )
        )
    [got] = server.got
    assert got.path == "/run/nightly%20report?at=2027-01-01T09%3A00%3A00Z"
    assert got.headers["x-run"] == f"{EXECUTION}#2"
    assert json.loads(got.body) == {
        "job": "01JABCDEFGHJKMNPQRSTVWXYZ0",
        "n": 2,
        "math": "{{7*7}}",
        "shell": "${HOME}",
    }


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        (BasicAuth(username="me", password="päss"), "authorization", "Basic bWU6cMOkc3M="),
        (BearerAuth(token="t0ken"), "authorization", "Bearer t0ken"),
        (ApiKeyAuth(api_key="k3y"), "x-api-key", "k3y"),
        (ApiKeyAuth(api_key="k3y", header="X-Other"), "x-other", "k3y"),
    ],
)
@real_time
async def test_credentials_travel_in_their_header(auth: Any, header: str, value: str) -> None:
    async with TargetServer() as server:
        await deliver(http(server.url(), auth=auth))
    assert server.got[0].headers[header] == value


@real_time
async def test_a_signature_is_one_that_the_upstream_library_accepts() -> None:
    async with TargetServer() as server:
        await deliver(http(server.url(), body='{"é": 1}', signing_secret=SECRET))
    [got] = server.got
    assert Webhook(SECRET).verify(got.body, got.headers) == {"é": 1}


@pytest.mark.parametrize(
    ("status", "permanent", "gone"),
    [
        (400, True, False),
        (404, True, False),
        (408, False, False),
        (410, True, True),
        (425, False, False),
        (429, False, False),
        (500, False, False),
        (503, False, False),
        (599, False, False),
        (302, True, False),
    ],
)
@real_time
async def test_a_status_decides_whether_asking_again_helps(status: int, permanent: bool, gone: bool) -> None:
    async with TargetServer() as server:
        outcome = await deliver(http(server.url(f"/status/{status}")))
    assert isinstance(outcome, Refused)
    assert (outcome.permanent, outcome.gone, outcome.answer.status_code) == (permanent, gone, status)
    assert outcome.error_class == "http_status"


@real_time
async def test_success_codes_of_the_target_s_own_replace_the_usual_ones() -> None:
    async with TargetServer() as server:
        yes = await deliver(http(server.url("/status/404"), success_codes=[404]))
        no = await deliver(http(server.url("/status/200"), success_codes=[404]))
    assert isinstance(yes, Delivered)
    assert isinstance(no, Refused)


@real_time
async def test_retry_after_is_passed_on() -> None:
    async with TargetServer() as server:
        outcome = await deliver(http(server.url("/later/17")))
        nonsense = await deliver(http(server.url("/later/-5")))
    assert isinstance(outcome, Refused)
    assert outcome.retry_after_s == 17
    assert isinstance(nonsense, Refused)
    assert nonsense.retry_after_s is None
    assert any("Retry-After" in note for note in nonsense.answer.notes)


@real_time
async def test_what_comes_back_is_kept_as_the_target_asks() -> None:
    async with TargetServer() as server:
        excerpt = answer_of(await deliver(http(server.url("/status/200"))))
        none = answer_of(await deliver(http(server.url("/status/200"), store_response=StoreResponse.NONE)))
        node = answer_of(await deliver(http(server.url("/status/200"), store_response=StoreResponse.NODE)))
    assert (excerpt.excerpt, excerpt.body) == ("as you wish", b"")
    assert (none.excerpt, none.body) == ("", b"")
    assert (node.excerpt, node.body) == ("as you wish", b"as you wish")
    assert excerpt.sha256 == none.sha256 == hashlib.sha256(b"as you wish").hexdigest()
    assert excerpt.body_bytes == 11


@real_time
async def test_secrets_that_the_target_echoes_are_redacted_in_every_spelling() -> None:
    secret, registered = 'p"ä/s+s w&rd', "c4nary-0f-the-feature"
    spelled = [
        secret,
        json.dumps(secret)[1:-1],
        base64.b64encode(secret.encode()).decode(),
        base64.b64encode(b"zz" + secret.encode() + b"z").decode(),
        secret.encode().hex(),
        "p%22%C3%A4%2Fs%2Bs%20w%26rd",
        "p%22%c3%a4%2fs%2bs+w%26rd",
        registered,
    ]
    body = "\n".join(spelled)
    async with TargetServer() as server:
        with secrets_in_play({registered}):
            outcome = await deliver(
                http(
                    server.url("/echo"),
                    body=body,
                    auth=BasicAuth(username="me", password=secret),
                    store_response=StoreResponse.NODE,
                )
            )
    kept = answer_of(outcome).body.decode()
    assert server.got[0].body.decode() == body
    for form in [*spelled, base64.b64encode(f"me:{secret}".encode()).decode()]:
        core = form[3:-4] if form == spelled[3] else form
        assert core not in kept
    assert "***" in kept
    assert "***" in answer_of(outcome).excerpt or "Basic" not in answer_of(outcome).excerpt


@real_time
async def test_a_secret_that_was_referred_to_arrives_and_does_not_come_back() -> None:
    settings = Settings()
    resolver = Secrets({"env": EnvSource(settings, {"CHRONOS_SECRET_KEY": "c4nary/of the=echo"})})
    async with TargetServer() as server, dispatching() as dispatcher:
        outcome = await Router({"http": dispatcher}, SystemClock(), around=[resolver.around]).deliver(
            http(
                server.url("/echo?key=${secret:env:CHRONOS_SECRET_KEY}"),
                body='{"key": "${secret:env:CHRONOS_SECRET_KEY}"}',
                headers={"X-Mine": "${secret:env:CHRONOS_SECRET_KEY}"},
                store_response=StoreResponse.NODE,
            )
        )
    [got] = server.got
    assert json.loads(got.body) == {"key": "c4nary/of the=echo"}
    assert got.headers["x-mine"] == "c4nary/of the=echo"
    assert got.path == "/echo?key=c4nary%2Fof%20the%3Decho"
    assert "c4nary" not in msgspec.json.encode(outcome).decode()
    assert b"c4nary" not in answer_of(outcome).body
    assert answer_of(outcome).body.count(b"***") == 3


@real_time
async def test_a_huge_answer_is_read_up_to_a_mebibyte_and_judged_by_its_status() -> None:
    async with TargetServer() as server:
        outcome = await deliver(http(server.url("/huge")))
    assert isinstance(outcome, Delivered)
    assert outcome.answer.body_bytes == 1024 * 1024
    assert outcome.answer.notes == ("body cut at 1 MiB",)


@real_time
async def test_a_bomb_is_not_unpacked() -> None:
    async with TargetServer() as server:
        outcome = await deliver(http(server.url(f"/bomb/{50 * 1024 * 1024}")))
    assert isinstance(outcome, Delivered)
    assert outcome.answer.body_bytes <= 1024 * 1024
    assert "body cut" in outcome.answer.notes[0]


@real_time
async def test_a_packed_answer_is_shown_unpacked() -> None:
    async with TargetServer() as server:
        outcome = await deliver(http(server.url("/packed")))
    assert answer_of(outcome).excerpt == "hello, packed"


@pytest.mark.parametrize(
    "path", ["/flood_headers/101", "/flood_headers/100000", "/long_header/33000", "/informational/11"]
)
@real_time
async def test_an_answer_with_too_much_before_its_body_is_refused_for_good(path: str) -> None:
    async with TargetServer() as server:
        outcome = await deliver(http(server.url(path)))
    assert isinstance(outcome, Refused)
    assert (outcome.error_class, outcome.permanent) == ("too_large", True)


@pytest.mark.parametrize("path", ["/flood_headers/90", "/long_header/30000", "/informational/10"])
@real_time
async def test_an_answer_just_within_the_limits_counts(path: str) -> None:
    async with TargetServer() as server:
        assert isinstance(await deliver(http(server.url(path))), Delivered)


@pytest.mark.parametrize(
    ("reply", "error_class"),
    [
        (b"", "reset"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "protocol"),
        (b"HTTP/1.1 banana\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "protocol"),
        (b"HTTP/1.1 200 O", "reset"),
    ],
)
@real_time
async def test_garbage_is_no_answer(reply: bytes, error_class: str) -> None:
    async with TargetServer() as server:
        server.reply = reply
        outcome = await deliver(http(server.url("/raw")))
    assert isinstance(outcome, NoAnswer)
    assert outcome.error_class in (error_class, "protocol")
    assert str(server.port) in outcome.reason


@real_time
async def test_a_status_counts_even_if_the_body_breaks_off() -> None:
    async with TargetServer() as server:
        outcome = await deliver(http(server.url("/cut")))
    assert isinstance(outcome, Delivered)
    assert outcome.answer.excerpt == "only this"
    assert "broke off" in outcome.answer.notes[0]


@real_time
async def test_nobody_listening_is_no_answer() -> None:
    async with TargetServer() as server:
        url = server.url()
    outcome = await deliver(http(url))
    assert isinstance(outcome, NoAnswer)
    assert outcome.error_class == "connect"
    assert "refused" in outcome.reason


@pytest.mark.parametrize("path", ["/hang", "/drip"])
@real_time
async def test_one_deadline_covers_a_target_that_hangs_or_drips(path: str) -> None:
    async with TargetServer() as server:
        outcome = await deliver_in_time(a_delivery(HttpTarget(url=server.url(path)), timeout_us=300_000))
    assert isinstance(outcome, NoAnswer)
    assert outcome.error_class == "timeout"


@real_time
async def test_connections_are_kept_and_used_again() -> None:
    async with TargetServer() as server, dispatching() as dispatcher:
        for _ in range(5):
            await dispatcher.deliver(http(server.url()))
        assert server.connections == 1


@real_time
async def test_a_kept_connection_that_closes_without_a_byte_is_tried_once_more() -> None:
    async with TargetServer() as server, dispatching() as dispatcher:
        first = await dispatcher.deliver(http(server.url("/drop")))
        second = await dispatcher.deliver(http(server.url("/drop")))
    assert isinstance(first, Delivered)
    assert not first.resent
    assert isinstance(second, Delivered)
    assert second.resent
    assert [got.connection for got in server.got] == [1, 1, 2]


@real_time
async def test_a_fresh_connection_that_closes_without_a_byte_is_not_tried_again() -> None:
    async with TargetServer() as server:
        outcome = await deliver(http(server.url("/slam")))
    assert isinstance(outcome, NoAnswer)
    assert not outcome.resent
    assert len(server.got) == 1


@real_time
async def test_a_redirect_is_not_followed_unless_the_target_says_so() -> None:
    async with TargetServer() as server:
        outcome = await deliver(http(server.url("/redirect/302")))
    assert isinstance(outcome, Refused)
    assert outcome.permanent
    assert len(server.got) == 1


@real_time
async def test_a_redirect_inside_the_origin_keeps_credentials_and_the_body_where_http_does() -> None:
    async with TargetServer() as server:
        server.location = "/there"
        for code in (302, 307):
            outcome = await deliver(
                http(
                    server.url(f"/redirect/{code}"),
                    body="{}",
                    auth=BearerAuth(token="t0ken"),
                    follow_redirects=1,
                    signing_secret=SECRET,
                )
            )
            assert isinstance(outcome, Delivered)
    _, after_302, _, after_307 = server.got
    assert (after_302.method, after_302.path, after_302.body) == ("GET", "/there", b"")
    assert (after_307.method, after_307.path, after_307.body) == ("POST", "/there", b"{}")
    assert after_302.headers["authorization"] == after_307.headers["authorization"] == "Bearer t0ken"
    Webhook(SECRET).verify(after_307.body, after_307.headers)


@real_time
async def test_credentials_body_and_headers_stay_behind_when_a_redirect_leaves_the_origin() -> None:
    async with TargetServer() as here, TargetServer() as there:
        here.location = there.url("/caught")
        await deliver(
            http(
                here.url("/redirect/307"),
                body='{"secret": 1}',
                headers={"Cookie": "c=1", "X-Custom-Token": "abc", "X-Plain": "1", "Accept": "text/html"},
                auth=ApiKeyAuth(api_key="k3y", header="X-My-Key"),
                follow_redirects=3,
                signing_secret=SECRET,
            )
        )
    [got] = there.got
    assert got.body == b""
    for name in ("cookie", "x-custom-token", "x-plain", "x-my-key", "authorization", "webhook-signature"):
        assert name not in got.headers
    assert got.headers["accept"] == "text/html"
    assert got.headers["webhook-id"] == EXECUTION


@real_time
async def test_a_loop_of_redirects_ends_at_the_limit() -> None:
    async with TargetServer() as server:
        server.location = "/redirect/307"
        outcome = await deliver(http(server.url("/redirect/307"), follow_redirects=3))
    assert isinstance(outcome, Refused)
    assert outcome.answer.status_code == 307
    assert len(server.got) == 4


@pytest.mark.parametrize("location", ["http://169.254.169.254/latest/meta-data", "http://[::ffff:169.254.169.254]/"])
@real_time
async def test_a_redirect_is_vetted_like_a_first_request(location: str) -> None:
    async with TargetServer() as server:
        server.location = location
        outcome = await deliver(http(server.url("/redirect/302"), follow_redirects=3))
    assert isinstance(outcome, Refused)
    assert (outcome.error_class, outcome.permanent) == ("egress", True)


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "http://127.1/", "//0x7f000001/"])
@real_time
async def test_a_redirect_to_a_strange_place_is_not_followed(location: str) -> None:
    async with TargetServer() as server:
        server.location = location
        outcome = await deliver(http(server.url("/redirect/302"), follow_redirects=3))
    assert isinstance(outcome, Refused)
    assert any("not followed" in note for note in outcome.answer.notes)
    assert len(server.got) == 1


@real_time
async def test_a_name_that_changes_its_address_never_reaches_loopback() -> None:
    """DNS rebinding: the resolver says public and loopback by turns."""
    turn = 0

    async def lookup(host: str, port: int) -> list[str]:
        nonlocal turn
        turn += 1
        return ["127.0.0.1"] if turn % 2 else ["192.0.2.1"]

    guard = EgressGuard(EgressSettings(policy=EgressPolicy.PUBLIC_ONLY), lookup=lookup)
    async with TargetServer() as server, dispatching(guard) as dispatcher:
        outcomes = [await dispatcher.deliver(http(server.url(host="rebind.test"))) for _ in range(1_000)]
    assert server.connections == 0
    assert all(isinstance(outcome, Refused) and outcome.error_class == "egress" for outcome in outcomes)


@real_time
async def test_the_address_that_was_vetted_is_the_one_connected_to_and_the_name_goes_along() -> None:
    lookups: list[str] = []

    async def lookup(host: str, port: int) -> list[str]:
        lookups.append(host)
        return ["127.0.0.1"]

    async with TargetServer() as server, dispatching(EgressGuard(lookup=lookup)) as dispatcher:
        outcome = await dispatcher.deliver(http(server.url(host="target.test")))
    assert isinstance(outcome, Delivered)
    assert lookups == ["target.test"]
    assert server.got[0].headers["host"] == f"target.test:{server.port}"


@real_time
async def test_an_unknown_name_is_no_answer() -> None:
    async def lookup(host: str, port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    async with dispatching(EgressGuard(lookup=lookup)) as dispatcher:
        outcome = await dispatcher.deliver(http("http://nowhere.test/"))
    assert isinstance(outcome, NoAnswer)
    assert outcome.error_class == "dns"
    assert "nowhere.test" in outcome.reason


@real_time
async def test_chronos_own_ports_are_never_called() -> None:
    async with TargetServer() as server:
        guard = EgressGuard(EgressSettings(policy=EgressPolicy.OPEN))
        guard.forbid_port(server.port)
        async with dispatching(guard) as dispatcher:
            outcome = await dispatcher.deliver(http(server.url()))
    assert isinstance(outcome, Refused)
    assert outcome.error_class == "egress"
    assert server.connections == 0


@real_time
async def test_the_environment_s_proxies_are_not_asked() -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            patch.setenv(name, "http://127.0.0.1:1")
        async with TargetServer() as server:
            outcome = await deliver(http(server.url()))
    assert isinstance(outcome, Delivered)


@pytest.mark.parametrize("header", ["a\r\nX-Injected: 1", "a\nb", "a\0b"])
@real_time
async def test_a_line_break_in_a_header_s_value_is_never_sent(header: str) -> None:
    async with TargetServer() as server:
        outcome = await deliver(http(server.url(), headers={"X-A": header}))
    assert isinstance(outcome, Refused)
    assert outcome.permanent
    assert server.connections == 0


@real_time
async def test_cancelling_closes_the_connection_and_lets_the_cancellation_through() -> None:
    async with TargetServer() as server, dispatching() as dispatcher:
        task = asyncio.create_task(dispatcher.deliver(http(server.url("/hang"))))
        await server.stalled.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@real_time
async def test_a_target_is_told_to_stop_at_its_cancel_url() -> None:
    async with TargetServer() as server, dispatching() as dispatcher:
        outcome = await dispatcher.tell_cancelled(
            http(
                server.url("/run"),
                body="x",
                cancel_url=server.url("/stop"),
                auth=BearerAuth(token="t0ken"),
                signing_secret=SECRET,
            )
        )
    assert isinstance(outcome, Delivered)
    [got] = server.got
    assert (got.method, got.path) == ("POST", "/stop")
    assert got.headers["webhook-id"] == EXECUTION
    assert got.headers["authorization"] == "Bearer t0ken"
    assert Webhook(SECRET).verify(got.body, got.headers)["execution_id"] == EXECUTION


@real_time
async def test_credentials_do_not_go_to_a_cancel_url_elsewhere() -> None:
    async with TargetServer() as server, TargetServer() as other, dispatching() as dispatcher:
        await dispatcher.tell_cancelled(
            http(server.url("/run"), cancel_url=other.url("/stop"), auth=BearerAuth(token="t0ken"))
        )
    assert "authorization" not in other.got[0].headers


@real_time
async def test_a_target_without_a_cancel_url_is_not_told() -> None:
    async with dispatching() as dispatcher:
        assert await dispatcher.tell_cancelled(http("http://127.0.0.1:1/")) is None


@real_time
async def test_a_dispatcher_may_be_closed_unused_and_twice() -> None:
    dispatcher = HttpDispatcher(EgressGuard(), SystemClock())
    await dispatcher.aclose()
    await dispatcher.aclose()


FRAGMENTS = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.0 503 \r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe://\r\n",
    b"HTTP/1.1 307 R\r\nLocation: http://[\r\n",
    b"HTTP/9.9 999 ?\r\n",
    b"Content-Length: 7\r\n",
    b"Content-Length: 99999999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Content-Encoding: deflate\r\n",
    b"Content-Encoding: br\r\n",
    b"Retry-After: Thu, 99 Foo\r\n",
    b"Retry-After: 1e400\r\nRetry-After: nan\r\n",
    b" folded: header\r\n",
    b"No colon here\r\n",
    b": empty name\r\n",
    b"X: \x00\x01\x7f\r\n",
    b"\r\n",
    b"\n\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;ext=" + b"e" * 5_000 + b"\r\nhello\r\n",
    b"FFFFFFFFFFFFFFFFF\r\n",
    b"-1\r\n",
    b"0\r\nTrailer: " + b"t" * 70_000 + b"\r\n\r\n",
    b"\x1f\x8b\x08\x00garbage",
    b"\x16\x03\x01\x00\x00",
    b"hello!!",
]


@pytest.mark.parametrize("seed", range(6))
@real_time
async def test_whatever_a_target_says_comes_back_as_an_outcome(seed: int) -> None:
    """An exception out of a dispatcher would be a bug of ours, never the target's."""
    draw = random.Random(seed)
    async with TargetServer() as server, dispatching() as dispatcher:
        router = Router({"http": dispatcher}, SystemClock(), breakers=Breakers(BreakerSettings(enabled=False)))
        for _ in range(60):
            server.reply = b"".join(draw.choices(FRAGMENTS, k=draw.randrange(1, 9)))
            target = HttpTarget(
                url=server.url("/raw"),
                method=draw.choice(list(Method)),
                body=draw.choice(["", "x"]),
                follow_redirects=draw.randrange(4),
                store_response=draw.choice(list(StoreResponse)),
            )
            outcome = await router.deliver(a_delivery(target, timeout_us=2_000_000))
            assert isinstance(outcome, (Delivered, Refused, NoAnswer)), server.reply
            assert msgspec.msgpack.decode(msgspec.msgpack.encode(outcome), type=Outcome) == outcome
