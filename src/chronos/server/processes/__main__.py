"""An API process. Started by main, never by hand: `python -m chronos.server.processes NUMBER SOCKET FOLDER PARENT`."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

import structlog

from chronos.server.listener import Listener
from chronos.server.logs import set_up
from chronos.server.loops import loop_factory
from chronos.server.processes.edge import Edge
from chronos.server.processes.forwarding import Ways
from chronos.server.processes.link import Link
from chronos.server.processes.messages import Brief
from chronos.server.processes.reads import Reads
from chronos.server.processes.sockets import LINK, REQUESTS
from chronos.server.processes.tally import Tally
from chronos.store.following import Following
from chronos.telemetry import Telemetry
from chronos.timing.clock import SystemChance, SystemClock

log = structlog.get_logger("chronos.processes")

OK, ORPHANED = 0, 1
IDLE_S = 10.0
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Run until main says that it is enough, or is gone; return the exit code."""
    number, listening, folder, parent = arguments
    # Whoever ends a server signals all of its group; when to end is main's to say, and without main nothing is left.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    die_with_parent()
    if os.getppid() != int(parent):
        return ORPHANED
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_run(int(number), int(listening), Path(folder)))


def die_with_parent() -> None:
    """Ask the system to end this process when main ends, where it can; elsewhere the link's end says so."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


async def _run(number: int, listening: int, folder: Path) -> int:
    link = Link(folder / LINK, number)
    brief = await link.open()
    set_up(brief.logging)
    structlog.contextvars.bind_contextvars(process=number)
    files, tally = Following(Path(brief.folder)), Tally()
    await files.start()
    ways = Ways(folder / REQUESTS)
    try:
        async with Listener(
            _edge(ways, link, brief, files, tally), brief.address, brief.port, brief.http, taken=_taken(listening)
        ):
            link.say_listening()
            code = await _until_told(link, files, tally)
    finally:
        await files.stop()
    tally.tell(link)
    ways.close()
    link.close()
    return code


def _taken(listening: int) -> socket.socket:
    taken = socket.socket(fileno=listening)
    taken.setblocking(False)
    return taken


def _edge(ways: Ways, link: Link, brief: Brief, files: Following, tally: Tally) -> Edge:
    clock, telemetry = SystemClock(), Telemetry()
    telemetry.add_sink(tally)
    own = Reads(files, link, clock, brief.cursors).endpoints()
    return Edge(ways, link, brief, own, clock=clock, chance=SystemChance(), telemetry=telemetry)


async def _until_told(link: Link, files: Following, tally: Tally) -> int:
    """Return the exit code when main says stop, or is gone."""
    told, gone = asyncio.create_task(link.asked_to_stop.wait()), asyncio.create_task(link.lost())
    beside = [asyncio.create_task(tally.report(link)), asyncio.create_task(_rest_when_idle(files))]
    # What goes on beside it never ends by itself: when it does, it has failed, and the process with it.
    done, _ = await asyncio.wait({told, gone, *beside}, return_when=asyncio.FIRST_COMPLETED)
    for task in (told, gone, *beside):
        task.cancel()
    for failed in done.intersection(beside):
        failed.result()
    return OK if told in done else ORPHANED


async def _rest_when_idle(files: Following) -> None:
    """Close the segments when nobody has asked for a while; until cancelled."""
    searches = 0
    while True:
        await asyncio.sleep(IDLE_S)
        if searches == files.searches:
            await files.rest()
        searches = files.searches


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
