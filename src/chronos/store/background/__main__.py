"""The program: `python -m chronos.store.background RELEASE DESCRIPTOR FOLDER`. Started by the server, never by hand.

It ends when its socket closes, when its parent ends, and by no signal that a terminal or a service manager sends
to all: what the server writes last, it writes through this process.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event

from chronos import __version__
from chronos.frames import FrameReader, decoded, framed
from chronos.store.background import protocol
from chronos.store.background.lock import Locked, hold
from chronos.store.background.serve import Desk

OK, REFUSED = 0, 1
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_READ_BYTES = 1 << 18

BREATH_S = 0.00005
_NEVER = Event()


def main(arguments: Sequence[str]) -> int:
    """Work until the socket closes; return the exit code."""
    release, descriptor, folder = arguments
    end = socket.socket(fileno=int(descriptor))
    end.set_inheritable(False)
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    _tell_the_kernel()
    if release != __version__:
        return REFUSED  # the package was replaced under a running server
    try:
        lock = hold(Path(folder))
    except (Locked, OSError):
        return REFUSED
    gc.freeze()
    gc.disable()  # rows have no cycles, and what little there is besides is looked for between two writes
    _work(end)
    os.close(lock)
    return OK


def _work(end: socket.socket) -> None:
    desk = Desk(_breathe)
    # A thread may yield to others as a whole process may; it cannot take that back, but another thread can do the work.
    with ThreadPoolExecutor(1, "patient", initializer=_yield_to_others) as patient:
        for frame in _frames(end):
            message = decoded(protocol.told, frame)
            if not isinstance(message, protocol.Do):
                desk.gather(message)
                continue
            request = message.request
            answer = patient.submit(desk.do, request).result() if message.is_patient else desk.do(request)
            try:
                end.sendall(framed(answer, protocol.FRAME_BYTES_MAX))
            except OSError:
                return  # the server has ended, and the next one folds what it lacks once more
            if isinstance(request, protocol.WriteState):
                patient.submit(gc.collect)


def _frames(end: socket.socket) -> Iterator[memoryview]:
    reader = FrameReader(protocol.FRAME_BYTES_MAX)
    while data := _received(end):
        yield from reader.feed(data)


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(_READ_BYTES)
    except OSError:
        return b""


def _breathe() -> None:
    """Leave the core idle for a moment.

    Linux gives an idle core at once to whoever waits for the other. Beside one on which somebody runs without a pause,
    of however low a priority, they wait until the cores are balanced: up to eight milliseconds.
    """
    _NEVER.wait(BREATH_S)


def _yield_to_others() -> None:
    """Let this thread have what cores are left: whoever decides what is due, or sends it, must not wait for it."""
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _tell_the_kernel() -> None:
    """Ask to be killed with the parent, and take a name that process lists show."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        libc.prctl(_PR_SET_NAME, b"chronos-files", 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
