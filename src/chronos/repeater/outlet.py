"""Our own stdout and stderr: written as far as the reader takes it, so that a slow reader never makes us deaf."""

from __future__ import annotations

import os
import select
import stat
from collections import deque

PIECE_BYTES = 4096
"""What a pipe that is writable takes without blocking."""

PENDING_BYTES_MAX = 256 * 1024
"""Above this children are no longer read, so that they wait for the reader, too."""


class Outlet:
    """One of them. It is never set to non-blocking: the terminal it may be belongs to the shell as well."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._pending: deque[bytes] = deque()
        self._size = 0
        self._is_file = _is_file(fd)
        self.is_closed = False
        self.reason = ""

    @property
    def is_pending(self) -> bool:
        return bool(self._pending)

    @property
    def is_full(self) -> bool:
        return self._size > PENDING_BYTES_MAX

    def put(self, data: bytes) -> None:
        """Write what can be written now and keep the rest."""
        if data and not self.is_closed:
            self._pending.append(data)
            self._size += len(data)
            self.flush()

    def flush(self) -> None:
        """Write as much as the reader takes without making us wait."""
        while self._pending and (self._is_file or self._is_writable()):
            self._write(self._pending[0] if self._is_file else self._pending[0][:PIECE_BYTES])

    def _is_writable(self) -> bool:
        return bool(select.select([], [self.fd], [], 0)[1])

    def _write(self, piece: bytes) -> None:
        try:
            written = os.write(self.fd, piece)
        except OSError as exc:
            # Whatever it is, more of it changes nothing.
            self.is_closed = True
            self.reason = "" if isinstance(exc, BrokenPipeError) else (exc.strerror or str(exc))
            self._pending.clear()
            self._size = 0
            return
        self._size -= written
        rest = self._pending[0][written:]
        if rest:
            self._pending[0] = rest
        else:
            self._pending.popleft()


def _is_file(fd: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False
