"""The program that is a worker process: `python -m chronos.server.worker NUMBER DESCRIPTOR`. Started by the server.

It ends when its socket closes, when its parent ends, and by no signal that a terminal or a service manager sends
to all: when to end is the main process's to say.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import structlog

from chronos import failpoints
from chronos.dispatch.right import RightToSend
from chronos.dispatch.workers.serve import Tools, WorkerSide
from chronos.server.garbage import THRESHOLDS, Garbage
from chronos.server.logs import set_up
from chronos.server.loops import loop_factory
from chronos.server.workplace import equip, handed
from chronos.telemetry import Telemetry
from chronos.timing.clock import Clock, SystemClock

OK, SOFTWARE = 0, 70
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15


def command(number: int, descriptor: int) -> Sequence[str]:
    """Return what the server runs. `-P` keeps the current folder from being where modules are found."""
    return [sys.executable, "-P", "-m", "chronos.server.worker", str(number), str(descriptor)]


def main(arguments: Sequence[str]) -> int:
    """Work until the socket closes."""
    number, descriptor = int(arguments[0]), int(arguments[1])
    os.set_inheritable(descriptor, False)
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    _tell_the_kernel(number)
    failpoints.switch_on(os.environ)
    gc.set_threshold(*THRESHOLDS)
    structlog.contextvars.bind_contextvars(worker=number)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_work(socket.socket(fileno=descriptor)))
    return OK


async def _work(end: socket.socket) -> None:
    end.setblocking(False)
    # Nothing is to be saved: what main has not heard of is unknown to it, and what has not left stays.
    side = WorkerSide(
        _equip, SystemClock(), pid=os.getpid(), on_lost=lambda: os._exit(OK), settle=lambda load: Garbage(load).settle()
    )
    await asyncio.get_running_loop().create_unix_connection(lambda: side.channel, sock=end)
    await side.run()


def _equip(
    handover: bytes, clock: Clock, telemetry: Telemetry, right: RightToSend | None
) -> AbstractAsyncContextManager[Tools]:
    set_up(handed(handover).settings.logging)
    return equip(handover, clock, telemetry, right)


def _tell_the_kernel(number: int) -> None:
    """Ask to be killed with the parent, and take a name that process lists show."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        libc.prctl(_PR_SET_NAME, f"chronos-w{number}".encode(), 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
