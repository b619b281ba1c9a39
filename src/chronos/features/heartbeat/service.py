"""Tells the outside world, again and again, that planning goes on: when that stops, somebody there notices."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, Self

import structlog

from chronos.dispatch.port import Delivered, Delivery, NoAnswer, NotSent, Outcome, Refused
from chronos.features.heartbeat.model import Heartbeat, Settings
from chronos.model.target import HttpTarget, Method, StoreResponse
from chronos.telemetry import Telemetry
from chronos.timing.clock import Clock, utc

log = structlog.get_logger("chronos.heartbeat")

LOOK_S = 1.0
UNFENCED = "0.0.0"
LASTING_S = 3.0
"""How long trouble has to last before it is told."""
AGAIN_S = 10.0
"""How soon a ping that did not arrive is sent again, if the interval is longer."""

Deliver = Callable[[Delivery], Awaitable[Outcome]]


class Pulse(Protocol):
    """Says whether planning goes on (`scheduler.pulse.Pulse`)."""

    def trouble(self) -> str: ...
    def is_leaving(self) -> bool: ...


class Beating:
    """Looks once a second whether planning goes on, and says so at every interval. One request at a time.

    Args:
        pulse: Asked for when it is needed: features are installed before the scheduler is there. So is `deliver`.
    """

    def __init__(
        self,
        settings: Settings,
        pulse: Callable[[], Pulse],
        deliver: Callable[[], Deliver],
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._settings = settings
        self._pulse = pulse
        self._deliver = deliver
        self._clock = clock
        self._telemetry = telemetry
        self._task: asyncio.Task[None] | None = None
        self._number = 0
        self._due_s = 0.0
        self._is_troubled = False
        self._sent_s: float | None = None
        self._error = ""

    async def __aenter__(self) -> Self:
        if self._settings.url:
            self._task = asyncio.create_task(self._run(), name="heartbeat")
        return self

    async def __aexit__(self, *exc: object) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def status(self) -> Heartbeat:
        """Return how it stands."""
        trouble = self._pulse().trouble()
        return Heartbeat(
            configured=bool(self._settings.url),
            interval=self._settings.interval,
            scheduling=not trouble,
            trouble=trouble,
            last_sent_at=utc(self._sent_s) if self._sent_s is not None else None,
            last_error=self._error,
        )

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Send what is due: a ping while planning goes on, else word of the trouble, where somebody wants it."""
        pulse = self._pulse()
        if pulse.is_leaving():
            return
        trouble = pulse.trouble()
        if bool(trouble) is not self._is_troubled:
            # What is new is told at once, trouble as soon as it has lasted: a start, or one slow turn, is none.
            self._is_troubled = bool(trouble)
            self._due_s = self._clock.boottime() + (LASTING_S if trouble else 0.0)
        if self._clock.boottime() < self._due_s:
            return
        self._due_s = self._clock.boottime() + self._settings.interval_s
        if trouble:
            await self._withhold(trouble)
        elif self._settings.url and await self._send(self._settings.url, Method.GET, ""):
            self._sent_s = self._clock.time()

    async def _withhold(self, trouble: str) -> None:
        log.warning("heartbeat_withheld", reason=trouble)
        self._telemetry.count("heartbeats_total", outcome="withheld")
        if self._settings.fail_url:
            await self._send(self._settings.fail_url, Method.POST, trouble)

    async def _send(self, url: str, method: Method, body: str) -> bool:
        self._number += 1
        outcome = await self._deliver()(self._delivery(url, method, body))
        arrived = isinstance(outcome, Delivered)
        self._note(arrived, "" if arrived else _why_not(outcome))
        self._telemetry.count("heartbeats_total", outcome="sent" if arrived else "failed")
        if not arrived:
            self._due_s = self._clock.boottime() + min(AGAIN_S, self._settings.interval_s)
        return arrived

    def _note(self, arrived: bool, error: str) -> None:
        if error and error != self._error:
            log.warning("heartbeat_failed", reason=error)
        if arrived and self._error:
            log.info("heartbeat_arrives_again")
        self._error = error

    def _delivery(self, url: str, method: Method, body: str) -> Delivery:
        target = HttpTarget(
            url=url,
            method=method,
            body=body,
            headers={"Content-Type": "text/plain; charset=utf-8"} if body else {},
            store_response=StoreResponse.NONE,
        )
        return Delivery(
            execution_id=f"heartbeat_{self._number}",
            job_id="heartbeat",
            job_name="heartbeat",
            namespace="chronos",  # a breaker of its own: what jobs do to the same host is no reason not to call
            attempt=1,
            token=UNFENCED,
            scheduled_s=int(self._clock.time()),
            target=target,
            timeout_us=int(self._settings.timeout_s * 1e6),
        )


def _why_not(outcome: Outcome) -> str:
    if isinstance(outcome, Refused | NoAnswer):
        return outcome.reason
    return f"not sent: {outcome.reason}" if isinstance(outcome, NotSent) else "it was stopped"
