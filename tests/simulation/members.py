"""Three whole servers, as `assemble` puts them together, over one log in memory and on virtual time."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec
from tests.unit.server.asgi import Answered, ask

from chronos.cluster.memory import MemoryLog, SharedLog
from chronos.cluster.peers.memory import MemoryPeers, Wires
from chronos.cluster.peers.port import Peer
from chronos.dispatch.port import Delivered, Delivery, Outcome
from chronos.server import manifest
from chronos.server.assemble import House, Node, Outside, assemble
from chronos.server.config import load
from chronos.server.gate import Asgi
from chronos.server.lifecycle import Lifecycle
from chronos.server.membership import Wiring
from chronos.server.settings import Http
from chronos.store.datafolder import DataFolder, DataFolderSettings
from chronos.testing.simulation.loop import OWNER, SimLoop
from chronos.testing.virtual_time import VirtualClock
from chronos.timing.clock import SeededChance

BEGIN_S = 1_800_000_000
READY_S = 60.0
NAMES = ("n1", "n2", "n3")


class Arrival(msgspec.Struct, frozen=True):
    """A first byte at the target; times are seconds after the beginning."""

    at: float
    instant: int
    id: str
    attempt: int
    term: int
    node: str


class Life:
    """One process of a member. Everything it begins dies with it."""

    def __init__(self, world: Members, name: str, number: int) -> None:
        self.world, self.name, self.number = world, name, number
        self.dead = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.code: int | None = None
        self.node: Node
        self.lifecycle: Lifecycle
        self.app: Asgi
        self.peer: Peer | None = None
        draw = world.random
        self.log = MemoryLog(
            world.shared,
            node=name,
            latency=lambda: draw.choice((0.001, 0.002, 0.004)),
            patience=lambda: 1.5 + 0.3 * draw.random(),
        )
        self._folder = DataFolder(world.folder / name, DataFolderSettings(ballast_bytes=0))
        self._context = copy_context()
        self._context.run(OWNER.set, self)

    def begin(self) -> None:
        self._context.run(asyncio.get_running_loop().create_task, self._live(), name=f"{self.name} life {self.number}")

    def run(self, coro: Any) -> asyncio.Task[Any]:
        """Run something inside the process."""
        task: asyncio.Task[Any] = self._context.run(asyncio.get_running_loop().create_task, coro)
        return task

    async def _live(self) -> None:
        try:
            with self._folder as folder:
                config = load(
                    None,
                    environ={},
                    flags={
                        "server.http.address": "127.0.0.1:0",
                        "server.drain": "10s",
                        "dispatcher.workers": "0",
                        "server.public_url": "http://members.test",
                        "cluster.node_id": self.name,
                    },
                    feature_types=manifest.sections(),
                )
                self.node = assemble(config, folder, outside=self._outside())
                self.lifecycle = Lifecycle(self.node, folder, with_demo=False, announce=lambda line: self.ready.set())
                self.code = await self.lifecycle.live()
        finally:
            self.dead = True
            self.ended.set()

    def _outside(self) -> Outside:
        return Outside(
            clock=self.world.clock,
            chance=SeededChance(self.world.random),
            synchronised=lambda: True,
            http=lambda guard, clock, settings: _Target(self),
            listener=self._listen,
            wiring=self._wire,
        )

    def _wire(self, house: House) -> Wiring:
        wires = self.world.wires

        @contextmanager
        def listen(peer: Peer) -> Iterator[None]:
            wires.join(self.name, peer)
            self.peer = peer
            yield
            wires.leave(self.name, peer)

        return Wiring(
            "memory",
            self.log,
            MemoryPeers(wires, self.name),
            lambda peer: _Entered(listen(peer)),
            {name: f"http://{name}.test" for name in NAMES},
        )

    def _listen(self, app: Callable[[], Asgi], host: str, port: int, settings: Http) -> Any:
        self.app = app()
        return _Deaf()

    @property
    def leads(self) -> bool:
        return not self.dead and self.ready.is_set() and self.node.truth.commands.leads  # type: ignore[attr-defined]

    async def ask(self, method: str, path: str, **given: Any) -> Answered:
        """Make a request of this member's API."""
        body = msgspec.json.encode(given.pop("body")) if "body" in given else b""
        headers = {"host": "127.0.0.1", "content-type": "application/json" if method != "GET" else ""}
        headers |= given.pop("headers", {})
        answer: Answered = await self.run(ask(self.app, method, path, body, headers=headers))
        return answer

    async def kill(self) -> None:
        """As kill -9 of process and engine."""
        self.dead = True
        self.log.cut_off = True
        if self.peer is not None:
            self.world.wires.leave(self.name, self.peer)
        for _ in range(100):
            left = [task for task in self.tasks if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=1.0)
        self._folder.close()

    async def stop(self) -> None:
        """As SIGTERM."""
        self.lifecycle.ask()
        async with asyncio.timeout(READY_S):
            await self.ended.wait()


class _Entered:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __aenter__(self) -> None:
        self._inner.__enter__()

    async def __aexit__(self, *exc: object) -> None:
        self._inner.__exit__(None, None, None)


class _Deaf:
    port, url = 1, "http://members.test"

    async def __aenter__(self) -> object:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def stop(self) -> None:
        pass


class _Target:
    def __init__(self, life: Life) -> None:
        self._life = life

    async def deliver(self, delivery: Delivery) -> Outcome:
        life, world = self._life, self._life.world
        if not life.dead:
            term = int(delivery.token.split(".")[1])
            instant = delivery.scheduled_s - BEGIN_S
            arrival = Arrival(world.now, instant, delivery.execution_id, delivery.attempt, term, life.name)
            world.arrivals.append(arrival)
        await asyncio.sleep(0.02)
        return Delivered()

    async def aclose(self) -> None:
        pass


class Members:
    """The world of the three."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.clock = VirtualClock(BEGIN_S)
        self.shared = SharedLog()
        self.wires = Wires(latency=lambda: 0.001)
        self.lives: dict[str, Life] = {}
        self.arrivals: list[Arrival] = []
        self._number = 0

    @property
    def now(self) -> float:
        return self.clock.time() - BEGIN_S

    async def boot(self, name: str) -> Life:
        """Start a process on what the last one left, and wait until it takes requests."""
        self._number += 1
        if not (self.folder / name).exists() and (self.folder / "n1" / "keys").exists():
            # As `cluster init` does: what one member seals the others can open.
            shutil.copytree(self.folder / "n1" / "keys", self.folder / name / "keys")
        life = self.lives[name] = Life(self, name, self._number)
        life.begin()
        await self.until(lambda: life.ready.is_set() or life.dead)
        assert not life.dead, f"{name} did not start"
        return life

    async def until(self, ready: Callable[[], bool], seconds: float = READY_S) -> None:
        """Let time pass until `ready`."""
        async with asyncio.timeout(seconds):
            while not ready():  # noqa: ASYNC110  # time is virtual
                await asyncio.sleep(0.01)

    async def a_leader(self) -> Life:
        """Wait for a leader that plans, and return it."""
        await self.until(lambda: any(life.leads and not self.standstill(life) for life in self.lives.values()))
        return next(life for life in self.lives.values() if life.leads)

    @staticmethod
    def standstill(life: Life) -> str:
        return life.node.drive.scheduler.standstill()

    @property
    def followers(self) -> list[Life]:
        return [life for life in self.lives.values() if not life.dead and not life.leads]


def three_members(test: Callable[[Members], Awaitable[None]]) -> Callable[[], None]:
    """Run a test with three members that have a leader."""

    @wraps(test)
    def run() -> None:
        loop = SimLoop(1)
        with tempfile.TemporaryDirectory(prefix="chronos-members-") as folder:
            world = Members(1, Path(folder))

            async def live() -> None:
                for name in NAMES:
                    await world.boot(name)
                await world.a_leader()
                try:
                    await test(world)
                finally:
                    for life in world.lives.values():
                        if not life.dead:
                            await life.kill()

            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(live())
        assert loop.unhandled == []

    del run.__wrapped__  # or pytest looks for a fixture called `world`
    return run
