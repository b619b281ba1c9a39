"""Takes a delivery to the dispatcher of its target, through the wrappers, the breaker and one deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from msgspec import Struct

from chronos.dispatch.breaker import Breakers, Ticket, Verdict
from chronos.dispatch.deadline import Deadline, Deadlines
from chronos.dispatch.hosts import host_of
from chronos.dispatch.port import (
    Accepted,
    Around,
    AroundDispatch,
    Deliver,
    Delivered,
    Delivery,
    Dispatcher,
    NoAnswer,
    NotSent,
    Outcome,
    Refused,
)
from chronos.dispatch.redaction import Redactor, secrets_of
from chronos.timing.clock import Clock

CANCEL_S = 5.0
"""How long telling a target to stop may take."""

REDACT_S = 5.0
"""How long looking up the secrets of a delivery may take."""


class RouterSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much may go to one place at a time.

    Attributes:
        per_host_max: Attempts running at a time per namespace and host; more are not sent and asked again soon.
        host_retry_s: When to ask again after that.
    """

    per_host_max: int = 1_000
    host_retry_s: float = 1.0


@runtime_checkable
class CancelTeller(Protocol):
    """What a dispatcher offers besides, if its targets can be told to stop."""

    async def tell_cancelled(self, delivery: Delivery) -> Outcome | None:
        """Tell the target to stop; None when it cannot be told. The deadline is the caller's."""
        ...


class Router:
    """Delivers anything there is a dispatcher for. Closes its dispatchers when it is left.

    Args:
        dispatchers: By the target's `type` (`http`, `process`, …).
        around: Wrappers, outermost first. They run inside the attempt's deadline, outside breaker and host cap.
    """

    def __init__(
        self,
        dispatchers: Mapping[str, Dispatcher],
        clock: Clock,
        *,
        around: Sequence[AroundDispatch] = (),
        breakers: Breakers | None = None,
        settings: RouterSettings | None = None,
    ) -> None:
        self._dispatchers = dispatchers
        self._clock = clock
        self._around = tuple(around)
        self._settings = settings or RouterSettings()
        self._deadlines = Deadlines()
        self._running: dict[tuple[str, str], int] = {}
        self.breakers = breakers or Breakers()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every dispatcher. May be called twice."""
        for dispatcher in self._dispatchers.values():
            await dispatcher.aclose()

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Deliver within the attempt's deadline, and say what became of it."""
        kind = str(delivery.target.__struct_config__.tag)
        dispatcher = self._dispatchers.get(kind)
        if dispatcher is None:
            return Refused(f"this server delivers to no target of type {kind}", "unsupported", permanent=True)
        seconds = delivery.timeout_us / 1e6
        deadline = self._deadlines.within(seconds)
        return await self._in_time(delivery, partial(self._through_breaker, dispatcher, deadline), deadline, seconds)

    async def tell_cancelled(self, delivery: Delivery) -> None:
        """Tell the target to stop, where it can be told. Whether it heard is its own business."""
        dispatcher = self._dispatchers.get(str(delivery.target.__struct_config__.tag))
        if not isinstance(dispatcher, CancelTeller):
            return

        async def tell(wrapped: Delivery) -> Outcome:
            return await dispatcher.tell_cancelled(wrapped) or NotSent("no cancel_url")

        await self._in_time(delivery, tell, self._deadlines.within(CANCEL_S), CANCEL_S)

    async def redactor(self, delivery: Delivery) -> Redactor | None:
        """Return what takes the secrets of a delivery out of texts; None when they cannot be had for the moment."""
        found: Redactor | None = None

        async def look(wrapped: Delivery) -> Outcome:
            nonlocal found
            found = Redactor(secrets_of(wrapped.target))
            return NotSent("nothing is sent")

        await self._in_time(delivery, look, self._deadlines.within(REDACT_S), REDACT_S)
        return found

    async def _in_time(self, delivery: Delivery, inner: Deliver, deadline: Deadline, seconds: float) -> Outcome:
        try:
            with deadline:
                return await self._from(0, inner, delivery)
        except TimeoutError:
            if not deadline.expired():
                raise
            return NoAnswer(f"not done within {seconds:g} s", "timeout")

    def _from(self, place: int, inner: Deliver, delivery: Delivery) -> Awaitable[Outcome]:
        """Go on with the first wrapper from `place` on that is concerned; most deliveries concern none."""
        for here in range(place, len(self._around)):
            around = self._around[here]
            if not isinstance(around, Around) or around.concerns(delivery):
                return around(delivery, partial(self._from, here + 1, inner))
        return inner(delivery)

    async def _through_breaker(self, dispatcher: Dispatcher, deadline: Deadline, delivery: Delivery) -> Outcome:
        host = host_of(delivery.target)
        if host is None:
            return await dispatcher.deliver(delivery)
        key = (delivery.namespace, host)
        if self._running.get(key, 0) >= self._settings.per_host_max:
            return NotSent("host_cap", self._settings.host_retry_s)
        ticket = self.breakers.admit(*key, self._clock.boottime())
        if not isinstance(ticket, Ticket):
            return NotSent("breaker", ticket)
        self._running[key] = self._running.get(key, 0) + 1
        verdict = Verdict.NOTHING
        try:
            outcome = await dispatcher.deliver(delivery)
            verdict = verdict_of(outcome)
            return outcome
        except asyncio.CancelledError:
            # The deadline is the host's fault; anybody else's wish to stop is not.
            verdict = Verdict.FAILED if deadline.expired() else Verdict.NOTHING
            raise
        finally:
            self.breakers.record(ticket, verdict, self._clock.boottime())
            self._leave(key)

    def _leave(self, key: tuple[str, str]) -> None:
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]


def verdict_of(outcome: Outcome) -> Verdict:
    """Return what an outcome says about its host: a status below 500 is an answer, whatever it means for the job."""
    match outcome:
        case Delivered() | Accepted():
            return Verdict.ANSWERED
        case Refused(answer=answer) if answer.status_code is not None:
            return Verdict.FAILED if answer.status_code >= 500 else Verdict.ANSWERED
        case NoAnswer():
            return Verdict.FAILED
        case _:
            return Verdict.NOTHING
