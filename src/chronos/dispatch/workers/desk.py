"""What one worker has been given, what waits until it can take it, and what becomes of both when it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from chronos.dispatch.executor import CUT_S
from chronos.dispatch.port import Delivery, Done, Lost, NotSent, OnDone, Outcome, Refused
from chronos.dispatch.workers.channel import Channel, happens
from chronos.dispatch.workers.clock import Lead
from chronos.dispatch.workers.hand import Hand
from chronos.dispatch.workers.protocol import BATCH_MAX, Cancel, Drain, Submit, ToMain
from chronos.dispatch.workers.recalls import Recalls
from chronos.frames import ProtocolBroken
from chronos.timing.clock import Clock

ANSWER_S = 5.0
"""How long a recall waits for the worker's answer."""

DRAINED_S = 2.0
"""How much longer than its drain a worker may take to say that it has drained."""

CAPACITY = NotSent("capacity", retry_after_s=1.0)


class Desk:
    """Deliveries on their way to one worker, and in its hands. Each is reported once, or recalled.

    Args:
        on_done: Called on the loop with every batch of ended attempts.
        waiting_max: What waits beyond it is given back.
    """

    def __init__(self, on_done: OnDone, clock: Clock, lead: Lead, waiting_max: int) -> None:
        self._on_done = on_done
        self._clock = clock
        self._lead = lead
        self._waiting_max = waiting_max
        self._hand = Hand()
        self._waiting: list[Delivery] = []
        self._recalls = Recalls(self._hand, self._give_back)
        self._ended: list[Done] = []
        self._turn_asked = self._report_asked = False
        self._channel: Channel[ToMain] | None = None
        self._is_deserted = False
        self._drained = asyncio.Event()

    def in_flight(self) -> int:
        """How many attempts the worker has, or are to have."""
        return len(self._hand) + len(self._waiting)

    # Who sits here.

    def open(self, channel: Channel[ToMain]) -> None:
        """Somebody takes deliveries from now on."""
        self._channel, self._is_deserted = channel, False
        self.write()

    def desert(self) -> None:
        """Nobody has sat here for too long: give back what waits and what comes, until somebody does."""
        self._is_deserted = True
        self._give_back(self._take_waiting(), CAPACITY)

    def shut(self, why: str) -> None:
        """Whoever sat here is gone: say what became of all that it had."""
        self._channel = None
        now_s, latest_s = self._clock.time(), self._lead.latest()
        for delivery in self._hand.drop_all():
            self._end(delivery, _fate(delivery, latest_s, now_s, why))
        self._recalls.close()
        self._drained.set()

    # What is given.

    def take(self, deliveries: list[Delivery]) -> None:
        """Give it deliveries: with all others of this turn, as soon as it can take them."""
        self._waiting += deliveries
        if len(self._waiting) > BATCH_MAX:
            self.write()
        most = 0 if self._is_deserted else self._waiting_max
        if len(self._waiting) > most:
            over, self._waiting = self._waiting[most:], self._waiting[:most]
            self._give_back(over, CAPACITY)
        if self._waiting and not self._turn_asked:
            self._turn_asked = True
            asyncio.get_running_loop().call_soon(self.write)

    def write(self) -> None:
        """Send what waits, as far as the socket takes it."""
        self._turn_asked = False
        while self._waiting and self._channel is not None and self._channel.is_open_for_more:
            batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
            self._send(self._channel, batch)

    def _send(self, channel: Channel[ToMain], batch: list[Delivery]) -> None:
        try:
            channel.send(Submit(self._lead.ahead(), batch, self._lead.until()))
        except ProtocolBroken as broken:
            half = len(batch) // 2
            if not half:
                self._give_back(batch, Refused(str(broken), "too_large", permanent=True))
                return
            self._send(channel, batch[:half])
            self._send(channel, batch[half:])
            return
        self._hand.add(batch)

    # What is taken back.

    async def recall(self, execution_ids: Iterable[str]) -> dict[str, str]:
        """Take back what has not begun; see `Executor.recall`. Ids that were never here are left out."""
        answers = {one.execution_id: "dropped" for one in self._take_waiting(set(execution_ids))}
        asked = [each for each in execution_ids if each in self._hand]
        if asked and self._channel is not None:
            answers |= await self._recalls.ask(asked, self._channel, ANSWER_S)
        return answers

    def cancel(self, execution_ids: list[str], *, cancel_url: bool) -> None:
        """Stop what runs. What waits comes back."""
        self._give_back(self._take_waiting(set(execution_ids)), NotSent("recalled"))
        held = [each for each in execution_ids if each in self._hand]
        if held and self._channel is not None:
            self._channel.send(Cancel(held, cancel_url))

    async def drain(self, seconds: float) -> None:
        """Give back what waits, let what runs finish for `seconds`; whatever is left then is lost."""
        self._give_back(self._take_waiting(), NotSent("drain"))
        if len(self._hand) and self._channel is not None:
            self._drained.clear()
            self._channel.send(Drain(seconds))
            await happens(self._drained, seconds + CUT_S + DRAINED_S)
        self._give_back(self._hand.drop_all(), Lost("drain"))
        self._report()

    def _take_waiting(self, execution_ids: set[str] | None = None) -> list[Delivery]:
        """Take out what waits, or what waits under these ids."""
        waiting, self._waiting = self._waiting, []
        if execution_ids is None:
            return waiting
        self._waiting = [one for one in waiting if one.execution_id not in execution_ids]
        return [one for one in waiting if one.execution_id in execution_ids]

    # What the worker says.

    def ended(self, done: list[Done]) -> None:
        """Pass on what became of attempts; whatever it was not given is left out."""
        known = [one for one in done if self._hand.end(one)]
        self._recalls.note(known)
        if known:
            self._on_done(known)

    def recalled(self, number: int, answers: dict[str, str]) -> None:
        """Take the answer to a recall."""
        self._recalls.answer(number, answers)

    def drained(self) -> None:
        """It has nothing left."""
        self._drained.set()

    # What comes back without it.

    def _give_back(self, deliveries: list[Delivery], outcome: Outcome) -> None:
        for delivery in deliveries:
            self._end(delivery, outcome)

    def _end(self, delivery: Delivery, outcome: Outcome) -> None:
        now_us = int(self._clock.time() * 1_000_000)
        done = Done(delivery.execution_id, delivery.attempt, outcome, now_us, now_us)
        self._recalls.note([done])
        self._ended.append(done)
        if not self._report_asked:
            self._report_asked = True
            asyncio.get_running_loop().call_soon(self._report)

    def _report(self) -> None:
        self._report_asked = False
        if self._ended:
            ended, self._ended = self._ended, []
            self._on_done(ended)


def _fate(delivery: Delivery, latest_s: float, now_s: float, why: str) -> Outcome:
    """Return what became of a delivery whose worker is gone, and had taken `latest_s` for now at the latest."""
    due_s = delivery.not_before_us / 1e6
    if due_s > latest_s:
        return NotSent("worker", retry_after_s=max(0.0, due_s - now_s))
    return Lost(why)
