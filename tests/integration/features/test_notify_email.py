from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.integration.features.receivers import a_certificate, mail_receiver, only

from chronos.dispatch.egress import EgressGuard, EgressPolicy, EgressSettings
from chronos.errors import Unavailable
from chronos.features.notify.adapters.email import EmailSender
from chronos.features.notify.model import Notice, NoticeKind, Smtp, SmtpTls
from chronos.features.notify.port import Result, Sent, Unsent
from chronos.model.notify import NotifyEmail
from chronos.timing.clock import SystemClock

NOTICE = Notice(
    id="occ_1-failure",
    kind=NoticeKind.FAILURE,
    at_us=1_735_689_607_000_000,
    job_id="J1",
    job_name="nächtlich",
    execution_id="occ_1",
    error="broken\r\nBcc: everybody@example.org",
)
TO = ["ada@example.org", "bob@example.org"]


async def no_password() -> str | None:
    return None


async def send(port: int, notice: Notice = NOTICE, password: str | None = None, **smtp: Any) -> Result:
    settings = Smtp(host="127.0.0.1", port=port, sender="chronos@example.org", **({"tls": SmtpTls.NONE} | smtp))

    async def give() -> str | None:
        return password

    return await EmailSender(settings, EgressGuard(), SystemClock(), give).send(notice, NotifyEmail(to=TO))


@pytest.mark.asyncio
async def test_a_mail_reaches_everybody_and_says_what_happened() -> None:
    async with mail_receiver() as receiver:
        assert await send(receiver.port) == Sent()
    (mail,) = receiver.mails
    assert receiver.recipients == [TO]
    assert mail["Subject"] == "[Chronos] FAILED: nächtlich"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"] == "<occ_1-failure@example.org>"
    assert "chronosctl execution get occ_1" in mail.get_content()


@pytest.mark.asyncio
async def test_what_a_target_answers_cannot_add_headers() -> None:
    async with mail_receiver() as receiver:
        await send(receiver.port)
        hostile = Notice(id="x", kind=NoticeKind.FAILURE, at_us=1, job_name="a\r\nBcc: everybody@example.org")
        assert await send(receiver.port, hostile) == Sent()
    assert [mail["Bcc"] for mail in receiver.mails] == [None, None]
    assert receiver.recipients == [TO, TO]


@pytest.mark.asyncio
async def test_starttls_and_a_password_get_through_and_the_connection_is_protected(tmp_path: Path) -> None:
    context, trusted = a_certificate(tmp_path, "127.0.0.1")
    options: dict[str, Any] = {"tls_context": context, "require_starttls": True, "auth_required": True}
    secure: dict[str, Any] = {"tls": SmtpTls.STARTTLS, "ca_file": str(trusted), "username": "u"}
    async with mail_receiver(authenticator=only("u", "right"), **options) as receiver:
        assert await send(receiver.port, password="right", **secure) == Sent()
        wrong = await send(receiver.port, password="wrong", **secure)
    assert receiver.was_protected == [True]
    assert wrong == Unsent("mail server 127.0.0.1 answered 535"), "worth another try: somebody may put it right"


@pytest.mark.asyncio
async def test_a_server_without_starttls_or_with_a_strange_certificate_gets_nothing(tmp_path: Path) -> None:
    async with mail_receiver() as receiver:
        result = await send(receiver.port, tls=SmtpTls.STARTTLS)
    assert result == Unsent("mail server 127.0.0.1: SMTPException")
    assert receiver.mails == []

    context, _ = a_certificate(tmp_path, "127.0.0.1")
    async with mail_receiver(tls_context=context) as receiver:
        untrusted = await send(receiver.port, tls=SmtpTls.STARTTLS)
    assert isinstance(untrusted, Unsent)
    assert receiver.mails == []


@pytest.mark.asyncio
@pytest.mark.parametrize(("refusal", "permanent"), [("451 busy", False), ("554 no", True)])
async def test_the_servers_code_says_whether_asking_again_helps(refusal: str, permanent: bool) -> None:
    async with mail_receiver(refusal=refusal) as receiver:
        result = await send(receiver.port)
    assert result == Unsent(f"mail server 127.0.0.1 answered {refusal[:3]}", permanent=permanent)


@pytest.mark.asyncio
async def test_nobody_listening_is_worth_another_try() -> None:
    async with mail_receiver() as receiver:
        port = receiver.port
    assert await send(port) == Unsent("mail server 127.0.0.1: ConnectionRefusedError")


@pytest.mark.asyncio
async def test_a_password_that_cannot_be_opened_is_said_and_not_skipped() -> None:
    async def give() -> str | None:
        raise Unavailable("there is no SMTP_PASSWORD in the environment")

    async with mail_receiver() as receiver:
        smtp = Smtp(host="127.0.0.1", port=receiver.port, sender="c@example.org", tls=SmtpTls.NONE, username="u")
        result = await EmailSender(smtp, EgressGuard(), SystemClock(), give).send(NOTICE, NotifyEmail(to=TO))
    assert result == Unsent("notify.smtp.password: there is no SMTP_PASSWORD in the environment")
    assert receiver.mails == []


@pytest.mark.asyncio
async def test_the_relay_is_looked_up_once_and_called_where_it_was_vetted() -> None:
    asked: list[str] = []

    async def lookup(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    guard = EgressGuard(EgressSettings(policy=EgressPolicy.PUBLIC_ONLY), lookup=lookup)
    async with mail_receiver() as receiver:
        smtp = Smtp(host="relay.test", port=receiver.port, sender="c@example.org", tls=SmtpTls.NONE)
        sent = await EmailSender(smtp, guard, SystemClock(), no_password).send(NOTICE, NotifyEmail(to=TO))
    assert sent == Sent(), "the administrator chose it: it may be near"
    assert asked == ["relay.test"]


@pytest.mark.parametrize("address", ["169.254.169.254", "0.0.0.0", "224.0.0.1"])
@pytest.mark.asyncio
async def test_a_relay_where_none_can_be_gets_nothing(address: str) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return [address]

    smtp = Smtp(host="relay.test", port=25, sender="c@example.org", tls=SmtpTls.NONE)
    result = await EmailSender(smtp, EgressGuard(lookup=lookup), SystemClock(), no_password).send(
        NOTICE, NotifyEmail(to=TO)
    )
    assert isinstance(result, Unsent)
    assert result.permanent
    assert f"notify.smtp: relay.test is at {address}" in result.reason


@pytest.mark.asyncio
async def test_without_a_mail_server_nothing_is_tried() -> None:
    result = await EmailSender(None, EgressGuard(), SystemClock(), no_password).send(NOTICE, NotifyEmail(to=TO))
    assert isinstance(result, Unsent)
    assert result.permanent
