"""A plain mail through the server's mail relay."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from email.utils import format_datetime

import aiosmtplib

from chronos.dispatch.egress import LookupFailed
from chronos.dispatch.http.tls import tls_context
from chronos.errors import ChronosError, EgressRefused
from chronos.features.notify.model import Notice, Smtp, SmtpTls
from chronos.features.notify.port import Egress, Result, Sent, Unsent
from chronos.features.notify.texts import plain, subject
from chronos.model.notify import NotifyEmail
from chronos.timing.clock import Clock, utc

DEADLINE_S = 15.0


class EmailSender:
    """Sends one mail to everybody on the channel.

    Args:
        egress: Vets the relay's addresses; the connection is made to one that was vetted.
        password: Gives the relay's password, at the last moment.
    """

    def __init__(
        self,
        smtp: Smtp | None,
        egress: Egress,
        clock: Clock,
        password: Callable[[], Awaitable[str | None]],
        console_url: str | None = None,
    ) -> None:
        self._smtp = smtp
        self._egress = egress
        self._clock = clock
        self._password = password
        self._console_url = console_url

    async def send(self, notice: Notice, channel: NotifyEmail) -> Result:
        if self._smtp is None:
            return Unsent("this server has no notify.smtp, so no mail leaves it", permanent=True)
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._send(self._smtp, self._message(self._smtp, notice, channel), channel.to)
        except EgressRefused as refused:
            return Unsent(f"notify.smtp: {refused}", permanent=True)
        except LookupFailed as failed:
            return Unsent(f"notify.smtp: {failed}")
        except TimeoutError:
            return Unsent(f"mail server {self._smtp.host} did not finish in {DEADLINE_S:g} s")
        except aiosmtplib.SMTPRecipientsRefused as refused:
            codes = sorted({recipient.code for recipient in refused.recipients})
            return Unsent(f"every recipient was refused ({', '.join(map(str, codes))})", permanent=min(codes) >= 500)
        except aiosmtplib.SMTPResponseException as answered:
            # What the server says may repeat what we sent; its code is enough.
            return Unsent(f"mail server {self._smtp.host} answered {answered.code}", permanent=_is_final(answered))
        except (aiosmtplib.SMTPException, OSError) as failed:
            return Unsent(f"mail server {self._smtp.host}: {type(failed).__name__}")
        except ChronosError as unopened:
            return Unsent(f"notify.smtp.password: {unopened}")

    async def _send(self, smtp: Smtp, message: EmailMessage, to: list[str]) -> Result:
        addresses = await self._egress.vetted(smtp.host, smtp.port, by_administrator=True)
        with await _connected(addresses, smtp.port) as connection:
            return await self._talk(smtp, connection, message, to)

    async def _talk(self, smtp: Smtp, connection: socket.socket, message: EmailMessage, to: list[str]) -> Result:
        await aiosmtplib.send(
            message,
            sender=smtp.sender,
            recipients=to,
            hostname=smtp.host,  # whom the certificate has to name
            sock=connection,
            username=smtp.username,
            password=await self._password() if smtp.username else None,
            use_tls=smtp.tls is SmtpTls.IMPLICIT,
            # None would mean "if the server offers it": whoever sits in between could take the offer away.
            start_tls=smtp.tls is SmtpTls.STARTTLS,
            tls_context=None if smtp.tls is SmtpTls.NONE else tls_context(ca_file=smtp.ca_file),
            timeout=DEADLINE_S,
        )
        return Sent()

    def _message(self, smtp: Smtp, notice: Notice, channel: NotifyEmail) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = _one_line(subject(notice))
        message["From"] = smtp.sender
        message["To"] = ", ".join(channel.to)
        message["Date"] = format_datetime(utc(self._clock.time()))
        message["Message-ID"] = f"<{notice.id}@{smtp.sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"  # no out-of-office replies, please (RFC 3834)
        message.set_content(plain(notice, self._console_url))
        return message


async def _connected(addresses: list[str], port: int) -> socket.socket:
    """Return a connection to the first address that takes one. The deadline is the caller's.

    Raises:
        OSError: None does.
    """
    failure = OSError("no address")
    for address in addresses:
        connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, (address, port))
        except OSError as failed:
            connection.close()
            failure = failed
        except asyncio.CancelledError:
            connection.close()
            raise
        else:
            return connection
    raise failure


def _is_final(answered: aiosmtplib.SMTPResponseException) -> bool:
    # A refused password is put right by people within the hour; the notice waits for them.
    return answered.code >= 500 and not isinstance(answered, aiosmtplib.SMTPAuthenticationError)


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
