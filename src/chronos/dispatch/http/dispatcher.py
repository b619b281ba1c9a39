"""Delivers to HTTP targets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpcore2
from msgspec import Struct
from msgspec.structs import replace

from chronos.dispatch.egress import EgressGuard, LookupFailed
from chronos.dispatch.http.answer import AnswerTooLarge, BodyReader, NotHttp, judge, printable
from chronos.dispatch.http.pool import Pool
from chronos.dispatch.http.redirect import REDIRECTS, RedirectRefused, follow
from chronos.dispatch.http.request import Request, RequestInvalid, build_cancel, build_request
from chronos.dispatch.http.transport import StaleConnection, TlsFailed, VettedBackend, WatchedStream, tls_context
from chronos.dispatch.port import Answer, Delivery, NoAnswer, Outcome, Refused
from chronos.dispatch.redaction import Redactor, secrets_of
from chronos.errors import ConfigInvalid, EgressRefused
from chronos.model.target import HttpTarget
from chronos.timing.clock import Clock

REASON_CHARS_MAX = 400
TURN_PIECES = 256


class HttpSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How HTTP connections are made and kept.

    Attributes:
        connect_timeout_s: Bounds look-up, connection and TLS handshake, inside the attempt's own deadline.
        idle_s: How long a connection is kept for the next request.
        ca_file: Authorities to trust, as PEM, in place of the system's.
    """

    connect_timeout_s: float = 5.0
    idle_s: float = 4.0
    max_idle_conns: int = 1_024
    ca_file: str | None = None


class _Read(Struct):
    """An answer as it was read: status, headers of interest, body."""

    status: int
    location: str
    retry_after: list[str]
    body: BodyReader


class HttpDispatcher:
    """Sends a delivery as one HTTP request (and the redirects it may follow), and judges the answer.

    Raises:
        ConfigInvalid: `ca_file` cannot be used.
    """

    def __init__(self, guard: EgressGuard, clock: Clock, settings: HttpSettings | None = None) -> None:
        self._clock = clock
        self._settings = settings = settings or HttpSettings()
        try:
            contexts = {verify: tls_context(verify=verify, ca_file=settings.ca_file) for verify in (True, False)}
        except OSError as wrong:
            raise ConfigInvalid(f"dispatcher.http.tls.ca_file: {settings.ca_file} cannot be used: {wrong}") from None
        self._pool = Pool(
            VettedBackend(guard, clock), contexts, idle_max=settings.max_idle_conns, idle_s=settings.idle_s
        )

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Send and judge; see `Dispatcher.deliver`."""
        target = delivery.target
        assert isinstance(target, HttpTarget)
        return await self._guarded(delivery, target, cancel=False)

    async def tell_cancelled(self, delivery: Delivery) -> Outcome | None:
        """Ask the target to stop, at its `cancel_url`; None when it has none. The deadline is the caller's."""
        target = delivery.target
        if not isinstance(target, HttpTarget) or target.cancel_url is None:
            return None
        return await self._guarded(delivery, replace(target, follow_redirects=0, success_codes=[]), cancel=True)

    async def aclose(self) -> None:
        """Close every connection. May be called twice."""
        await self._pool.aclose()

    async def _guarded(self, delivery: Delivery, target: HttpTarget, *, cancel: bool) -> Outcome:
        redactor = Redactor(secrets_of(target))
        try:
            build = build_cancel if cancel else build_request
            request = build(delivery, target, self._clock.time())
            assert request is not None
            return await self._send(request, target, redactor)
        except RequestInvalid as invalid:
            return Refused(redactor.text(str(invalid)), "request", permanent=True)

    async def _send(self, request: Request, target: HttpTarget, redactor: Redactor) -> Outcome:
        resent = False
        notes: list[str] = []
        # Bounded: at most three redirects, and one sending again.
        while True:
            read = await self._once_or_none(request, target)
            if isinstance(read, StaleConnection) and not resent:
                resent = True
                continue
            if isinstance(read, Exception):
                return _failed(read, request, redactor, resent=resent)
            after = _next(request, read, target.follow_redirects - len(notes), notes)
            if after is None:
                break
            request = after
        answer = read.body.answer(read.status, target.store_response, redactor)
        answer = replace(answer, notes=[redactor.text(note) for note in notes] + answer.notes)
        return judge(target, answer, read.retry_after, self._clock.time(), resent=resent)

    async def _once_or_none(self, request: Request, target: HttpTarget) -> _Read | Exception:
        """Return the answer, or why there is none, as a value."""
        try:
            return await self._once(request, target)
        except (
            EgressRefused,
            LookupFailed,
            AnswerTooLarge,
            NotHttp,
            httpcore2.TimeoutException,
            httpcore2.NetworkError,
            httpcore2.ProtocolError,
        ) as failed:
            return failed

    async def _once(self, request: Request, target: HttpTarget) -> _Read:
        url = request.url
        wanted = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=url.scheme.encode(), host=url.host.encode(), port=url.port, target=url.target.encode()
            ),
            headers=request.lines(),
            content=request.body,
            # Reading and writing are bounded by the caller's one deadline, not piece by piece.
            extensions={"timeout": {"connect": self._settings.connect_timeout_s}},
        )
        async with self._pool.answering(url, wanted, verify=not target.tls_skip_verify) as response:
            stream = response.extensions["network_stream"]
            if isinstance(stream, WatchedStream) and not stream.has_answered:
                raise httpcore2.RemoteProtocolError("it came before it was asked for")
            return await self._read(response)

    async def _read(self, response: httpcore2.Response) -> _Read:
        body = BodyReader(_joined(response, b"content-encoding").lower())
        try:
            async for piece in response.aiter_stream():
                body.feed(piece)
                if body.full:
                    break
                if body.pieces % TURN_PIECES == 0:
                    await asyncio.sleep(0)  # one read may hold thousands of tiny pieces; others get their turn
        except (httpcore2.NetworkError, httpcore2.ProtocolError, AnswerTooLarge):
            # The status has been said; a body that breaks off does not unsay it.
            body.notes.append("body cut: the connection broke off or its framing is wrong")
        return _Read(response.status, _joined(response, b"location"), _all(response, b"retry-after"), body)


def _next(request: Request, read: _Read, left: int, notes: list[str]) -> Request | None:
    """Return the request a redirect asks for, noting it; None when there is nothing to follow."""
    if read.status not in REDIRECTS or left <= 0 or not read.location:
        return None
    try:
        after = follow(request, read.status, read.location)
    except RedirectRefused as refused:
        notes.append(f"redirect not followed: {refused}")
        return None
    notes.append(f"redirected by {read.status} to {after.url.origin}")
    return after


def _failed(failed: Exception, request: Request, redactor: Redactor, *, resent: bool) -> Outcome:
    """Return what a request without an answer came to."""
    where = request.url.authority
    match failed:
        case EgressRefused():
            return Refused(redactor.text(str(failed)), "egress", permanent=True, resent=resent)
        case AnswerTooLarge():
            return Refused(f"{where}: {failed}", "too_large", permanent=True, resent=resent)
        case _:
            reason, error_class = _silence(failed)
            # Some reasons quote what came in, which is as long as the target likes.
            told = printable(redactor.text(f"{where}: {reason}").encode())[:REASON_CHARS_MAX]
            return NoAnswer(told, error_class, answer=Answer(), resent=resent)


def _silence(failed: Exception) -> tuple[str, str]:
    match failed:
        case LookupFailed():
            return str(failed), "dns"
        case TlsFailed():
            return str(failed), "tls"
        case httpcore2.ConnectTimeout():
            return "no connection within the connect timeout", "connect"
        case httpcore2.ConnectError():
            return f"no connection: {failed}", "connect"
        case httpcore2.TimeoutException():
            return "no answer in time", "timeout"
        case NotHttp():
            return f"the answer is not HTTP/1: {failed}", "protocol"
        case httpcore2.RemoteProtocolError() if "disconnected" not in str(failed):
            return f"the answer is not HTTP: {failed}", "protocol"
        case httpcore2.LocalProtocolError():
            return f"the request cannot be sent: {failed}", "protocol"
        case _:
            return "it closed the connection without an answer", "reset"


def _all(response: httpcore2.Response, name: bytes) -> list[str]:
    return [value.decode("latin-1") for known, value in response.headers if known.lower() == name]


def _joined(response: httpcore2.Response, name: bytes) -> str:
    values: Sequence[str] = _all(response, name)
    return values[0].strip() if len(values) == 1 else ",".join(values)
