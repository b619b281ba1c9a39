"""The log of a server that stands alone: SQLite, every entry fsynced and chained to the one before it.

Everything that touches the file happens in one thread of this module's own (`_Place`), one thing after the
other; the file itself is `LogFile` in `chronos.cluster.logfile`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from msgspec import Struct

from chronos.cluster.growth import Growth
from chronos.cluster.logfile import Fork, LogFile
from chronos.cluster.port import Claim, Entry, Epoch, Health, LeaderInfo, Progress
from chronos.errors import ChronosError, Fenced, LogFailed, SnapshotNeeded

T = TypeVar("T")

EPOCH = Epoch(1)
READ_ENTRIES = 32
TRUNCATE_ENTRIES = 256


class LocalLogSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the log's file is kept.

    Attributes:
        bytes_max: The file's bound; an append beyond it is answered with `StorageFull`.
        checkpoint_pages: After this many pages of write-ahead log it is folded into the file, between two appends.
    """

    bytes_max: int = 8 << 30
    checkpoint_pages: int = 500


class LocalLog:
    """A `ReplicatedLog` in `folder`/log.db. Whoever holds the data folder's lock leads, always in epoch 1.

    Args:
        vfs: The name of a file system registered with SQLite, for disks that fail on purpose.
    """

    def __init__(
        self,
        folder: Path,
        settings: LocalLogSettings | None = None,
        *,
        node: str = "local",
        address: str = "",
        vfs: str | None = None,
    ) -> None:
        self._settings = settings or LocalLogSettings()
        self._file = LogFile(folder / "log.db", self._settings.bytes_max, vfs)
        self._leader = LeaderInfo(node, address, EPOCH.id)
        self._place = _Place("chronos-log")
        self._progress: dict[str, Progress] = {}
        self._checkpointing: asyncio.Task[None] | None = None
        self._growth = Growth()

    async def start(self) -> None:
        """Open the file, fold what its last life left in the write-ahead log, and verify every entry.

        Raises:
            LogDamaged: The chain is broken; `last_good` is the last index that verifies.
        """
        await self._place.run(self._file.open)
        await self._place.run(self._file.verify)

    async def stop(self) -> None:
        """Fold the write-ahead log in and close. After a failure the file is left as it is."""
        if self._checkpointing is not None:
            await asyncio.wait([self._checkpointing])
        await self._place.close(self._file.close)
        self._growth.tell()

    async def __aenter__(self) -> LocalLog:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def append(self, index: int, data: bytes, epoch: Epoch) -> None:
        self._fence(epoch)
        try:
            pages = await self._place.run(lambda: self._file.append(index, data, epoch.id))
        finally:
            self._growth.tell()
        if pages >= self._settings.checkpoint_pages and self._checkpointing is None:
            # Inside the commit it would be a pause of tens of milliseconds for whoever waits for it.
            self._checkpointing = asyncio.create_task(self._checkpoint_once())

    async def _checkpoint_once(self) -> None:
        try:
            await self.checkpoint()
        except ChronosError:
            pass  # a failed checkpoint has broken the file, and the next append says so
        finally:
            self._checkpointing = None

    async def checkpoint(self) -> None:
        """Fold the write-ahead log into the file."""
        await self._place.run(self._file.checkpoint)

    async def tail(self, frm: int) -> AsyncIterator[Entry]:
        first, end = await self.bounds()
        if frm < first:
            raise SnapshotNeeded(first=first)
        while frm <= end:
            for entry in await self._place.run(partial(self._file.read, frm, end, READ_ENTRIES)):
                yield entry
                frm = entry.index + 1

    async def follow(self, frm: int) -> AsyncIterator[Entry]:
        while True:
            seen = self._growth.count
            async for entry in self.tail(frm):
                yield entry
                frm = entry.index + 1
            await self._growth.since(seen)

    async def verify(self) -> int:
        """Read every entry and return how many there are.

        Raises:
            LogDamaged: The chain is broken; `last_good` is the last index that verifies.
        """
        return await self._place.run(self._file.verify)

    async def bounds(self) -> tuple[int, int]:
        return await self._place.run(self._file.bounds)

    async def base(self) -> tuple[int, bytes]:
        """Return the last entry that was forgotten, and its hash: what the first one is chained to."""
        return await self._place.run(lambda: self._file.base)

    async def forks(self) -> list[Fork]:
        """Return where this log was cut off, oldest first."""
        return await self._place.run(self._file.forks)

    async def truncate(self, below: int, epoch: Epoch) -> None:
        self._fence(epoch)
        # In steps, so that no append waits for long.
        while await self._place.run(lambda: self._file.truncate(below, TRUNCATE_ENTRIES)):
            pass

    async def keep_from(self, entries: int, size: int) -> int:
        return await self._place.run(lambda: self._file.keep_from(entries, size))

    async def read_barrier(self) -> int:
        return (await self.bounds())[1]

    async def campaign(self) -> Epoch:
        return EPOCH

    async def take_over(self, seen: int, last: int | None = None) -> Claim:
        return Claim(True, self._leader)

    async def resign(self, epoch: Epoch, to: str | None = None) -> None:
        """Nothing happens: there is nobody else to lead."""

    async def leadership(self) -> AsyncIterator[LeaderInfo]:
        yield self._leader
        await asyncio.get_running_loop().create_future()

    async def publish_progress(self, node: str, durable_index: int, address: str) -> None:
        self._progress[node] = Progress(durable_index, address)

    async def progress(self) -> Mapping[str, Progress]:
        return dict(self._progress)

    async def health(self) -> Health:
        try:
            (first, last), size = await self._place.run(lambda: (self._file.bounds(), self._file.size()))
        except ChronosError as exc:
            return Health(False, 0, 0, 0, str(exc))
        return Health(True, first, last, size)

    def _fence(self, epoch: Epoch) -> None:
        if epoch.id != EPOCH.id:
            raise Fenced(leader=self._leader.node)


class _Place:
    """The one thread in which the log's file is touched."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, name)
        self._closed = False

    async def run(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise LogFailed("The log is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def close(self, last: Callable[[], None]) -> None:
        if not self._closed:
            try:
                await self.run(last)
            finally:
                self._closed = True
                self._executor.shutdown(wait=True)
