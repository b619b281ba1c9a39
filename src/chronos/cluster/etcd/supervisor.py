"""Keeps one engine running beside this node: starts it, watches it, starts it again, and knows when that must not be.

stopped → starting → ready ⇄ unready
             ↑          ↓
             └── down ←─┘        failed: nothing is tried any more, and `reason` says what to do
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from msgspec import Struct
from msgspec.structs import replace

from chronos.cluster.etcd import marker, orphan, probe
from chronos.cluster.etcd.binary import Engine, known_flags
from chronos.cluster.etcd.child import Child, launch
from chronos.cluster.etcd.endings import ending
from chronos.cluster.etcd.enginelog import EngineLog
from chronos.cluster.etcd.failures import EngineFailed
from chronos.cluster.etcd.flags import SOCKET, EngineSettings, arguments, check_settings, environment
from chronos.cluster.etcd.reaching import endpoint_of, socket_of
from chronos.errors import ConfigInvalid, Unavailable
from chronos.timing.clock import Clock

log = structlog.get_logger("chronos.engine")

AGAIN_FIRST_S = 0.2
AGAIN_S_MAX = 5.0
ASK_EVERY_S = 0.1
"""While it starts; once it is ready, `LOOK_EVERY_S`."""
LOOK_EVERY_S = 1.0
ANSWER_S_MAX = 3.0
READY_S_MAX = 30.0
FIRST_READY_S_MAX = 60.0
"""A cluster's first start takes a majority, which somebody has to start."""


class State(StrEnum):
    """UNREADY: it runs and does not answer, or without a majority. FAILED: it is not started again."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    DOWN = "down"
    FAILED = "failed"


class EngineStatus(Struct, frozen=True, kw_only=True):
    """How the engine is.

    Attributes:
        since: Since when, on the boot clock.
        reason: What is wrong; empty when nothing is.
        restarts: How often it was started again.
        pid: None while it does not run.
    """

    state: State = State.STOPPED
    since: float = 0.0
    reason: str = ""
    restarts: int = 0
    pid: int | None = None


Ready = Callable[[], Awaitable[bool]]


class EtcdSupervisor:
    """One engine and its life.

    Use it as `async with`; then `await wait_ready()`. The loop has to live in the main thread: with the thread that
    started it, the kernel ends the engine.

    Args:
        ready: Asks whether the engine has a leader and agrees on a read with the others; by itself it asks `/health`.
            Whatever it raises besides `Unavailable` and `OSError` is a bug.
        told: Hears of every change of state, on the loop, before anybody else; must not block.
    """

    def __init__(
        self,
        engine: Engine,
        settings: EngineSettings,
        clock: Clock,
        ready: Ready | None = None,
        told: Callable[[EngineStatus], None] = lambda status: None,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._clock = clock
        self._ready = ready or self._is_healthy
        self._told = told
        self._status = EngineStatus(since=clock.boottime())
        self._changed = asyncio.Condition()
        self._output = EngineLog(clock)
        self._argv: list[str] = []
        self._child: Child | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_member = False
        self._is_first = True

    @property
    def status(self) -> EngineStatus:
        """How the engine is now."""
        return self._status

    @property
    def socket(self) -> str:
        """The path of the client's socket, for this process."""
        return socket_of(self._settings)

    @property
    def endpoint(self) -> str:
        """What a client of gRPC connects to."""
        return endpoint_of(self._settings)

    async def start(self) -> None:
        """Check everything, and start the engine; return when it runs, not when it is ready.

        Raises:
            ConfigInvalid: It may not be started so, or on this data folder.
            EngineUnusable: This etcd does not take its flags.
            EngineFailed: Its data is gone, or somebody else uses its data or its port.
        """
        assert self._task is None, "started twice"
        check_settings(self._settings)
        try:
            self._make_folders()
            self._is_first = not marker.has_data(self._settings)
            self._is_member = marker.admit(self._settings).stage is marker.Stage.MEMBER
        except OSError as exc:
            raise EngineFailed(f"The engine's folder {exc.filename} cannot be used: {exc.strerror}.") from exc
        await orphan.end_orphan(self._pid_file, self._settings.engine_dir)
        await orphan.wait_unused(self._settings)
        needed, optional = arguments(self._settings, self._engine.version)
        self._argv = [str(self._engine.program), *await known_flags(self._engine, needed, optional)]
        try:
            await self._spawn()
        except OSError as exc:
            raise EngineFailed(f"The engine {self._engine.program} cannot be started: {exc.strerror}.") from exc
        self._task = asyncio.create_task(self._keep(), name="engine")
        self._task.add_done_callback(self._note_end_of_watch)

    async def stop(self) -> None:
        """End the engine: ask, wait for five seconds, kill. Stopping twice, or unstarted, does nothing.

        An engine that leads hands over by itself when it is asked to end.
        """
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._child is not None:
            self._output.is_ending = True
            code = await self._child.stop()
            log.info("engine_stopped", exit_code=code)
        self._forget()
        if self._status.state is not State.FAILED:
            await self._become(State.STOPPED)

    async def wait_ready(self, seconds: float | None = None) -> None:
        """Return when the engine is ready.

        Args:
            seconds: How long to wait; by itself 30, and 60 when it starts for the first time.

        Raises:
            EngineFailed: It never will be; the message says what to do.
            Unavailable: It is not in time. It goes on trying.
        """
        limit = seconds if seconds is not None else FIRST_READY_S_MAX if self._is_first else READY_S_MAX
        try:
            async with asyncio.timeout(limit), self._changed:
                await self._changed.wait_for(lambda: self._status.state in (State.READY, State.FAILED))
        except TimeoutError:
            raise Unavailable(self._not_ready(limit)) from None
        if self._status.state is State.FAILED:
            raise EngineFailed(self._status.reason)

    async def failure(self) -> None:
        """Return never, unless the engine will not be started again.

        Raises:
            EngineFailed: It will not; the message says what to do.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._status.state is State.FAILED)
        raise EngineFailed(self._status.reason)

    async def metrics(self) -> probe.EngineMetrics | None:
        """Return the engine's own numbers; None while it does not answer."""
        return await probe.metrics(self.socket)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def _pid_file(self) -> Path:
        return self._settings.folder / "pid"

    def _make_folders(self) -> None:
        for folder in (self._settings.folder, self._settings.engine_dir, self._settings.run_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)

    async def _spawn(self) -> None:
        # What is left of a killed engine; etcd 3.4 takes it for another one that listens.
        (self._settings.run_dir / SOCKET).unlink(missing_ok=True)
        self._output.begin()
        self._child = await launch(
            self._argv, environment(os.environ), self._settings.run_dir, self._take, pid=os.getpid()
        )
        orphan.note(self._pid_file, self._child.pid)
        await self._become(State.STARTING, pid=self._child.pid)

    def _take(self, piece: bytes | None) -> None:
        if piece is None:
            self._output.end()
        else:
            self._output.feed(piece)

    async def _keep(self) -> None:
        again_s = AGAIN_FIRST_S
        while True:
            assert self._child is not None
            code, was_ready = await self._watch(self._child)
            self._forget()
            how = ending(code, self._output.grave, self._settings)
            if how.is_final:
                await self._fail(how.reason)
                return
            again_s = AGAIN_FIRST_S if was_ready else again_s
            await self._become(State.DOWN, reason=how.reason)
            log.error("engine_ended", exit_code=code, reason=how.reason, again_in_s=again_s)
            await asyncio.sleep(again_s)
            again_s = min(AGAIN_S_MAX, 2 * again_s)
            if not await self._start_again():
                return

    async def _start_again(self) -> bool:
        """Start the engine once more. Returns whether that is worth anything; `DOWN` has gone by when it runs."""
        again_s = AGAIN_S_MAX
        while True:
            try:
                marker.admit(self._settings)  # a disk may have been taken away meanwhile
                self._status = replace(self._status, restarts=self._status.restarts + 1)
                await self._spawn()
            except (EngineFailed, ConfigInvalid) as exc:
                await self._fail(str(exc))
                return False
            except OSError as exc:  # no memory, no process ids, no disk: it is tried again
                reason = f"The engine cannot be started: {exc.strerror}."
                log.error("engine_not_started", reason=reason, again_in_s=again_s)
                await self._become(State.DOWN, reason=reason)
                await asyncio.sleep(again_s)
            else:
                return True

    async def _watch(self, child: Child) -> tuple[int, bool]:
        """Return how the engine ended, and whether it has been ready before; tell meanwhile whether it is."""
        ended = asyncio.create_task(child.wait(), name="engine end")
        was_ready = False
        try:
            while not ended.done():
                is_ready = await self._ask(ended)
                if ended.done():
                    break
                was_ready = was_ready or is_ready
                self._note_data()
                await self._note_ready(is_ready=is_ready, was_ready=was_ready)
                await asyncio.wait({ended}, timeout=LOOK_EVERY_S if is_ready else ASK_EVERY_S)
            return ended.result(), was_ready
        finally:
            ended.cancel()

    async def _ask(self, ended: asyncio.Task[int]) -> bool:
        """Return whether the engine is ready; at once when it has ended, or when asking takes too long."""
        asked = asyncio.ensure_future(self._ready())
        try:
            await asyncio.wait({asked, ended}, timeout=ANSWER_S_MAX, return_when=asyncio.FIRST_COMPLETED)
            return asked.done() and asked.result()
        except (Unavailable, OSError):
            return False
        finally:
            asked.cancel()

    async def _note_ready(self, *, is_ready: bool, was_ready: bool) -> None:
        state = State.READY if is_ready else State.UNREADY if was_ready else State.STARTING
        is_news = state is not self._status.state
        reason = "" if is_ready else await probe.trouble(self.socket)
        if not is_news and reason == self._status.reason:
            return
        await self._become(state, reason=reason, pid=self._status.pid)
        if not is_news:
            return
        if is_ready:
            log.info("engine_ready", pid=self._status.pid, version=str(self._engine.version))
        else:
            log.warning("engine_unready", reason=reason)

    def _note_data(self) -> None:
        """As soon as the engine has written anything, it must never start without it again."""
        try:
            if not self._is_member and marker.has_data(self._settings):
                self._is_member = marker.admit(self._settings).stage is marker.Stage.MEMBER
        except (OSError, EngineFailed) as exc:  # it is tried again: while it runs, nothing is lost
            log.error("engine_marker_not_written", reason=str(exc))

    async def _is_healthy(self) -> bool:
        return await probe.is_healthy(self.socket)

    def _note_end_of_watch(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("engine_watch_ended", exc_info=error)
            reason = f"Nobody watches the engine any more, because of a bug ({error!r}). Start this node again."
            self._status = replace(self._status, state=State.FAILED, reason=reason)
            self._told(self._status)

    async def _fail(self, reason: str) -> None:
        log.error("engine_failed", reason=reason)
        await self._become(State.FAILED, reason=reason)

    async def _become(self, state: State, *, reason: str = "", pid: int | None = None) -> None:
        since = self._status.since if state is self._status.state else self._clock.boottime()
        self._status = EngineStatus(state=state, since=since, reason=reason, restarts=self._status.restarts, pid=pid)
        self._told(self._status)
        async with self._changed:
            self._changed.notify_all()

    def _forget(self) -> None:
        self._child = None
        orphan.forget(self._pid_file)

    def _not_ready(self, seconds: float) -> str:
        others = ", ".join(sorted(set(self._settings.members) - {self._settings.node}))
        last = "; ".join(str(line) for line in list(self._output.grave)[-3:])
        needs = f" It needs a majority of the members; are {others} up, and do they reach this node?" if others else ""
        return f"The engine is not ready after {seconds:g} s.{needs} {self._status.reason} {last}".rstrip()
