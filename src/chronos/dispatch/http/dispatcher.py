"""Delivers to HTTP targets."""

from __future__ import annotations

import ssl
from collections.abc import Coroutine
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from chronos.dispatch.egress import EgressGuard, LookupFailed
from chronos.dispatch.http.answer import AnswerTooLarge, judge, printable
from chronos.dispatch.http.connector import Connector
from chronos.dispatch.http.exchange import HttpClient, Read, StaleConnection, Unanswered, Wanted
from chronos.dispatch.http.pool import HotClient
from chronos.dispatch.http.redirect import REDIRECTS, RedirectRefused, follow
from chronos.dispatch.http.request import Request, RequestInvalid, build_cancel, build_request
from chronos.dispatch.http.tls import tls_context
from chronos.dispatch.port import Answer, Delivery, NoAnswer, Outcome, Refused
from chronos.dispatch.redaction import Redactor, secrets_of
from chronos.errors import ConfigInvalid, EgressRefused
from chronos.model.target import HttpTarget
from chronos.timing.clock import Clock

REASON_CHARS_MAX = 400
NO_SECRETS = Redactor(())


class HttpSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How HTTP connections are made and kept.

    Attributes:
        connect_timeout_s: Bounds look-up, connection and TLS handshake, inside the attempt's own deadline.
        idle_s: How long a connection is kept for the next request.
        max_idle_conns: Connections kept at a time, over all places.
        max_conns_per_host: Connections at a time to one scheme, host and port; who comes later waits for one.
        ca_file: Authorities to trust, as PEM, in place of the system's.
    """

    connect_timeout_s: float = 5.0
    idle_s: float = 4.0
    max_idle_conns: int = 1_024
    max_conns_per_host: int = 1_024
    ca_file: str | None = None


class HttpDispatcher:
    """Sends a delivery as one HTTP request (and the redirects it may follow), and judges the answer.

    Args:
        client: Sends and reads; `hot_client` by default.

    Raises:
        ConfigInvalid: `ca_file` cannot be used.
    """

    def __init__(
        self, guard: EgressGuard, clock: Clock, settings: HttpSettings | None = None, client: HttpClient | None = None
    ) -> None:
        self._clock = clock
        self._client = client or hot_client(guard, clock, settings or HttpSettings())

    def deliver(self, delivery: Delivery) -> Coroutine[Any, Any, Outcome]:
        """Send and judge; see `Dispatcher.deliver`."""
        target = delivery.target
        assert isinstance(target, HttpTarget)
        return self._guarded(delivery, target, cancel=False)

    async def tell_cancelled(self, delivery: Delivery) -> Outcome | None:
        """Ask the target to stop, at its `cancel_url`; None when it has none. The deadline is the caller's."""
        target = delivery.target
        if not isinstance(target, HttpTarget) or target.cancel_url is None:
            return None
        return await self._guarded(delivery, replace(target, follow_redirects=0, success_codes=[]), cancel=True)

    async def aclose(self) -> None:
        """Close every connection. May be called twice."""
        await self._client.aclose()

    async def _guarded(self, delivery: Delivery, target: HttpTarget, *, cancel: bool) -> Outcome:
        redactor = Redactor(secrets) if (secrets := secrets_of(target)) else NO_SECRETS
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
            wanted = Wanted(request.url, request.method, request.wire(), not target.tls_skip_verify, resent)
            try:
                read = await self._client.exchange(wanted)
            except (EgressRefused, LookupFailed, AnswerTooLarge, Unanswered) as failed:
                if isinstance(failed, StaleConnection) and not resent:
                    resent = True
                    continue
                return _failed(failed, request, redactor, resent=resent)
            after = _next(request, read, target.follow_redirects - len(notes), notes)
            if after is None:
                break
            request = after
        answer = read.body.answer(read.status, target.store_response, redactor)
        if notes:
            answer = replace(answer, notes=[redactor.text(note) for note in notes] + answer.notes)
        return judge(target, answer, read.retry_after, self._clock.time(), resent=resent)


def _next(request: Request, read: Read, left: int, notes: list[str]) -> Request | None:
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
            error_class = failed.error_class if isinstance(failed, Unanswered) else "dns"
            # Some reasons quote what came in, which is as long as the target likes.
            told = printable(redactor.text(f"{where}: {failed}").encode())[:REASON_CHARS_MAX]
            return NoAnswer(told, error_class, answer=Answer(), resent=resent)


def hot_client(guard: EgressGuard, clock: Clock, settings: HttpSettings) -> HotClient:
    """Return the client that deliveries go through.

    Raises:
        ConfigInvalid: `ca_file` cannot be used.
    """
    return HotClient(
        Connector(guard, clock, tls_contexts(settings), settings.connect_timeout_s),
        clock,
        per_place_max=settings.max_conns_per_host,
        idle_max=settings.max_idle_conns,
        idle_s=settings.idle_s,
    )


def tls_contexts(settings: HttpSettings) -> dict[bool, ssl.SSLContext]:
    """Return the contexts that check certificates (True) and that do not.

    Raises:
        ConfigInvalid: `ca_file` cannot be used.
    """
    try:
        return {verify: tls_context(verify=verify, ca_file=settings.ca_file) for verify in (True, False)}
    except OSError as wrong:
        raise ConfigInvalid(f"dispatcher.http.tls.ca_file: {settings.ca_file} cannot be used: {wrong}") from None
