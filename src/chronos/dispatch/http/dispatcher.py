"""Delivers to HTTP targets."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine
from functools import lru_cache, partial
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from chronos.dispatch.egress import EgressGuard, LookupFailed
from chronos.dispatch.http.answer import AnswerTooLarge, judge, printable
from chronos.dispatch.http.connector import Connector
from chronos.dispatch.http.exchange import HttpClient, Read, StaleConnection, Unanswered, Wanted
from chronos.dispatch.http.pool import HotClient
from chronos.dispatch.http.redirect import REDIRECTS, RedirectRefused, follow
from chronos.dispatch.http.request import Prepared, Request, RequestInvalid, build_cancel, build_request, prepare
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
        secrets, now_s = secrets_of(target), self._clock.time()
        redactor = Redactor(secrets) if secrets else NO_SECRETS
        # With a secret in it, a request is made and forgotten.
        prepared = None if cancel or secrets else _prepared(_encode(target))
        try:
            if prepared is not None:
                wire, verify = prepared.wire(delivery, now_s), not target.tls_skip_verify
                wanted = Wanted(prepared.url, prepared.method, wire, verify)
                return await self._send(wanted, partial(build_request, delivery, target, now_s), target, redactor)
            request = build_cancel(delivery, target, now_s) if cancel else build_request(delivery, target, now_s)
            assert request is not None
            return await self._send(_wanted(request, target), partial(_same, request), target, redactor)
        except RequestInvalid as invalid:
            return Refused(redactor.text(str(invalid)), "request", permanent=True)

    async def _send(
        self, wanted: Wanted, request_of: Callable[[], Request], target: HttpTarget, redactor: Redactor
    ) -> Outcome:
        """Send, and go where redirects lead. `request_of` returns what `wanted` was made of, for who has to know."""
        resent = False
        notes: list[str] = []
        # Bounded: at most three redirects, and one sending again.
        while True:
            try:
                read = await self._client.exchange(wanted)
            except (EgressRefused, LookupFailed, AnswerTooLarge, Unanswered) as failed:
                if not isinstance(failed, StaleConnection) or resent:
                    return _failed(failed, wanted, redactor, resent=resent)
                resent, wanted = True, replace(wanted, is_fresh=True)
                continue
            if read.status not in REDIRECTS:
                break
            request = request_of()
            after = _next(request, read, target.follow_redirects - len(notes), notes)
            if after is None:
                break
            wanted, request_of = replace(_wanted(after, target), is_fresh=resent), partial(_same, after)
        answer = read.body.answer(read.status, target.store_response, redactor)
        if notes:
            answer = replace(answer, notes=[redactor.text(note) for note in notes] + answer.notes)
        return judge(target, answer, read.retry_after, self._clock.time(), resent=resent)


def _wanted(request: Request, target: HttpTarget) -> Wanted:
    return Wanted(request.url, request.method, request.wire(), not target.tls_skip_verify)


def _same(request: Request) -> Request:
    return request


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(HttpTarget).decode
PREPARED_KEPT = 10_000


@lru_cache(maxsize=PREPARED_KEPT)
def _prepared(encoded: bytes) -> Prepared | None:
    """Return the prepared request of a target, found by its bytes: which object says it differs from run to run."""
    return prepare(_decode(encoded))


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


def _failed(failed: Exception, wanted: Wanted, redactor: Redactor, *, resent: bool) -> Outcome:
    """Return what a request without an answer came to."""
    where = wanted.url.authority
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
