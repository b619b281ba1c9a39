"""Workers without processes: both ends in one loop, joined by memory. They can be killed, and can hang."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from chronos.dispatch.breaker import Breakers
from chronos.dispatch.executor import TellCancelled
from chronos.dispatch.port import Deliver
from chronos.dispatch.workers.serve import Tools, WorkerSide
from chronos.telemetry import Telemetry
from chronos.timing.clock import Clock

KILLED = -9


class MemoryTransport(asyncio.Transport):
    """One end of a stream. What is written arrives in order, on later turns, cut anywhere."""

    def __init__(self, chance: random.Random | None = None) -> None:
        super().__init__()
        self.chance = chance
        self.protocol: Any = None
        self.peer: MemoryTransport | None = None
        self.stuck = False
        self.written = bytearray()
        self._coming: deque[bytes | None] = deque()
        self._is_closed = False

    def join(self, peer: MemoryTransport, protocol: Any) -> None:
        self.peer, self.protocol = peer, protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Memory has no limits; tests call `pause_writing` themselves."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert self.peer is not None
        if self._is_closed:
            return
        self.written += data
        whole = bytes(data)
        while self.chance and len(whole) > 1 and self.chance.random() < 0.3:
            cut = self.chance.randrange(1, len(whole))
            self.peer.come(whole[:cut])
            whole = whole[cut:]
        self.peer.come(whole)

    def come(self, data: bytes | None) -> None:
        self._coming.append(data)
        asyncio.get_running_loop().call_soon(self.pump)

    def pump(self) -> None:
        """Let the next piece arrive."""
        if self.stuck or not self._coming:
            return
        data = self._coming.popleft()
        if data is None:
            self._lose()
        elif not self._is_closed:
            self.protocol.data_received(data)

    def pump_all(self) -> None:
        for _ in range(len(self._coming)):
            self.pump()

    def abort(self) -> None:
        """Close this end at once; the other one reads what is on its way, and the end."""
        if not self._is_closed:
            assert self.peer is not None
            self.peer.come(None)
            self._is_closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def _lose(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self.protocol.connection_lost(None)


class MemoryWorker:
    """A worker, as a process is seen from outside."""

    def __init__(self, side: WorkerSide, far: MemoryTransport) -> None:
        self.side = side
        self.far = far
        self.pid = 4711
        self.code = 0
        self._task = asyncio.create_task(side.run())
        self._task.add_done_callback(lambda _: self._end(0))
        self._gone = asyncio.Event()

    def kill(self) -> None:
        self._end(KILLED)
        self._task.cancel()

    def _end(self, code: int) -> None:
        if not self._gone.is_set():
            self.code = code
            self.far.stuck = False
            self.far.abort()  # nothing that it does while it is unwound reaches anybody
            self._gone.set()

    def hang(self) -> None:
        """Hear nothing any more."""
        self.far.stuck = True

    def go_on(self) -> None:
        """Hear what came meanwhile."""
        self.far.stuck = False
        self.far.pump_all()

    def garble(self, data: bytes | bytearray) -> None:
        """Write something that is no frame."""
        self.far.write(data)

    async def wait(self) -> int:
        await self._gone.wait()
        return self.code


class MemoryLauncher:
    """Starts workers that deliver with what a test brings.

    Attributes:
        workers: Everyone who was started, by number; the last one is the one who lives.
        fails: How many of the next starts fail.
        handovers: What was handed over.
    """

    def __init__(
        self,
        deliver: Deliver,
        clock: Clock,
        *,
        tell_cancelled: TellCancelled | None = None,
        breakers: Breakers | None = None,
        chance: random.Random | None = None,
        on_equip: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self._deliver = deliver
        self._clock = clock
        self._tell_cancelled = tell_cancelled
        self._chance = chance
        self._on_equip = on_equip
        self.breakers = breakers or Breakers()
        self.workers: dict[int, list[MemoryWorker]] = {}
        self.near: dict[int, MemoryTransport] = {}
        self.fails = 0
        self.handovers: list[bytes] = []

    async def launch(self, number: int, protocol: asyncio.Protocol) -> MemoryWorker:
        if self.fails:
            self.fails -= 1
            raise OSError(11, "Resource temporarily unavailable")
        near, far = MemoryTransport(self._chance), MemoryTransport(self._chance)
        side = WorkerSide(self._equip, self._clock, pid=4711)
        near.join(far, protocol)
        far.join(near, side.channel)
        side.channel.connection_made(far)
        protocol.connection_made(near)
        worker = MemoryWorker(side, far)
        self.workers.setdefault(number, []).append(worker)
        self.near[number] = near
        return worker

    @property
    def last(self) -> MemoryWorker:
        return self.workers[1][-1]

    @asynccontextmanager
    async def _equip(self, handover: bytes, clock: Clock, telemetry: Telemetry, right: object) -> AsyncIterator[Tools]:
        self.handovers.append(handover)
        self._on_equip(handover)
        yield Tools(self._deliver, self._tell_cancelled, self.breakers)
