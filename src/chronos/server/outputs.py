"""What programs print, kept on this node while they print it: files, bounded in number and size.

Pieces come in on the event loop and are only put aside; a thread writes them a moment later.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from chronos.server.bodies import remove_before

log = structlog.get_logger("chronos.outputs")

FLUSH_S = 0.2
PENDING_BYTES_MAX = 32 * 1024 * 1024
PIECE_BYTES_MAX = 1024 * 1024
BYTES_MAX = 1024 * 1024 * 1024
FILES_MAX = 100_000
KEPT = 0.9
"""How full it may still be after a sweep, so that not every flush has to sweep."""

_ID = re.compile(r"^[a-z0-9_]{1,64}$")
Key = tuple[str, int]


class Outputs:
    """Files named after execution and attempt, appended to as programs print. `async with` writes and sweeps.

    Outside the promise about loss: they are not replicated, what cannot be written is dropped, and the oldest
    go beyond 1 GiB or 100,000 files.
    """

    def __init__(self, folder: Path, *, bytes_max: int = BYTES_MAX) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._pending: dict[Key, bytearray] = {}
        self._pending_bytes = 0
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._kept_bytes = 0
        self._kept_files = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._sweep)
        self._task = asyncio.create_task(self._run(), name="outputs")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.flush()

    def take(self, execution_id: str, attempt: int, piece: bytes) -> None:
        """Put a piece aside; returns at once. What is more than 32 MiB ahead of the disk is dropped."""
        if self._pending_bytes + len(piece) > PENDING_BYTES_MAX:
            return
        self._pending.setdefault((execution_id, attempt), bytearray()).extend(piece)
        self._pending_bytes += len(piece)
        self._wake.set()

    async def read(self, execution_id: str, attempt: int, offset: int = 0) -> bytes:
        """Return what was printed from byte `offset` on, at most 1 MiB; empty when there is no more."""
        if not _ID.match(execution_id):
            return b""
        async with self._writing:
            await self._write_pending()
            return await asyncio.to_thread(self._read, self._path(execution_id, attempt), offset)

    async def flush(self) -> None:
        """Write what was put aside."""
        async with self._writing:
            await self._write_pending()

    async def expire(self, before_s: int) -> int:
        """Remove what belongs to executions that had ended before `before_s`; return how many files."""
        async with self._writing:
            return await asyncio.to_thread(remove_before, self._folder, before_s)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def _write_pending(self) -> None:
        if self._pending:
            pending, self._pending, self._pending_bytes = self._pending, {}, 0
            await asyncio.to_thread(self._write, pending)

    def _write(self, pending: dict[Key, bytearray]) -> None:
        for (execution_id, attempt), data in pending.items():
            path = self._path(execution_id, attempt)
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
                with os.fdopen(handle, "ab") as file:
                    self._kept_files += file.tell() == 0
                    file.write(data)
            except OSError as failed:
                log.warning("output_not_kept", execution=execution_id, reason=failed.strerror)
            self._kept_bytes += len(data)
        if self._kept_bytes > self._bytes_max or self._kept_files > FILES_MAX:
            self._sweep()

    def _read(self, path: Path, offset: int) -> bytes:
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                file.seek(offset)
                return file.read(PIECE_BYTES_MAX)
        except OSError:
            return b""

    def _sweep(self) -> None:
        """Remove the oldest files until little enough is left. Ids are ordered in time, so the names are, too."""
        sizes = {path: path.stat().st_size for path in sorted(self._folder.glob("*/*"), key=lambda path: path.name)}
        total, count = sum(sizes.values()), len(sizes)
        if total > self._bytes_max or count > FILES_MAX:
            for path, size in sizes.items():
                if total <= KEPT * self._bytes_max and count <= KEPT * FILES_MAX:
                    break
                path.unlink(missing_ok=True)
                total, count = total - size, count - 1
        self._kept_bytes, self._kept_files = total, count

    def _path(self, execution_id: str, attempt: int) -> Path:
        return self._folder / execution_id[-2:] / f"{execution_id}.{attempt}"
