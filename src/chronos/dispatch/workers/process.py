"""Starts a worker: another program, that inherits one end of a socket pair and nothing else of ours."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol


class Process(Protocol):
    """A process that was started. `pid` is 0 when it is none of the system's."""

    @property
    def pid(self) -> int: ...

    def kill(self) -> None:
        """End it at once; nothing happens when it has ended."""
        ...

    async def wait(self) -> int:
        """Return its exit code (-N: signal N) once it has ended, and leave no zombie. May be called twice."""
        ...


class Launcher(Protocol):
    """Knows how a worker is started."""

    async def launch(self, number: int, protocol: asyncio.Protocol) -> Process:
        """Start worker `number` with `protocol` at our end of its socket.

        Raises:
            OSError: It could not be started.
        """
        ...


class Spawned:
    """A child of ours."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child

    @property
    def pid(self) -> int:
        return self._child.pid

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._child.kill()

    async def wait(self) -> int:
        return await self._child.wait()


class Exec:
    """Starts workers as programs of their own: exec and not fork, for we have threads.

    They stay in our process group, so that what ends the group ends them. Their log goes where ours goes.

    Args:
        command: What is run for (worker's number, descriptor of its end of the socket).
    """

    def __init__(self, command: Callable[[int, int], Sequence[str]]) -> None:
        self._command = command

    async def launch(self, number: int, protocol: asyncio.Protocol) -> Process:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                ours.setblocking(False)
                child = await asyncio.create_subprocess_exec(
                    *self._command(number, theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=dict(os.environ),
                )
            except BaseException:
                ours.close()
                raise
        await asyncio.get_running_loop().create_unix_connection(lambda: protocol, sock=ours)
        return Spawned(child)  # one that is never attended sees our end close, and ends


def in_words(code: int) -> str:
    """Return how a process ended, as the end of a sentence."""
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
