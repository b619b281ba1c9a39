"""Keeps one API process alive: starts it, asks whether it still turns, starts another when it has ended."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import structlog

from chronos.errors import Unavailable
from chronos.server.processes.desk import Desk
from chronos.timing.clock import Clock

log = structlog.get_logger("chronos.processes")

START_S_MAX = 60.0
STOP_S_MAX = 8.0
PING_EVERY_S = 2.0
SILENT_S_MAX = 20.0
AGAIN_FIRST_S = 0.1
AGAIN_S_MAX = 10.0
WELL_AFTER_S = 30.0
"""A process that has lived this long is started again at once when it ends."""


class ApiProcessEnded(Unavailable):
    """An API process ended before it took requests; the log says why."""


class Keeper:
    """One of the API processes, and the next one in its place.

    Args:
        listening: File descriptor of the listening socket, which the process inherits.
        folder: Where main's sockets are.
    """

    def __init__(self, number: int, listening: int, folder: Path, desk: Desk, clock: Clock) -> None:
        self.number = number
        self._listening = listening
        self._folder = folder
        self._desk = desk
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self._is_stopping = False

    async def start(self) -> None:
        """Return when the process takes requests; from then on there is always one.

        Raises:
            ApiProcessEnded: It does not, and will not.
        """
        await self._spawn()
        if not await self._wait_for_listening():
            await self._end()
            raise ApiProcessEnded(f"API process {self.number} did not come up; the log above says why.")
        self._task = asyncio.create_task(self._keep(), name=f"api process {self.number}")

    async def stop(self) -> None:
        """Let the process end what it is at, and end. Stopping twice, or unstarted, does nothing."""
        self._is_stopping = True
        process = self._process
        link = self._desk.link(self.number)
        if process is not None and process.returncode is None and link is not None:
            link.stop()
            try:
                async with asyncio.timeout(STOP_S_MAX):
                    await process.wait()
            except TimeoutError:
                log.warning("api_process_killed", process=self.number, reason="it did not end in time")
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._end()

    async def _spawn(self) -> None:
        self._up = self._desk.expect(self.number)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "chronos.server.processes",
            str(self.number),
            str(self._listening),
            str(self._folder),
            str(os.getpid()),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(self._listening,),
            env=environment(os.environ),
        )

    async def _wait_for_listening(self) -> bool:
        assert self._process is not None
        ended = asyncio.create_task(self._process.wait())
        up = asyncio.create_task(self._up.wait())
        try:
            done, _ = await asyncio.wait({ended, up}, timeout=START_S_MAX, return_when=asyncio.FIRST_COMPLETED)
            return up in done and not ended.done()
        finally:
            ended.cancel()
            up.cancel()

    async def _keep(self) -> None:
        again_s = AGAIN_FIRST_S
        while not self._is_stopping:
            began = self._clock.boottime()
            code = await self._watch()
            if self._is_stopping:
                return
            if self._clock.boottime() - began > WELL_AFTER_S:
                again_s = AGAIN_FIRST_S
            self._desk.note_restart(self.number)
            log.error("api_process_ended", process=self.number, exit_code=code, again_in_s=again_s)
            await asyncio.sleep(again_s)
            again_s = min(AGAIN_S_MAX, 2 * again_s)
            await self._start_another()

    async def _start_another(self) -> None:
        try:
            await self._spawn()
        except OSError as exc:  # no memory, no process ids: it is tried again
            log.error("api_process_not_started", process=self.number, reason=exc.strerror)
            return
        if await self._wait_for_listening():
            log.info("api_process_up", process=self.number)

    async def _watch(self) -> int | None:
        """Return the exit code of the process when it has ended, by itself or because it did not answer."""
        assert self._process is not None
        ended = asyncio.create_task(self._process.wait())
        try:
            answered_at, number = self._clock.boottime(), 0
            while True:
                done, _ = await asyncio.wait({ended}, timeout=PING_EVERY_S)
                if done:
                    return ended.result()
                link = self._desk.link(self.number)
                if link is not None and link.answered >= number:
                    answered_at, number = self._clock.boottime(), link.answered + 1
                    link.ping(number)
                elif self._clock.boottime() - answered_at > SILENT_S_MAX:
                    log.error("api_process_hangs", process=self.number, seconds=SILENT_S_MAX)
                    self._process.kill()
        finally:
            ended.cancel()

    async def _end(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what an API process gets of the environment: neither our settings, which main sends it, nor what the
    service manager says to main alone."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("CHRONOS_") and name not in ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
    }
