"""A node that lives many lives: the product's own life cycle, started, killed, and started again on the same disk."""

from __future__ import annotations

import asyncio
import tempfile
import traceback
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from chronos.cluster.local import LocalLog
from chronos.cluster.port import Epoch
from chronos.errors import ChronosError
from chronos.server.assemble import Node, Outside, assemble
from chronos.server.config import Config
from chronos.server.gate import Asgi
from chronos.server.lifecycle import OK, Lifecycle
from chronos.server.settings import Http
from chronos.store.copying import copy_files
from chronos.store.datafolder import DataFolder, DataFolderSettings
from chronos.store.port import Changes
from chronos.store.sqlite import SqliteState
from chronos.testing.simulation.disk import Mount, SimDisk
from chronos.testing.simulation.evidence import Life
from chronos.testing.simulation.loop import OWNER
from chronos.testing.simulation.targets import TargetDoor
from chronos.testing.virtual_time import VirtualClock
from chronos.timing.clock import SeededChance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chronos.testing.simulation.world import World

T = TypeVar("T")

KILLS = frozenset({"kill", "power_cut", "hang"})
REAP_S = 1.0
REAPS_MAX = 120


class SimLife:
    """One process. Everything it begins belongs to it, and dies with it.

    Attributes:
        sim: The machine it runs on.
        dead: It was killed; what still runs of it reaches nothing.
        node: The machine that `assemble` has put together; None before that.
    """

    def __init__(self, sim: SimNode, number: int, mount: Mount) -> None:
        self.sim = sim
        self.number = number
        self.mount = mount
        self.dead = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.node: Node | None = None
        self.lifecycle: Lifecycle | None = None
        self.evidence = Life(number, sim.number, sim.world.seconds)
        self._context = _context_of(self)
        self._folder = DataFolder(mount.folder, DataFolderSettings(ballast_bytes=0))

    def begin(self) -> None:
        """Start the process."""
        task = self._context.run(asyncio.get_running_loop().create_task, self._live(), name="life")
        task.add_done_callback(self._on_finished)

    def run(self, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something inside the process: it dies with it."""
        return self._context.run(asyncio.get_running_loop().create_task, coro)

    async def _live(self) -> None:
        world = self.sim.world
        code: int | None = None
        try:
            with self._folder as folder:
                self.node = assemble(self.sim.config, folder, outside=self._outside())
                self.evidence.incarnation = self.node.drive.incarnation
                self.lifecycle = Lifecycle(self.node, folder, with_demo=False, announce=self._on_ready)
                code = await self.lifecycle.live()
        except ChronosError as error:
            if not self.dead:
                # The folder has another name in every run, and a digest must not know it.
                what = str(error).replace(str(world.folder), "…")
                world.trace.add("exit", f"life {self.number}: {error.slug}: {what}")
                self.evidence.ended_by = error.slug
        finally:
            if not self.dead:
                self._on_end(code)

    def _on_finished(self, task: asyncio.Task[None]) -> None:
        """Note what would have been a traceback on a terminal."""
        error = None if task.cancelled() else task.exception()
        if error is not None and self.evidence.ended_by not in KILLS:
            frames = traceback.extract_tb(error.__traceback__)[-6:]
            where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
            self.sim.world.broken("exit", f"life {self.number} ended with {error!r} in {where}")

    def _on_ready(self, line: str) -> None:
        if not self.dead:
            self.evidence.ready = self.sim.world.seconds
            self.sim.world.trace.add("ready", f"life {self.number}")
            self.ready.set()

    def _on_end(self, code: int | None) -> None:
        world = self.sim.world
        self.evidence.exit_code = code
        self.evidence.ended_by = self.evidence.ended_by or ("stop" if code == OK else "storage")
        world.trace.add("exit", f"life {self.number}: {self.evidence.ended_by} {code}")
        self._bury()

    def _bury(self) -> None:
        self.dead = True
        self.ready.clear()
        self.evidence.ended = self.sim.world.seconds
        if self.node is not None:
            self.evidence.applied = self.node.truth.commands.applied
            self.evidence.in_flight = self.node.drive.executor.in_flight()
        self.mount.sever()
        self.ended.set()

    def kill(self, by: str) -> None:
        """End the process between two instructions."""
        if self.dead:
            return
        self.evidence.ended_by = by
        self._bury()

    async def reap(self) -> None:
        """Let go of what the process held. What it still does while it is unwound reaches nothing."""
        for _ in range(REAPS_MAX):
            left = [task for task in self.tasks if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=REAP_S)
        else:
            self.sim.world.broken("harness", f"life {self.number} cannot be ended: {[str(t) for t in self.tasks]}")
        self._folder.close()
        self.mount.close()

    def _outside(self) -> Outside:
        world, sim = self.sim.world, self.sim
        return Outside(
            clock=sim.clock,
            chance=SeededChance(sim.chance),
            synchronised=lambda: sim.synchronised,
            log=partial(_SimLog, self, world),
            state=partial(_SimState, self, world),
            http=lambda guard, clock, settings: TargetDoor(world, self, guard, clock, settings),
            listener=_Deaf,
            part_jobs=world.part_jobs,
        )


class SimNode:
    """A machine: disk, clock, and one process after the other.

    Attributes:
        slow_disk_s: What every piece of work on the disk takes on top, while a fault makes it slow.
        restored: Where the small files of the next process come from, when its disk was brought back from a backup.
    """

    def __init__(self, world: World, number: int, config: Config) -> None:
        self.world = world
        self.number = number
        self.config = config
        self.disk = SimDisk()
        self.clock = VirtualClock(world.begin)
        self.chance = world.stream(f"chance {number}")
        self.synchronised = False
        self.slow_disk_s = 0.0
        self.restored: Path | None = None
        self.life: SimLife | None = None
        self._lives = 0

    async def boot(self) -> SimLife:
        """Start a process on what the last one has left, and return it; it may not be ready yet."""
        before = self.restored or (self.life.mount.folder if self.life is not None else None)
        self.restored = None
        if self.life is not None:
            assert self.life.dead
            await self.life.reap()
        self._lives += 1
        folder = self.world.folder / f"node{self.number}-life{self._lives}"
        life = self.life = self._life(Mount(self.disk, folder, before))
        self.world.evidence.lives.append(life.evidence)
        self.world.trace.add("boot", f"node {self.number} life {life.number}")
        life.begin()
        return life

    def _life(self, mount: Mount) -> SimLife:
        return SimLife(self, self._lives, mount)

    @property
    def alive(self) -> SimLife | None:
        """The life that is ready to serve, if one is."""
        life = self.life
        return life if life is not None and life.ready.is_set() and not life.dead else None


class _SimLog(LocalLog):
    """The product's log, overheard."""

    def __init__(self, life: SimLife, world: World, folder: Path, node: str) -> None:
        super().__init__(folder, node=node, vfs=life.mount.vfs)
        self._life = life
        self._world = world

    async def start(self) -> None:
        await super().start()
        await self._world.ledger.reopened(self)

    async def append(self, index: int, data: bytes, epoch: Epoch) -> None:
        await super().append(index, data, epoch)
        if not self._life.dead:
            self._world.ledger.acknowledged(index, data)


class _SimState(SqliteState):
    """The product's state, overheard."""

    def __init__(self, life: SimLife, world: World, folder: Path) -> None:
        super().__init__(folder, vfs=life.mount.vfs)
        self._life = life
        self._world = world

    async def start(self) -> None:
        await super().start()
        if not self._life.dead:
            self._world.ledger.caught_up(self.applied_index)

    def _copy(self, into: Path) -> int:
        """Copy as ever, from a folder in which the simulated disk's files are real for the moment."""
        assert self._writer is not None
        with tempfile.TemporaryDirectory(dir=into.parent) as folder:
            self._life.mount.disk.show(Path(folder))
            copy_files(Path(folder), into, ())
        return max(self._writer.applied, self.history.complete_to)

    def commit(self, changes: Sequence[Changes], index: int, time_us: int) -> None:
        super().commit(changes, index, time_us)
        if not self._life.dead:
            self._world.ledger.folded(index, time_us, changes, self._life.number)


class _Deaf:
    """A listener nobody can reach: the simulation's clients are inside."""

    port = 1
    url = "http://simulated.test"

    def __init__(self, app: Callable[[], Asgi], host: str, port: int, settings: Http) -> None:
        pass

    async def __aenter__(self) -> object:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def stop(self) -> None:
        pass


def _context_of(life: SimLife) -> Context:
    context = copy_context()
    context.run(OWNER.set, life)
    context.run(structlog.contextvars.bind_contextvars, life=life.number)
    return context
