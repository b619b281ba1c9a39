from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from tests.integration.dispatch import hostile
from tests.integration.dispatch.certificates import write_certificate
from tests.integration.features.receivers import a_certificate, http_receiver

from chronos.dispatch.egress import EgressGuard, EgressPolicy, EgressSettings
from chronos.features.notify.adapters.post import GuardedPost
from chronos.features.notify.adapters.slack import SlackSender
from chronos.features.notify.adapters.webhook import WebhookSender
from chronos.features.notify.model import Notice, NoticeKind
from chronos.features.notify.port import Result, Sent, Unsent
from chronos.model.notify import NotifySlack, NotifyWebhook
from chronos.timing.clock import SystemClock

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOTICE = Notice(
    id="occ_1-failure",
    kind=NoticeKind.FAILURE,
    at_us=1_735_689_607_000_000,
    job_id="J1",
    job_name="nightly",
    execution_id="occ_1",
    scheduled_s=1_735_689_600,
    attempts=3,
    status_code=503,
    error="HTTP 503 & <b>",
)


def a_post(
    tls: ssl.SSLContext | None = None, names: dict[str, list[str]] | None = None, **settings: Any
) -> GuardedPost:
    async def lookup(host: str, port: int) -> list[str]:
        return (names or {})[host]

    return GuardedPost(EgressGuard(EgressSettings(**settings), lookup=lookup), SystemClock(), tls=tls)


async def send(url: str, secret: str | None = SECRET, post: GuardedPost | None = None) -> Result:
    channel = NotifyWebhook(url=url, secret=secret)
    return await WebhookSender(post or a_post(), SystemClock()).send(NOTICE, channel)


@pytest.mark.asyncio
async def test_a_webhook_is_accepted_by_the_standard_webhooks_library() -> None:
    async with http_receiver() as receiver:
        assert await send(receiver.url) == Sent()
    ((first, headers, body),) = receiver.requests
    assert first == "POST /hook HTTP/1.1"
    payload = Webhook(SECRET).verify(body, headers)
    assert headers["webhook-id"] == "occ_1-failure"
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert payload["type"] == "execution.failed"
    assert payload["timestamp"] == "2025-01-01T00:00:07Z"
    assert payload["data"]["execution_id"] == "occ_1"
    assert payload["data"]["scheduled_at"] == "2025-01-01T00:00:00Z"
    assert payload["data"]["attempts"] == 3
    assert payload["data"]["subject"] == "[Chronos] FAILED: nightly"


@pytest.mark.asyncio
async def test_a_changed_body_or_another_secret_does_not_verify() -> None:
    async with http_receiver() as receiver:
        await send(receiver.url)
    ((_, headers, body),) = receiver.requests
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace(b"nightly", b"hourly"), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "A" * 32).verify(body, headers)


@pytest.mark.asyncio
async def test_without_a_secret_there_is_an_id_and_no_signature() -> None:
    async with http_receiver() as receiver:
        assert await send(receiver.url, secret=None) == Sent()
    ((_, headers, _),) = receiver.requests
    assert headers["webhook-id"] == "occ_1-failure"
    assert "webhook-signature" not in headers


@pytest.mark.asyncio
async def test_slack_gets_blocks_in_which_a_target_cannot_write_markup() -> None:
    async with http_receiver() as receiver:
        sender = SlackSender(a_post(), "https://cron.example")
        assert await sender.send(NOTICE, NotifySlack(url=receiver.url)) == Sent()
    ((_, headers, body),) = receiver.requests
    assert headers["content-type"] == "application/json"
    message = json.loads(body)
    assert [block["type"] for block in message["blocks"]] == ["section", "section", "context"]
    assert "HTTP 503 &amp; &lt;b&gt;" in message["blocks"][1]["text"]["text"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("503 Busy", Unsent("127.0.0.1 answered 503")),
        ("429 Slow\r\nRetry-After: 120", Unsent("127.0.0.1 answered 429", retry_after_s=120.0)),
        ("404 Gone", Unsent("127.0.0.1 answered 404", permanent=True)),
        ("302 Elsewhere\r\nLocation: http://127.0.0.1:1/", Unsent("127.0.0.1 answered 302", permanent=True)),
    ],
)
async def test_an_answer_says_whether_asking_again_helps(answer: str, expected: Unsent) -> None:
    async with http_receiver(answer) as receiver:
        assert await send(receiver.url) == expected
    assert len(receiver.requests) == 1


@pytest.mark.asyncio
async def test_what_the_guard_refuses_is_never_connected_to() -> None:
    async with http_receiver() as receiver:
        result = await send(receiver.url, post=a_post(policy=EgressPolicy.PUBLIC_ONLY))
    assert isinstance(result, Unsent)
    assert result.permanent
    assert "loopback" in result.reason
    assert receiver.requests == []


@pytest.mark.asyncio
async def test_a_name_is_connected_to_at_the_address_that_was_vetted() -> None:
    async with http_receiver() as receiver:
        post = a_post(names={"hooks.invalid": ["127.0.0.1"]})
        assert await send(f"http://hooks.invalid:{receiver.port}/hook", post=post) == Sent()
    assert receiver.requests[0][1]["host"] == f"hooks.invalid:{receiver.port}"


@pytest.mark.asyncio
async def test_the_next_vetted_address_is_tried_when_one_refuses_the_connection() -> None:
    async with http_receiver() as receiver:
        post = a_post(names={"hooks.invalid": ["127.0.0.2", "127.0.0.1"]})
        assert await send(f"http://hooks.invalid:{receiver.port}/hook", post=post) == Sent()


@pytest.mark.asyncio
async def test_the_certificate_must_be_the_names_and_not_the_addresses(tmp_path: Path) -> None:
    context, trusted = a_certificate(tmp_path, "hooks.invalid")
    tls = ssl.create_default_context(cafile=str(trusted))
    names = {"hooks.invalid": ["127.0.0.1"], "other.invalid": ["127.0.0.1"]}
    async with http_receiver(tls=context) as receiver:
        right = await send(f"https://hooks.invalid:{receiver.port}/", post=a_post(tls, names))
        wrong = await send(f"https://other.invalid:{receiver.port}/", post=a_post(tls, names))
        untrusted = await send(f"https://hooks.invalid:{receiver.port}/", post=a_post(names=names))
    assert right == Sent()
    assert wrong == Unsent("other.invalid: ConnectError")
    assert untrusted == Unsent("hooks.invalid: ConnectError")


@pytest.mark.asyncio
async def test_nobody_listening_is_worth_another_try_and_names_no_path() -> None:
    async with http_receiver() as receiver:
        url = receiver.url
    result = await send(url + "/SECRET-PATH")
    assert result == Unsent("127.0.0.1: ConnectError")


@pytest.mark.asyncio
@pytest.mark.parametrize("url", ["http://user:pw@h/", "gopher://h/", "http://127.1/"])
async def test_a_url_that_cannot_be_read_one_way_only_is_refused_for_good(url: str) -> None:
    result = await send(url)
    assert isinstance(result, Unsent)
    assert result.permanent
    assert "pw" not in result.reason


@pytest.mark.asyncio
async def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with http_receiver() as receiver:
        assert await send(receiver.url) == Sent()


@pytest.mark.asyncio
async def test_a_receiver_whose_tls_breaks_is_worth_another_try(tmp_path: Path) -> None:
    certificate = write_certificate(tmp_path / "good.pem", names=["hooks.test"])
    port = hostile.serve(hostile.garbage_under_tls(tmp_path))
    trusting = ssl.create_default_context(cafile=str(certificate))
    result = await a_post(trusting, {"hooks.test": ["127.0.0.1"]}).post(f"https://hooks.test:{port}/", b"{}", {})
    assert isinstance(result, Unsent)
    assert not result.permanent
    assert result.reason == "hooks.test: SSLError"
