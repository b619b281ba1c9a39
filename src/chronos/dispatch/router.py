"""Takes a delivery to the dispatcher of its target, through the wrappers, the breaker and one deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from msgspec import Struct

from chronos.dispatch.breaker import BREAKER, Breakers, Ticket, Verdict
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
    to_nobody,
)
from chronos.dispatch.redaction import Redactor, secrets_of
from chronos.dispatch.targets import ByTarget
from chronos.dispatch.underway import Beginner, Planner, Start, Told, UnderWay
from chronos.model.target import Target
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
        self._beginners = {kind: one for kind, one in dispatchers.items() if isinstance(one, Beginner)}
        self._ways = ByTarget(self._way)
        self._settings = settings or RouterSettings()
        self.deadlines = Deadlines()
        self._running: dict[tuple[str, str], int] = {}
        self.breakers = breakers or Breakers()
        self._remembered = self.breakers.remembered
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop; asked for once, because Python asks the system whether it is still the same process."""
        loop = self._loop
        if loop is None or not loop.is_running():
            loop = self._loop = asyncio.get_running_loop()
        return loop

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
        deadline = self.deadlines.within(seconds)
        return await self._in_time(delivery, partial(self._through_breaker, dispatcher, deadline), deadline, seconds)

    def begin(self, delivery: Delivery, told: Told) -> UnderWay | None:
        """Begin what nothing wraps and nothing holds up, without a task; see `underway.Begin`."""
        way = self._ways.of(delivery.target)
        if way is None:
            return None
        for concerns in way.asked:
            if concerns(delivery):
                return None
        ticket = self._admit(delivery.namespace, way.host)
        return _Begun(self, way.begin, delivery, ticket, told) if isinstance(ticket, Ticket) else None

    def expect(self, delivery: Delivery, count: int) -> None:
        """Get ready for a crowd, where it is one that is begun and its host is well; see `underway.Expect`."""
        way = self._ways.of(delivery.target)
        if way is not None and way.planner is not None and (delivery.namespace, way.host) not in self._remembered:
            way.planner.expect(delivery.target, count)

    def _way(self, target: Target) -> _Way | None:
        """Return how deliveries to a target begin; None where they need a task."""
        any_delivery = to_nobody(target)
        asked = []
        for around in self._around:
            if not isinstance(around, Around) or (around.by_target and around.concerns(any_delivery)):
                return None
            if not around.by_target:
                asked.append(around.concerns)
        host, dispatcher = host_of(target), self._beginners.get(str(target.__struct_config__.tag))
        if host is None or dispatcher is None:
            return None
        planner = dispatcher if isinstance(dispatcher, Planner) else None
        planned = planner.plan(target) if planner is not None else None
        return _Way(planned or dispatcher.begin, host, tuple(asked), planner)

    async def tell_cancelled(self, delivery: Delivery) -> None:
        """Tell the target to stop, where it can be told. Whether it heard is its own business."""
        dispatcher = self._dispatchers.get(str(delivery.target.__struct_config__.tag))
        if not isinstance(dispatcher, CancelTeller):
            return

        async def tell(wrapped: Delivery) -> Outcome:
            return await dispatcher.tell_cancelled(wrapped) or NotSent("no cancel_url")

        await self._in_time(delivery, tell, self.deadlines.within(CANCEL_S), CANCEL_S)

    async def redactor(self, delivery: Delivery) -> Redactor | None:
        """Return what takes the secrets of a delivery out of texts; None when they cannot be had for the moment."""
        found: Redactor | None = None

        async def look(wrapped: Delivery) -> Outcome:
            nonlocal found
            found = Redactor(secrets_of(wrapped.target))
            return NotSent("nothing is sent")

        await self._in_time(delivery, look, self.deadlines.within(REDACT_S), REDACT_S)
        return found

    async def _in_time(self, delivery: Delivery, inner: Deliver, deadline: Deadline, seconds: float) -> Outcome:
        try:
            with deadline:
                return await self._from(0, inner, delivery)
        except TimeoutError:
            if not deadline.expired():
                raise
            return _too_late(seconds)

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
        ticket = self._admit(delivery.namespace, host)
        if not isinstance(ticket, Ticket):
            return ticket
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
            self.leave(ticket, verdict)

    def _admit(self, namespace: str, host: str) -> Ticket | NotSent:
        """Return the right to one attempt, to be given back with `leave`, or why there is none now."""
        key = (namespace, host)
        running = self._running.get(key, 0)
        if running >= self._settings.per_host_max:
            return NotSent("host_cap", self._settings.host_retry_s)
        # The time is asked for only where it decides: most hosts are well.
        now_s = self._clock.boottime() if key in self._remembered else 0.0
        ticket = self.breakers.admit(namespace, host, now_s)
        if not isinstance(ticket, Ticket):
            return NotSent(BREAKER, ticket)
        self._running[key] = running + 1
        return ticket

    def leave(self, ticket: Ticket, verdict: Verdict) -> None:
        """Take a ticket back with what its attempt says about the host."""
        if self._remembered or verdict is Verdict.FAILED:
            self.breakers.record(ticket, verdict, self._clock.boottime())
        key = (ticket.namespace, ticket.host)
        left = self._running[key] - 1
        if left:
            self._running[key] = left
        else:
            del self._running[key]


class _Way(Struct, frozen=True):
    """How deliveries to a target begin.

    Attributes:
        asked: What is asked of each delivery: whether it concerns a wrapper after all.
    """

    begin: Start
    host: str
    asked: tuple[Callable[[Delivery], bool], ...]
    planner: Planner | None


class _Ended:
    """What stands in for what has ended."""

    def outcome(self) -> None: ...

    def stop(self) -> None: ...


_ENDED = _Ended()


class _Begun:
    """Implements `UnderWay` and `Expiring`: what a dispatcher has begun, its deadline and its place at the host.

    Attributes:
        at: When its time is up, by the loop's clock in seconds.
    """

    __slots__ = (
        "_has_come",
        "_inner",
        "_is_late",
        "_router",
        "_seconds",
        "_sweep",
        "_ticket",
        "_told",
        "at",
    )

    def __init__(self, router: Router, begin: Start, delivery: Delivery, ticket: Ticket, told: Told) -> None:
        self._router = router
        self._ticket = ticket
        self._told = told
        self._is_late = self._has_come = False
        self._seconds = delivery.timeout_us / 1e6
        loop = router.loop
        self.at = loop.time() + self._seconds
        self._sweep = router.deadlines.add(self, loop)
        try:
            self._inner: UnderWay = begin(delivery, self._hear)
        except BaseException:
            self._end(Verdict.NOTHING)
            raise

    def expire(self) -> None:
        """See `Expiring.expire`. What has come in time, and was not asked for yet, counts."""
        self._is_late = True
        if not self._has_come:
            self._inner.stop()
            self._told()

    def stop(self) -> None:
        """See `UnderWay.stop`."""
        self._inner.stop()
        self._end(Verdict.NOTHING)

    def outcome(self) -> Outcome | None:
        """See `UnderWay.outcome`."""
        try:
            outcome = self._inner.outcome() if self._has_come and not self._is_late else self._came()
        except BaseException:
            self._end(Verdict.NOTHING)
            raise
        self._has_come = False
        if outcome is not None:
            self._end(Verdict.ANSWERED if type(outcome) is Delivered else verdict_of(outcome))
        return outcome

    def _hear(self) -> None:
        self._has_come = True
        self._told()

    def _came(self) -> Outcome:
        """Return what it has come to now that its time is up."""
        if self._has_come:
            outcome = self._inner.outcome()
            if outcome is not None:
                return outcome
            self._inner.stop()
        return _too_late(self._seconds)

    def _end(self, verdict: Verdict) -> None:
        self._inner = _ENDED  # it knows us as we know it
        self._sweep.pop(self, None)
        self._router.leave(self._ticket, verdict)


def _too_late(seconds: float) -> NoAnswer:
    return NoAnswer(f"not done within {seconds:g} s", "timeout")


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
