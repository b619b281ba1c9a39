"""Delivers to HTTP targets."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from chronos.dispatch.egress import EgressGuard
from chronos.dispatch.http.attempt import Attempt, Sending, Unsendable, wanted
from chronos.dispatch.http.connector import Connector
from chronos.dispatch.http.exchange import HttpClient, Wanted
from chronos.dispatch.http.pool import HotClient
from chronos.dispatch.http.request import Prepared, Request, RequestInvalid, build_cancel, build_request, prepare
from chronos.dispatch.http.tls import tls_context
from chronos.dispatch.port import Delivery, Outcome
from chronos.dispatch.redaction import Redactor, secrets_of
from chronos.dispatch.targets import ByTarget
from chronos.dispatch.underway import Start, Told, UnderWay, awaited
from chronos.errors import ConfigInvalid
from chronos.model.target import HttpTarget, Target
from chronos.timing.clock import Clock

NO_SECRETS = Redactor(())

Build = Callable[[Delivery, HttpTarget, float], Request | None]
"""Makes a request of a delivery, at a time. Raises `RequestInvalid`."""


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
        self._plans = ByTarget(self._plan)
        self._client = client or hot_client(guard, clock, settings or HttpSettings())

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Send and judge; see `Dispatcher.deliver`."""
        return await awaited(partial(self.begin, delivery))

    def begin(self, delivery: Delivery, told: Told) -> UnderWay:
        """Send and judge, without a task; see `Beginner.begin`."""
        target = delivery.target
        assert isinstance(target, HttpTarget)
        secrets = secrets_of(target)
        plan = self._plans.of(target) if not secrets else None  # with a secret in it, a request is made and forgotten
        if plan is None:
            return self._built(self._sending(delivery, target, secrets), build_request, told)
        return plan.begin(delivery, told)

    def plan(self, target: Target) -> Start | None:
        """Return what begins deliveries to a target whose requests are prepared; see `Planner.plan`."""
        plan = self._plans.of(target)
        return plan.begin if plan is not None else None

    def expect(self, target: Target, count: int) -> None:
        """Make connections for a crowd; see `Planner.expect`."""
        plan = self._plans.of(target)
        if plan is not None:
            plan.warm(count)

    def _plan(self, target: Target) -> _Plan | None:
        """Return the plan; None where each request is built. With a secret in it, one is made and forgotten."""
        assert isinstance(target, HttpTarget)
        prepared = None if secrets_of(target) else prepare(target)
        return _Plan(self._client, self._clock, target, prepared) if prepared is not None else None

    async def tell_cancelled(self, delivery: Delivery) -> Outcome | None:
        """Ask the target to stop, at its `cancel_url`; None when it has none. The deadline is the caller's."""
        target = delivery.target
        if not isinstance(target, HttpTarget) or target.cancel_url is None:
            return None
        plain = replace(target, follow_redirects=0, success_codes=[])
        sending = self._sending(delivery, plain, secrets_of(target))
        return await awaited(partial(self._built, sending, build_cancel))

    async def aclose(self) -> None:
        """Close every connection. May be called twice."""
        await self._client.aclose()

    def _sending(self, delivery: Delivery, target: HttpTarget, secrets: frozenset[str]) -> Sending:
        return Sending(delivery, target, Redactor(secrets) if secrets else NO_SECRETS, self._clock.time())

    def _built(self, sending: Sending, build: Build, told: Told) -> UnderWay:
        try:
            request = build(sending.delivery, sending.target, sending.built_s)
        except RequestInvalid as invalid:
            return Unsendable(invalid, sending.redactor, told)
        assert request is not None
        return Attempt(self._client, self._clock, sending, wanted(request, sending.target), request, told)


class _Plan:
    """What all requests to a target have in common, and what empty answers come to, by status, once there was one."""

    __slots__ = ("_client", "_clock", "_delivered", "_prepared", "_target", "_verify")

    def __init__(self, client: HttpClient, clock: Clock, target: HttpTarget, prepared: Prepared) -> None:
        self._client = client
        self._clock = clock
        self._target = target
        self._prepared = prepared
        self._verify = not target.tls_skip_verify
        self._delivered: dict[int, Outcome] = {}

    def warm(self, count: int) -> None:
        """Make connections for so many requests."""
        self._client.warm(self._prepared.url, count, verify=self._verify)

    def begin(self, delivery: Delivery, told: Told) -> UnderWay:
        """See `Beginner.begin`."""
        now_s, prepared = self._clock.time(), self._prepared
        ready = Wanted(prepared.url, prepared.method, prepared.wire(delivery, now_s), self._verify)
        sending = Sending(delivery, self._target, NO_SECRETS, now_s, self._delivered)
        return Attempt(self._client, self._clock, sending, ready, None, told)


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
        right=guard.right,
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
