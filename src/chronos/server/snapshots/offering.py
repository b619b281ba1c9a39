"""The side that has a snapshot: one copy at a time, taken while the node works, and handed out piece by piece."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

import structlog

from chronos.cluster.peers.net import PeerNet
from chronos.errors import StorageFull
from chronos.server.snapshots.calls import (
    DONE,
    OFFER,
    PIECE,
    PIECE_BYTES_MAX,
    STANDING,
    Ask,
    AskPiece,
    AskStanding,
    Done,
    Offered,
    OfferedFile,
    SnapshotGone,
    Standing,
)
from chronos.store.copying import HISTORY, STATE, facts_of, fold_in
from chronos.store.sqlitefile import translated
from chronos.timing.clock import Chance, Clock, ulid

log = structlog.get_logger("chronos.snapshots")

STAGE = "snapshot.new"
FRESH_S = 300.0
"""A snapshot so young is offered to the next who asks, too: two nodes that come back together cost one copy."""

IDLE_S, LOOK_S = 120.0, 10.0
"""Nobody has asked for a piece for so long: the copy's space is given back, and history may be thinned out again."""

_SPARE_BYTES = 64 << 20


class Stills(Protocol):
    """What keeps closed segments as they are."""

    still: asyncio.Lock


class Source(Protocol):
    """What is copied: `SqliteState`."""

    @property
    def archive(self) -> Stills: ...

    @property
    def applied_index(self) -> int: ...

    async def copy(self, into: Path) -> int: ...


class Offers:
    """This node's snapshots, for others. `answer` their calls, and `run` it: what runs cleans up behind itself."""

    def __init__(self, data: Path, source: Source, clock: Clock, chance: Chance) -> None:
        self._data = data
        self._source = source
        self._clock = clock
        self._chance = chance
        self._making = asyncio.Lock()
        self._held = AsyncExitStack()
        self._offered: Offered | None = None
        self._copying: asyncio.Task[Offered] | None = None
        self._made_s = self._asked_s = 0.0

    def answer(self, net: PeerNet) -> None:
        """Answer what other nodes ask of it."""
        net.on(STANDING, self.standing)
        net.on(OFFER, self.offer)
        net.on(PIECE, self.piece)
        net.on(DONE, self.done)

    async def run(self) -> None:
        """Give up what nobody fetches any more, until cancelled."""
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                if self._offered is not None and self._clock.boottime() - self._asked_s > IDLE_S:
                    await self.drop()
        finally:
            if self._copying is not None:
                self._copying.cancel()
                await asyncio.gather(self._copying, return_exceptions=True)
            await self.drop()

    async def standing(self, _: str, __: AskStanding) -> Standing:
        """Return how far this node has come."""
        return Standing(self._source.applied_index)

    async def offer(self, by: str, asked: Ask) -> Offered:
        """Return a snapshot to be fetched; an older one that is still here only if it reaches as far as is asked.

        Raises:
            StorageFull: There is no room for the copy.
            StateDamaged: The copy is not what was written.
        """
        if self._copying is None or self._copying.done():
            self._copying = asyncio.get_running_loop().create_task(self._fresh(asked.above), name="snapshot")
            self._copying.add_done_callback(lambda task: task.cancelled() or task.exception())
        # Whoever asks may give up and ask again: the copy goes on meanwhile.
        offered = await asyncio.shield(self._copying)
        log.info("snapshot_offered", to=by, entry=offered.applied, bytes=offered.bytes)
        return offered

    async def piece(self, _: str, asked: AskPiece) -> bytes:
        """Return a piece of a file; a mebibyte at most.

        Raises:
            SnapshotGone: It is not offered any more.
        """
        offered = self._offered
        if offered is None or offered.id != asked.id or asked.name not in {file.name for file in offered.files}:
            raise SnapshotGone
        self._asked_s = self._clock.boottime()
        size = max(0, min(asked.size, PIECE_BYTES_MAX))
        return await asyncio.to_thread(_read, self._data / STAGE / asked.name, max(0, asked.offset), size)

    async def done(self, by: str, asked: Done) -> bool:
        """Take note that somebody has all of it; another may still be fetching."""
        log.info("snapshot_fetched", by=by, id=asked.id)
        return True

    async def _fresh(self, above: int) -> Offered:
        async with self._making:
            now_s = self._clock.boottime()
            if self._offered is None or now_s - self._made_s > FRESH_S or self._offered.applied < above:
                await self._drop()
                self._offered = await self._make()
                self._made_s = self._clock.boottime()
            self._asked_s = self._clock.boottime()
            return self._offered

    async def drop(self) -> None:
        """Give back what the copy takes."""
        async with self._making:
            await self._drop()

    async def _drop(self) -> None:
        self._offered = None
        await self._held.aclose()

    async def _make(self) -> Offered:
        into = self._data / STAGE
        async with AsyncExitStack() as holding:
            # Closed segments are linked, not copied: they have to stay as they are until they are handed out.
            await holding.enter_async_context(self._source.archive.still)
            await holding.enter_async_context(_yard(self._data, into))
            await self._source.copy(into)
            await asyncio.to_thread(fold_in, into)
            facts = await asyncio.to_thread(facts_of, into)
            files = await asyncio.to_thread(lambda: list(_files(into)))
            self._held = holding.pop_all()
        return Offered(ulid(self._clock, self._chance), facts.applied, files)


@asynccontextmanager
async def _yard(data: Path, into: Path) -> AsyncIterator[None]:
    try:
        await asyncio.to_thread(_make_room, data, into)
        yield
    finally:
        await asyncio.to_thread(shutil.rmtree, into, ignore_errors=True)


def _make_room(data: Path, into: Path) -> None:
    shutil.rmtree(into, ignore_errors=True)  # left by somebody who was killed
    with translated(into):
        into.mkdir(mode=0o700)
        newest = max((data / HISTORY).glob("*.db"), default=None)
        weight = sum(path.stat().st_size for path in (data / STATE, newest) if path is not None and path.exists())
        free = shutil.disk_usage(data).free
    if free < weight + _SPARE_BYTES:
        raise StorageFull(
            f"A snapshot for another node needs {weight + _SPARE_BYTES:,} bytes for a while, and {free:,} are free.",
            folder=str(data),
        )


def _files(into: Path) -> Iterator[OfferedFile]:
    yield _file(into, STATE)
    for path in sorted((into / HISTORY).iterdir(), reverse=True):
        yield _file(into, f"{HISTORY}/{path.name}")


def _file(into: Path, name: str) -> OfferedFile:
    return OfferedFile(name, (into / name).stat().st_size, sha256_of(into / name))


def sha256_of(path: Path) -> str:
    """Return the hash of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, offset: int, size: int) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise SnapshotGone from None
    try:
        return os.pread(handle, size, offset)
    finally:
        os.close(handle)
