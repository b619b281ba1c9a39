"""A worker's place in the pool: keeps somebody on it, and knows whether that one is well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

import structlog
from msgspec import Struct

from chronos.dispatch.breaker import BreakerState
from chronos.dispatch.port import OnDone
from chronos.dispatch.right import RightToSend
from chronos.dispatch.workers.channel import Channel, happens
from chronos.dispatch.workers.clock import Lead
from chronos.dispatch.workers.desk import Desk
from chronos.dispatch.workers.process import Launcher, Process, in_words
from chronos.dispatch.workers.protocol import (
    VERSION,
    Begin,
    Drained,
    Ended,
    Inspect,
    Inspected,
    Ping,
    Pong,
    Ready,
    Recalled,
    Refusal,
    Reset,
    ToMain,
    WasReset,
    to_main,
)
from chronos.errors import ConfigInvalid, WorkersFailed
from chronos.frames import ProtocolBroken
from chronos.telemetry import Telemetry
from chronos.timing.clock import Clock

log = structlog.get_logger(__name__)

PING_S = 0.5
HUNG_S, START_S = 10.0, 30.0
"""A worker that says nothing for so long, while we have been on time ourselves, is replaced."""

STEADY_S = 10.0
"""Who has lived for so long did not die of what it was born with."""

DEATHS_MAX, STILLBORN_MAX = 20, 3
"""So many quick deaths in a row, or as many before anybody ever got ready: the next would die, too."""

PAUSE_S, PAUSE_MAX_S = 0.05, 1.0
AWAY_S = 5.0
"""What waits for a worker that is not there for so long is given back."""

EXIT_S, REAP_S, LAST_WORDS_S = 1.0, 5.0, 1.0
ANSWER_S = 5.0

WAITING_MAX = 10_000
"""Deliveries that wait while the socket is full or nobody is there; more are given back."""

_Answer = list[BreakerState] | bool


class WorkerState(Struct, frozen=True, kw_only=True):
    """A worker, for people and metrics.

    Attributes:
        pid: 0 while there is none.
        is_up: Whether it takes deliveries.
        restarts: How often one was replaced.
        in_flight: Attempts given to it, or waiting for it.
        running: Of these, under way, as it said last.
    """

    number: int
    pid: int
    is_up: bool
    restarts: int
    in_flight: int
    running: int


class Seat:
    """Keeps one worker alive.

    Args:
        begin: Makes the first frame for a worker, of its number, how far the wall clock is ahead, and up to when the
            node may send.
        right: This node's right to send; None where it needs none.
        on_done: Takes attempts that ended.

    Attributes:
        desk: What the worker is given.
        was_up: Set once a worker has been ready.
    """

    def __init__(
        self,
        number: int,
        launcher: Launcher,
        begin: Callable[[int, float, float | None], Begin],
        on_done: OnDone,
        clock: Clock,
        telemetry: Telemetry,
        right: RightToSend | None = None,
    ) -> None:
        self.number = number
        self._launcher = launcher
        self._begin = begin
        self._clock = clock
        self._telemetry = telemetry
        self._lead = Lead(clock, right)
        self.desk = Desk(on_done, clock, self._lead, WAITING_MAX)
        self._channel: Channel[ToMain] | None = None
        self._pid = 0
        self._running = 0
        self._restarts = 0
        self._up_since_s: float | None = None
        self._has_spoken = False
        self._refusal = ""
        self._asked: dict[int, asyncio.Future[_Answer]] = {}
        self._numbers = count(1)
        self._absence: asyncio.TimerHandle | None = None
        self._leaving = asyncio.Event()
        self.was_up = asyncio.Event()

    # The life of the seat.

    async def run(self) -> None:
        """Seat one worker after the other until `leave`.

        Raises:
            WorkersFailed: They die one after the other.
            ConfigInvalid: A worker says that it cannot work with what it was handed.
        """
        deaths = 0
        while not self._leaving.is_set():
            self._note_absence()
            began_s = self._clock.boottime()
            why = await self._one_life()
            if self._leaving.is_set():
                break
            if self._refusal:
                raise ConfigInvalid(f"A worker process cannot deliver: {self._refusal}")
            deaths = 0 if self._clock.boottime() - began_s >= STEADY_S else deaths + 1
            if deaths >= (DEATHS_MAX if self.was_up.is_set() else STILLBORN_MAX):
                raise WorkersFailed(f"Worker process {self.number} died {deaths} times in a row; the last one {why}.")
            self._restarts += 1
            self._telemetry.count("worker_restarts_total", worker=str(self.number))
            log.error("worker_replaced", worker=self.number, reason=why, deaths=deaths)
            await happens(self._leaving, min(PAUSE_MAX_S, PAUSE_S * 2**deaths) if deaths else 0)

    def leave(self) -> None:
        """Let the worker go, and seat nobody after it."""
        self._leaving.set()
        if self._absence is not None:
            self._absence.cancel()
        if self._channel is not None:
            self._channel.close()

    async def _one_life(self) -> str:
        """Start a worker, attend it until it is gone, and say how it went."""
        channel: Channel[ToMain] = Channel(to_main, self._hear, on_resume=self.desk.write)
        try:
            process = await self._launcher.launch(self.number, channel)
        except OSError as failed:
            return f"could not be started: {failed.strerror}"
        self._channel, self._pid = channel, process.pid
        why = ""
        try:
            channel.send(self._begin(self.number, self._lead.ahead(), self._lead.until()))
            why = await self._attend(channel)
        finally:
            self._up_since_s = None
            code = await self._end(channel, process)
            why = why or in_words(code)
            self._bury(f"worker process {self.number} {why} while this attempt was in flight")
        return why

    async def _attend(self, channel: Channel[ToMain]) -> str:
        """Return when it is gone or has to go: why, or nothing where its exit code says it."""
        silent_s = 0.0
        self._has_spoken = False
        while True:
            if self._up_since_s is not None:
                channel.send(Ping(self._lead.ahead(), self._lead.until()))
            before_s = self._clock.boottime()
            if await happens(channel.closed, PING_S):
                return channel.trouble
            if self._has_spoken:
                silent_s, self._has_spoken = 0.0, False
            elif self._clock.boottime() - before_s < 2 * PING_S:  # else we were late ourselves, or the machine slept
                silent_s += PING_S
            if silent_s >= (START_S if self._up_since_s is None else HUNG_S):
                return f"said nothing for {silent_s:g} s"

    async def _end(self, channel: Channel[ToMain], process: Process) -> int:
        """See that the process is gone, and return its exit code; 0 when even the kernel cannot end it yet."""
        if not channel.closed.is_set() and not self._leaving.is_set():
            process.kill()
            await happens(channel.closed, LAST_WORDS_S)  # what it had written before counts
        channel.close()
        ended = asyncio.ensure_future(process.wait())
        for patience_s in (EXIT_S, REAP_S):
            done, _ = await asyncio.wait({ended}, timeout=patience_s)
            if done:
                return ended.result()
            process.kill()
        log.error("worker_not_gone", worker=self.number, pid=process.pid)
        ended.cancel()
        return 0

    def _bury(self, why: str) -> None:
        self.desk.shut(why)
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(WorkersFailed(f"It is not known: {why}."))
        self._asked.clear()
        self._channel, self._pid, self._running = None, 0, 0

    def _note_absence(self) -> None:
        if self._absence is None:
            self._absence = asyncio.get_running_loop().call_later(AWAY_S, self.desk.desert)

    # What it says.

    def _hear(self, message: ToMain) -> None:
        self._has_spoken = True
        match message:
            case Ended(done, running, tally):
                self._running = running
                tally.tell(self._telemetry)
                self.desk.ended(done)
            case Pong(running, tally):
                self._running = running
                tally.tell(self._telemetry)
            case Recalled(number, answers):
                self.desk.recalled(number, answers)
            case Inspected(number, answer) | WasReset(number, answer):
                if (asked := self._asked.get(number)) is not None and not asked.done():
                    asked.set_result(answer)
            case Drained():
                self.desk.drained()
            case Ready(version, _):
                self._welcome(version)
            case Refusal(reason):
                self._refusal = reason
                raise ProtocolBroken(f"cannot begin: {reason}")

    def _welcome(self, version: int) -> None:
        if version != VERSION:
            self._refusal = f"it speaks version {version} of the protocol, the server {VERSION}; restart the server"
            raise ProtocolBroken(self._refusal)
        assert self._channel is not None
        self._up_since_s = self._clock.boottime()
        if self._absence is not None:
            self._absence.cancel()
            self._absence = None
        self.was_up.set()
        log.info("worker_ready", worker=self.number, pid=self._pid)
        self.desk.open(self._channel)

    # What people ask.

    def state(self) -> WorkerState:
        """Return how it stands."""
        return WorkerState(
            number=self.number,
            pid=self._pid,
            is_up=self._up_since_s is not None,
            restarts=self._restarts,
            in_flight=self.desk.in_flight(),
            running=self._running,
        )

    async def breakers(self) -> list[BreakerState]:
        """Return the worker's circuit breakers; none when nobody is there: whoever comes has fresh ones.

        Raises:
            WorkersFailed: It did not say.
        """
        found = await self._ask(Inspect)
        return found if isinstance(found, list) else []

    async def reset(self, namespace: str, host: str) -> bool:
        """Close a breaker, and return whether there was one.

        Raises:
            WorkersFailed: It did not say.
        """
        return bool(await self._ask(lambda number: Reset(number, namespace, host)))

    async def _ask(self, question: Callable[[int], Inspect | Reset]) -> _Answer:
        if self._up_since_s is None or self._channel is None:
            return False
        number = next(self._numbers)
        answer: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self._channel.send(question(number))
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            raise WorkersFailed(f"Worker process {self.number} did not answer within {ANSWER_S:g} s.") from None
        finally:
            self._asked.pop(number, None)
