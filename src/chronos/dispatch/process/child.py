"""One running program: its group, its output, its end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import cast

from chronos.dispatch.process.groups import end_group
from chronos.dispatch.redaction import Redactor, StreamRedactor

REAP_S = 5.0
"""How long a killed group may take to be gone: it is stuck in the kernel if it takes longer."""

PIPE_S = 1.0
"""How long output is still read after the group has ended: somebody who left the group may hold the pipe."""


class KeptOutput:
    """The beginning and the end of a stream, within a bound.

    Attributes:
        size: Bytes seen.
    """

    def __init__(self, size_max: int) -> None:
        self._half = size_max // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.size = 0

    def add(self, data: bytes) -> None:
        self.size += len(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._half:
            del self._tail[: -self._half]

    def bytes(self) -> bytes:
        """Return what was kept, with a line about what was not."""
        tail = bytes(self._tail[-self._half :])
        left_out = self.size - len(self._head) - len(tail)
        gap = f"\n[… {left_out} bytes left out …]\n".encode() if left_out else b""
        return bytes(self._head) + gap + tail


class Child(asyncio.SubprocessProtocol):
    """A program in a session of its own. Output is taken as it comes, so that it never blocks the program.

    Args:
        sink: Called with every piece of redacted output, up to `log_bytes_max` of them.
    """

    def __init__(self, redactor: Redactor, kept_bytes: int, sink: Callable[[bytes], None], log_bytes_max: int) -> None:
        self._stream = StreamRedactor(redactor)
        self._sink = sink
        self._log_room = log_bytes_max
        self._transport: asyncio.SubprocessTransport | None = None
        self._exited = asyncio.Event()
        self._closed = asyncio.Event()
        self.output = KeptOutput(kept_bytes)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No check: uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        assert isinstance(data, bytes)
        self._keep(self._stream.feed(data))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self._keep(self._stream.finish())
            self._closed.set()

    def process_exited(self) -> None:
        self._exited.set()

    @property
    def pid(self) -> int:
        assert self._transport is not None
        return self._transport.get_pid()

    def give(self, stdin: bytes) -> None:
        """Write `stdin` and close it."""
        assert self._transport is not None
        pipe = cast("asyncio.WriteTransport | None", self._transport.get_pipe_transport(0))
        if pipe is not None:
            pipe.write(stdin)
            pipe.close()

    async def ended(self) -> int:
        """Wait for the program, end what it leaves behind in its group, and return its exit code (-N: signal N)."""
        await self._exited.wait()
        end_group(self.pid)
        await self._rest_of_output()
        assert self._transport is not None
        code = self._transport.get_returncode()
        assert code is not None
        return code

    async def stop(self, grace_s: float) -> None:
        """End the group: SIGTERM, then after `grace_s` seconds SIGKILL. Returns when the program is reaped."""
        try:
            if not self._exited.is_set() and end_group(self.pid, signal.SIGTERM):
                async with asyncio.timeout(grace_s):
                    await self._exited.wait()
        except TimeoutError:
            pass
        finally:
            end_group(self.pid)
        try:
            async with asyncio.timeout(REAP_S):
                await self._exited.wait()
        except TimeoutError:
            pass
        await self._rest_of_output()

    def close(self) -> None:
        """Let go of pipes and, should anything still run, kill it."""
        if self._transport is not None:
            if not self._exited.is_set():
                end_group(self.pid)
            self._transport.close()

    async def _rest_of_output(self) -> None:
        try:
            async with asyncio.timeout(PIPE_S):
                await self._closed.wait()
        except TimeoutError:
            self._keep(self._stream.finish())

    def _keep(self, data: bytes) -> None:
        if not data:
            return
        self.output.add(data)
        if self._log_room > 0:
            self._sink(data[: self._log_room])
            self._log_room -= len(data)
            if self._log_room <= 0:
                self._sink(b"\n[the log is full; the program runs on]\n")
