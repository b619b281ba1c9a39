"""From start to stop: the order of things, the signals, and the exit codes.

0    stopped as asked            2    the configuration is wrong
65   data of a newer release     70   a fault of our own
75   storage failed, or the data folder is in use
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from chronos.errors import (
    ChronosError,
    DataFolderInUse,
    FormatUnreadable,
    Invalid,
    LogDamaged,
    LogFailed,
    SnapshotNeeded,
    StorageFull,
    Unavailable,
    WorkersFailed,
)
from chronos.server import demo
from chronos.server.admission import admit, refuse_alone
from chronos.server.assemble import Node, Outside, assemble, data_folder
from chronos.server.behind import CatchUp, WaitingRoom
from chronos.server.clustered import clustered
from chronos.server.config import Config, split_address
from chronos.server.connecting import connections, wiring_of
from chronos.server.founding.keys import plant_keys
from chronos.server.garbage import Garbage
from chronos.server.processes.keeper import ApiProcessEnded
from chronos.server.supervisor import Supervisor
from chronos.store.datafolder import DataFolder
from chronos.store.truncation import Hold, Truncation
from chronos.timing.duration import parse_duration

log = structlog.get_logger("chronos.server")

OK, USAGE, DATA, SOFTWARE, STORAGE = 0, 2, 65, 70, 75
BEHIND = -1
"""No exit code: the log has no longer what this member needs next, and it goes on with another's state."""

DISK_LOOK_S = 1.0

Announce = Callable[[str], None]


async def serve(
    config: Config,
    *,
    with_demo: bool,
    insecure: bool,
    announce: Announce,
    outside: Outside | None = None,
    supervisor: Supervisor | None = None,
) -> int:
    """Run a node until it is told to stop; return the process's exit code.

    Args:
        announce: Called with `ready http://…` when the node takes requests.
        supervisor: The service manager, if there is one.
    """
    for note in config.notes:
        log.warning("configuration", note=note)
    try:
        with data_folder(config.settings) as folder:
            among = await _among_others(config, folder, outside or Outside())
            try:
                while True:
                    node = assemble(config, folder, insecure=insecure, outside=among)
                    _keep_targets_away(config, node)
                    if with_demo:
                        demo.check(node.on_loopback)
                    ready = partial(_settle, node, announce)
                    life = Lifecycle(node, folder, with_demo=with_demo, announce=ready, supervisor=supervisor)
                    code = await life.run()
                    if code != BEHIND:
                        return code
                    del node, life, ready
                    if not await _catch_up(config, folder, among, supervisor or Supervisor()):
                        return OK
            except StorageFull:
                folder.drop_ballast()  # nothing is served before the boot record; the next start has room for it
                raise
    except (DataFolderInUse, LogDamaged, LogFailed, StorageFull) as exc:
        _say(exc)
        return STORAGE
    except FormatUnreadable as exc:
        _say(exc)
        return DATA
    except WorkersFailed as exc:
        _say(exc)
        return SOFTWARE
    except Invalid as exc:
        _say(exc)
        return USAGE
    except (ApiProcessEnded, Unavailable) as exc:  # of a member's engine; it may be well the next time
        _say(exc)
        return SOFTWARE


async def _among_others(config: Config, folder: DataFolder, outside: Outside) -> Outside:
    """Return what is outside, with what connects a member with the others if the node is one.

    Raises:
        ConfigInvalid: The data folder or its keys are not this cluster's, or a cluster's, and this node stands alone.
    """
    place = clustered(config)
    if place is None:
        refuse_alone(folder.path)
        return outside
    if place.keys is not None:
        plant_keys(place.keys, folder.path)
    admission = await admit(place, folder.path, os.environ, outside.clock, outside.chance)
    return replace(outside, wiring=wiring_of(place, os.environ, admission))


async def _catch_up(config: Config, folder: DataFolder, outside: Outside, supervisor: Supervisor) -> bool:
    """Fetch state and history of another member; return whether to go on, and not whether somebody asked to stop."""
    place = clustered(config)
    assert place is not None, "who is alone follows nobody"
    made = connections(place, folder.path, os.environ, outside.clock, outside.chance)
    address, port = split_address(config.settings.server.http.address)
    room = partial(WaitingRoom, address, port, config.settings.server, outside.clock, outside.chance)
    return await CatchUp(made.log, made.net, folder.path, place.node, room, supervisor).run()


def _keep_targets_away(config: Config, node: Node) -> None:
    """Let no target be one of the ports through which members speak."""
    if (place := clustered(config)) is not None:
        ports = {place.listen.port, *(at.port for at in (place.own.engine,) if at is not None)}
        for port in ports:
            node.exits.guard.forbid_port(port)


class Lifecycle:
    """One life of a node."""

    def __init__(
        self,
        node: Node,
        folder: DataFolder,
        *,
        with_demo: bool,
        announce: Announce,
        supervisor: Supervisor | None = None,
    ) -> None:
        self._node = node
        self._folder = folder
        self._with_demo = with_demo
        self._announce = announce
        self._supervisor = supervisor or Supervisor()
        self._asked = asyncio.Event()
        self._watched: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Live until a signal comes; return the exit code."""
        self._listen_to_signals()
        return await self.live()

    def ask(self) -> None:
        """Ask the node to stop, as SIGTERM does."""
        self._asked.set()

    async def live(self) -> int:
        """Start, wait until somebody asks or something fails, stop; return the exit code."""
        async with AsyncExitStack() as running:
            try:
                await self.start(running)
            except SnapshotNeeded as needed:
                if not self._is_helped(needed):
                    raise
                code = BEHIND
                await self._node.door.listener.stop()  # it has its port since it was assembled
            else:
                code = await self._wait()
                await self.stop(code)
        if code == OK:
            log.info("stopped")
        return code

    def _is_helped(self, failure: BaseException | None) -> bool:
        """Whether the log has gone on without this node, and there are others who have what it lacks."""
        membership = self._node.membership
        if not isinstance(failure, SnapshotNeeded) or membership is None or membership.wiring.net is None:
            return False
        log.warning("too_far_behind", reason=str(failure), first=failure.facts.get("first"))
        return True

    async def start(self, running: AsyncExitStack) -> None:
        """Start every part, in order; `running` stops them, in reverse."""
        node = self._node
        log.info(
            "starting",
            node=node.house.settings.cluster.node_id,
            folder=str(self._folder.path),
            format=self._folder.format,
            features=node.features,
            workers=node.drive.workers.count,
        )
        if self._supervisor.is_there:
            self._background(running, "supervisor", self._supervisor.run())
        await running.enter_async_context(node.drive.workers.starting())
        await running.enter_async_context(node.truth.log)
        if node.membership is not None:
            await node.membership.wiring.entered(node.truth.log)
        await node.truth.state.start()
        running.push_async_callback(node.truth.state.stop)
        await node.truth.commands.start(
            node.house.settings.cluster.node_id, node.drive.incarnation, on_recovered=node.house.clock.start_after
        )
        running.push_async_callback(node.truth.commands.stop)
        if node.membership is None:
            await self._keep_alone(running)
        else:
            node.membership.directory.refresh()
            await running.enter_async_context(node.membership.wiring.listen(node.membership.home))
            publishing = node.membership.pruning.publish_for_ever(node.door.listener.url)
            self._background(running, "progress", publishing)
            commands = node.membership.commands
            self._background(running, "sealing", node.drive.keeping.sealing.run(lambda: commands.leads))
            self._background(running, "retention", node.drive.keeping.retention.run(lambda: commands.leads))
            if node.membership.offers is not None:
                self._background(running, "snapshots", node.membership.offers.run())
        self._background(running, "disk", self._watch_disk())
        self._background(running, "clock", node.truth.watch.run())
        await running.enter_async_context(node.exits.router)
        await running.enter_async_context(node.exits.outputs)
        await running.enter_async_context(node.exits.processes)
        if node.membership is None:
            await running.enter_async_context(node.host)
        await running.enter_async_context(node.drive.executor)
        await running.enter_async_context(node.drive.scheduler)
        if node.membership is None:
            await running.enter_async_context(node.drive.pauses)
            await self._run_demo(running)
        else:  # which does, while it leads, what nobody else does then
            await running.enter_async_context(node.membership.leadership)
        await node.drive.workers.ready()
        await running.enter_async_context(node.door.listener)
        node.house.standing.reason = ""
        log.info("ready", url=node.door.listener.url)
        self._announce(f"ready {node.door.listener.url}")
        self._supervisor.ready(node.door.listener.url)

    async def _keep_alone(self, running: AsyncExitStack) -> None:
        """Keep log and history within bounds, as one node alone does."""
        node = self._node
        truncation = Truncation(
            node.truth.log,
            node.truth.state,
            await node.truth.log.campaign(),
            node.truth.truncation,
            quiet=node.truth.backups.quiet,
            holds=[Hold("backup", node.truth.backups.needs), *node.host.holds()],
            free_bytes=lambda: shutil.disk_usage(self._folder.path).free,
            standing=node.truth.standing,
        )
        self._background(running, "truncation", truncation.run())
        self._background(running, "sealing", node.drive.keeping.sealing.run())
        self._background(running, "retention", node.drive.keeping.retention.run())

    async def _run_demo(self, running: AsyncExitStack) -> None:
        """Clear what an earlier demo left, and begin anew if asked; neither is worth a start that fails."""
        drive = self._node.drive
        try:
            await demo.clear(drive.jobs, self._node.truth.queries)
            if self._with_demo:
                self._node.door.journal.wanted = "all"
                target = await running.enter_async_context(demo.EchoTarget())
                await demo.start(drive.jobs, target, self._node.house.clock)
        except StorageFull as exc:
            log.error("no_demo", reason=str(exc))

    async def _wait(self) -> int:
        """Return when somebody asks us to stop, or when something that has to run does not any more."""
        node = self._node
        waiting = {
            asyncio.create_task(self._asked.wait(), name="asked"): OK,
            asyncio.create_task(node.truth.commands.failed.wait(), name="storage"): STORAGE,
            asyncio.create_task(node.drive.scheduler.failure(), name="scheduler"): SOFTWARE,
            asyncio.create_task(node.drive.pauses.failure(), name="pauses"): SOFTWARE,
            asyncio.create_task(node.drive.workers.failure(), name="workers"): SOFTWARE,
            asyncio.create_task(self._background_failure(), name="background"): SOFTWARE,
        }
        if node.membership is not None:
            member = node.membership
            waiting[asyncio.create_task(member.leadership.failure(), name="leadership")] = SOFTWARE
            waiting[asyncio.create_task(member.directory.removed.wait(), name="removal")] = OK
            if member.wiring.failure is not None:
                waiting[asyncio.create_task(member.wiring.failure(), name="engine")] = SOFTWARE
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        code = max(waiting[task] for task in done)
        failures = [node.truth.commands.failure, *(task.exception() for task in done)]
        if code != OK and any(self._is_helped(failure) for failure in failures):
            return BEHIND
        if any(task.get_name() == "removal" for task in done):
            log.warning("removed_from_cluster", node=node.house.settings.cluster.node_id)
        if code == STORAGE:
            failure = node.truth.commands.failure
            log.critical("storage_failed", reason=repr(failure), exc_info=failure)
        for task in done:
            error = task.exception()
            if error is not None:
                log.critical(f"{task.get_name()}_failed", exc_info=error)
                code = max(code, STORAGE) if isinstance(error, LogDamaged | LogFailed) else code
        return code

    async def _background_failure(self) -> None:
        """Return never, unless something in the background fails; then raise what ended it."""
        waiting = set(self._watched)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled():
                    task.result()

    async def stop(self, code: int) -> None:
        """Take nothing new, let what runs end, close the listener. What is left stops with `running`."""
        node = self._node
        why = "This node is too far behind the others; it goes on with another member's state."
        node.house.standing.reason = why if code == BEHIND else "The server is shutting down."
        node.house.standing.draining = True
        drain_s = parse_duration(node.house.settings.server.drain) / 1e6 if code == OK else 0.0
        self._supervisor.stopping(drain_s)
        log.info("draining", seconds=drain_s, in_flight=node.drive.scheduler.executor.in_flight())
        node.door.live.close()
        if code not in (STORAGE, BEHIND):
            if node.membership is not None:
                await node.membership.leadership.leave()
            await node.drive.scheduler.stop(drain_s=drain_s)
        await node.door.listener.stop()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: int) -> None:
        if self._asked.is_set():
            # The second one: at once. What is acknowledged is on disk, and the next start makes up for the rest.
            log.warning("stopped_at_once", signal=number)
            os._exit(128 + number)
        self.ask()

    def _background(self, running: AsyncExitStack, name: str, turn: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(turn, name=name)
        self._watched.add(task)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        running.push_async_callback(end)

    async def _watch_disk(self) -> None:
        """Give the ballast back when the disk is full, and take it up again when it is not."""
        while True:
            await asyncio.sleep(DISK_LOOK_S)
            if self._node.truth.commands.storage_full:
                log.error("disk_full", folder=str(self._folder.path))
                self._folder.drop_ballast()
                await asyncio.sleep(60 * DISK_LOOK_S)
            else:
                await asyncio.to_thread(self._folder.take_ballast)


def _settle(node: Node, announce: Announce, text: str) -> None:
    """Announce, with all that was loaded out of the garbage collector's sight."""
    Garbage(node.drive.executor.in_flight).settle()
    announce(text)


def _say(exc: ChronosError) -> None:
    log.error("cannot_start", reason=str(exc), type=exc.slug)
    print(f"chronos: {exc}", file=sys.stderr)
