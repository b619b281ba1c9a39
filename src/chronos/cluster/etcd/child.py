"""The engine as a process: started so that it cannot outlive us, and ended kindly first."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launcher.py")
_PIECE_BYTES = 64 << 10
_DRAIN_S_MAX = 2.0

STOP_S_MAX = 5.0
"""How long the engine may take to hand its lead over and close its files."""


class Child:
    """A running engine.

    Args:
        take: Gets its output, in pieces; `None` when it has ended.
    """

    def __init__(self, process: asyncio.subprocess.Process, take: Callable[[bytes | None], None]) -> None:
        self._process = process
        self._drain = asyncio.create_task(self._read(take), name="engine output")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended; a signal as a negative number; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Return how it ended, when all of its output has been taken."""
        code = await self._process.wait()
        await asyncio.wait({self._drain}, timeout=_DRAIN_S_MAX)
        return code

    async def stop(self) -> int:
        """Ask it to end, make it end after `STOP_S_MAX`, and return how it ended."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S_MAX):
                return await self.wait()
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        """End it at once."""
        self._signal(signal.SIGKILL)
        return await self.wait()

    def _signal(self, sign: signal.Signals) -> None:
        if self._process.returncode is None:
            try:
                self._process.send_signal(sign)
            except ProcessLookupError:
                return  # it ended by itself, and nobody has waited for it yet

    async def _read(self, take: Callable[[bytes | None], None]) -> None:
        assert self._process.stdout is not None
        while piece := await self._process.stdout.read(_PIECE_BYTES):
            take(piece)
        take(None)


async def launch(
    argv: Sequence[str], env: Mapping[str, str], folder: Path, take: Callable[[bytes | None], None], *, pid: int
) -> Child:
    """Start `argv` in `folder`, in a session of its own: ^C reaches us first.

    The kernel ends the child with the *thread* that starts it: call this on a loop that lives as long as the process.
    There is no function between fork and exec: beside the threads of gRPC it may never come back.

    Args:
        pid: This process's own number.

    Raises:
        OSError: It cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *mortal(argv, pid),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env=dict(env),
        start_new_session=True,
    )
    return Child(process, take)


def mortal(argv: Sequence[str], parent: int) -> list[str]:
    """Return what is executed so that `argv` dies with us: a small program that asks for it, and becomes it."""
    if sys.platform == "linux" and (setpriv := shutil.which("setpriv", path="/usr/bin:/bin")):
        return [setpriv, "--pdeathsig", "KILL", "--", *argv]
    return [sys.executable, "-I", "-S", str(_LAUNCHER), str(parent), *argv]
