"""Deliveries and dispatchers to test with."""

from __future__ import annotations

import asyncio
from typing import Any

from chronos.dispatch.port import Answer, Deliver, Delivered, Delivery, Done, Outcome
from chronos.dispatch.underway import Begin, Told
from chronos.model.target import HttpTarget
from chronos.testing import VirtualClock


def a_delivery(execution_id: str = "occ_a", *, url: str = "http://target.test/", **changes: Any) -> Delivery:
    facts: dict[str, Any] = {
        "job_id": "01JABCDEFGHJKMNPQRSTVWXYZ0",
        "job_name": "nightly",
        "namespace": "default",
        "attempt": 1,
        "token": "0.1.1",
        "scheduled_s": 1_798_794_000,
        "target": HttpTarget(url=url),
        "timeout_us": 30_000_000,
    }
    return Delivery(execution_id=execution_id, **(facts | changes))


def us(clock: VirtualClock, seconds: float = 0.0) -> int:
    """Return wall time `seconds` from now, in microseconds."""
    return int((clock.time() + seconds) * 1_000_000)


class Recorder:
    """Delivers by taking `seconds`, and notes when what began. With `outcome` a callable, it decides."""

    def __init__(self, clock: VirtualClock, seconds: float = 0.0, outcome: Any = None) -> None:
        self.clock = clock
        self.seconds = seconds
        self.outcome = outcome if outcome is not None else Delivered(Answer(200))
        self.began: list[tuple[str, float]] = []
        self.ended: list[str] = []
        self.cut: list[str] = []
        self.at_once = 0
        self.at_once_max = 0
        self._start = clock.time()

    @property
    def order(self) -> list[str]:
        return [execution_id for execution_id, _ in self.began]

    async def deliver(self, delivery: Delivery) -> Outcome:
        self.began.append((delivery.execution_id, self.clock.time() - self._start))
        self.at_once += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cut.append(delivery.execution_id)
            raise
        finally:
            self.at_once -= 1
        self.ended.append(delivery.execution_id)
        outcome: Outcome = self.outcome(delivery) if callable(self.outcome) else self.outcome
        return outcome

    async def aclose(self) -> None:
        """Nothing to close."""


class Begun:
    """An `UnderWay` that delivers with a task; begun by `Begun.beginner(deliver)`."""

    def __init__(self, deliver: Deliver, delivery: Delivery, told: Told) -> None:
        self._told = told
        self._task = asyncio.ensure_future(deliver(delivery))
        self._task.add_done_callback(self._tell)

    def _tell(self, _: object) -> None:
        self._told()

    def outcome(self) -> Outcome | None:
        return self._task.result()

    def stop(self) -> None:
        self._task.remove_done_callback(self._tell)
        self._task.cancel()

    @classmethod
    def beginner(cls, deliver: Deliver) -> Begin:
        return lambda delivery, told: cls(deliver, delivery, told)


class Reports:
    """Keeps what an executor reports."""

    def __init__(self) -> None:
        self.batches: list[list[Done]] = []

    def __call__(self, batch: list[Done]) -> None:
        self.batches.append(batch)

    @property
    def all(self) -> list[Done]:
        return [done for batch in self.batches for done in batch]

    @property
    def outcomes(self) -> dict[str, Outcome]:
        return {done.execution_id: done.outcome for done in self.all}
