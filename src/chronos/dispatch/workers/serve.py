"""The worker's end: takes deliveries from the socket, runs them, tells what became of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from chronos.dispatch.breaker import Breakers
from chronos.dispatch.executor import LocalExecutor, TellCancelled
from chronos.dispatch.port import Deliver, Done
from chronos.dispatch.right import RightToSend
from chronos.dispatch.targets import Targets
from chronos.dispatch.underway import Begin as BeginDelivery
from chronos.dispatch.underway import Expect
from chronos.dispatch.workers.channel import Channel
from chronos.dispatch.workers.clock import LedClock
from chronos.dispatch.workers.protocol import (
    BATCH_MAX,
    VERSION,
    AtWorker,
    Begin,
    Cancel,
    Drain,
    Drained,
    Ended,
    Inspect,
    Inspected,
    Ping,
    Pong,
    Ready,
    Recall,
    Recalled,
    Refusal,
    Reset,
    Taken,
    WasReset,
    known,
    to_worker,
)
from chronos.dispatch.workers.tally import NOTHING, TallySink
from chronos.errors import ChronosError
from chronos.telemetry import Telemetry
from chronos.timing.clock import Clock

log = logging.getLogger(__name__)

TOLD_TOGETHER_S = 0.002
"""After a frame of results, what ends within it waits for the next: a frame costs both sides more than a result."""


@dataclass(frozen=True)
class Tools:
    """What a worker delivers with, made of what main has handed over."""

    deliver: Deliver
    tell_cancelled: TellCancelled | None
    breakers: Breakers
    begin: BeginDelivery | None = None
    expect: Expect | None = None


Equip = Callable[[bytes, Clock, Telemetry, RightToSend | None], AbstractAsyncContextManager[Tools]]
"""Makes the tools of (handover, clock, telemetry, right to send); leaving it closes them.

Raises `ChronosError` when it cannot.
"""


class WorkerSide:
    """One worker, from the first frame to the last. `run` it once the channel is connected.

    Args:
        settle: Called when all is loaded, with what tells how many attempts are held or running.
    """

    def __init__(
        self,
        equip: Equip,
        clock: Clock,
        *,
        pid: int,
        on_lost: Callable[[], None] = lambda: None,
        settle: Callable[[Callable[[], int]], None] = lambda _: None,
    ) -> None:
        self._equip = equip
        self._clock = LedClock(clock, 0.0)
        self._pid = pid
        self._on_lost = on_lost
        self._settle = settle
        self._targets = Targets()
        self._tally = TallySink()
        self._right: RightToSend | None = None
        self._telemetry = Telemetry()
        self._telemetry.add_sink(self._tally)
        self._begin: Begin | None = None
        self._spoken_to = asyncio.Event()
        self._tools: Tools | None = None
        self._executor: LocalExecutor | None = None
        self._asked: asyncio.TaskGroup | None = None
        self.channel: Channel[AtWorker] = Channel(to_worker, self._hear, on_lost=self._end)

    async def run(self) -> None:
        """Work until main closes the channel."""
        await self._spoken_to.wait()
        begin = self._begin
        if begin is None:
            return
        self._clock.lead(begin.ahead_s)
        if begin.until_s is not None:
            self._right = RightToSend(self._clock, begin.until_s)
        try:
            if begin.version != VERSION:
                raise ChronosError(f"it speaks version {VERSION} of the protocol, and the server {begin.version}")
            async with self._equipped(begin):
                await self.channel.closed.wait()
        except ChronosError as error:
            self.channel.send(Refusal(str(error)))
            await self.channel.closed.wait()

    @asynccontextmanager
    async def _equipped(self, begin: Begin) -> AsyncIterator[None]:
        async with self._equip(begin.handover, self._clock, self._telemetry, self._right) as tools:
            executor = LocalExecutor(
                tools.deliver,
                self._tell,
                self._clock,
                begin.executor,
                begin=tools.begin,
                expect=tools.expect,
                tell_cancelled=tools.tell_cancelled,
                telemetry=self._telemetry,
                rest_s=TOLD_TOGETHER_S,
                right=self._right,
            )
            async with executor, asyncio.TaskGroup() as self._asked:
                self._executor, self._tools = executor, tools
                self._settle(executor.in_flight)
                self.channel.send(Ready(VERSION, self._pid))
                yield

    # What main says.

    def _hear(self, message: AtWorker) -> None:
        if isinstance(message, Begin):
            self._begin = message
            self._spoken_to.set()
            return
        executor, tools, asked = self._executor, self._tools, self._asked
        assert executor is not None, "main waits until it is told that deliveries may come"
        assert tools is not None
        assert asked is not None
        match message:
            case Taken(ahead_s, handed, until_s):
                self._go_by(ahead_s, until_s)
                executor.submit(known(handed, self._targets))
            case Ping(ahead_s, until_s):
                self._go_by(ahead_s, until_s)
                self.channel.send(Pong(executor.running, self._tally.take()))
            case Recall(number, execution_ids):
                asked.create_task(self._recall(executor, number, execution_ids))
            case Cancel(execution_ids, cancel_url):
                asked.create_task(executor.cancel(execution_ids, cancel_url=cancel_url))
            case Drain(seconds):
                asked.create_task(self._drain(executor, seconds))
            case Inspect(number):
                self.channel.send(Inspected(number, tools.breakers.states(self._clock.boottime())))
            case Reset(number, namespace, host):
                self.channel.send(WasReset(number, tools.breakers.reset(namespace, host)))

    def _go_by(self, ahead_s: float, until_s: float | None) -> None:
        self._clock.lead(ahead_s)
        if self._right is not None and until_s is not None:
            self._right.until_s = until_s

    async def _recall(self, executor: LocalExecutor, number: int, execution_ids: list[str]) -> None:
        answers = await executor.recall(execution_ids)
        executor.report()  # what has ended is told before
        self.channel.send(Recalled(number, answers))

    async def _drain(self, executor: LocalExecutor, seconds: float) -> None:
        await executor.drain(seconds)
        self.channel.send(Drained())

    def _end(self) -> None:
        self._spoken_to.set()
        self._on_lost()

    # What is said to main.

    def _tell(self, done: list[Done]) -> None:
        assert self._executor is not None
        running, tally = self._executor.running, self._tally.take()
        for start in range(0, len(done), BATCH_MAX):
            self.channel.send(Ended(done[start : start + BATCH_MAX], running, tally))
            tally = NOTHING
