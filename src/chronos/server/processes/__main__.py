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
from chronos.server.processes.sockets import LINK, REQUESTS

log = structlog.get_logger("chronos.processes")

OK, ORPHANED = 0, 1
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
    ways = Ways(folder / REQUESTS)
    taken = socket.socket(fileno=listening)
    taken.setblocking(False)
    async with Listener(Edge(ways), brief.address, brief.port, brief.http, taken=taken):
        link.say_listening()
        code = await _until_told(link)
    ways.close()
    link.close()
    return code


async def _until_told(link: Link) -> int:
    told, gone = asyncio.create_task(link.asked_to_stop.wait()), asyncio.create_task(link.lost())
    await asyncio.wait({told, gone}, return_when=asyncio.FIRST_COMPLETED)
    code = OK if told.done() else ORPHANED
    for task in (told, gone):
        task.cancel()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
