"""Backups of a server that runs: gathered while nothing is truncated, handed out piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from chronos.errors import Overloaded
from chronos.model.backupfile import encode
from chronos.server.backup.manifest import pack
from chronos.server.backup.staging import LAST, BackedLog, Staged, staged
from chronos.store.sqlite import SqliteState
from chronos.timing.clock import Clock, utc

log = structlog.get_logger("chronos.backup")


class LastBackup(Struct, frozen=True):
    """When a backup of this data folder was last taken, and up to which entry of the log."""

    taken_us: int
    entry: int


def read_last(data: Path) -> LastBackup | None:
    """Return what is known of the last backup of a data folder; None when there was none."""
    try:
        return msgspec.json.decode((data / LAST).read_bytes(), type=LastBackup)
    except (OSError, msgspec.MsgspecError):
        return None


def write_last(data: Path, last: LastBackup) -> None:
    """Remember the last backup of a data folder."""
    fresh = data / f"{LAST}.new"
    fresh.write_bytes(msgspec.json.encode(last))
    fresh.chmod(0o600)
    fresh.replace(data / LAST)


class Backups:
    """Backups of this node, one at a time.

    Args:
        node: What it is called; stands in the backup.

    Attributes:
        quiet: Held while a backup is gathered, and by whoever truncates the log.
    """

    def __init__(self, data: Path, log: BackedLog, state: SqliteState, clock: Clock, node: str = "") -> None:
        self._data = data
        self._log = log
        self._state = state
        self._clock = clock
        self._node = node
        self._busy = False
        self._last = read_last(data)
        self.quiet = asyncio.Lock()

    def age_s(self) -> float:
        """Return the seconds since the last backup; -1 when there was none."""
        return -1.0 if self._last is None else max(0.0, self._clock.time() - self._last.taken_us / 1e6)

    def needs(self) -> int | None:
        """Return the first entry behind the last backup: with it the log goes on from there; None before the first."""
        return None if self._last is None else self._last.entry + 1

    async def stream(self) -> AsyncIterator[bytes]:
        """Gather a backup without keys, and return the bytes of it.

        Raises:
            Overloaded: Another backup is being taken.
            StorageFull: There is no room to gather it.
        """
        taken = self._take()
        first = await anext(taken)  # by now it has begun, and cleans up behind itself however it ends

        async def all_of_it() -> AsyncIterator[bytes]:
            yield first
            async for piece in taken:
                yield piece

        return all_of_it()

    async def _take(self) -> AsyncIterator[bytes]:
        if self._busy:
            raise Overloaded("Another backup is being taken; wait for it to end.", retry_after=10)
        self._busy = True
        try:
            async with AsyncExitStack() as gathered:
                # Closed segments are linked, not copied: they have to stay as they are until they are handed out.
                await gathered.enter_async_context(self._state.archive.still)
                now_us = int(self._clock.time() * 1e6)
                async with self.quiet:
                    gathering = staged(self._data, self._log, self._state, now_us=now_us, node=self._node)
                    part = await gathered.enter_async_context(gathering)
                pieces = encode(pack(part.members, part.manifest))
                while piece := await asyncio.to_thread(_next, pieces):
                    yield piece
                self._note(part)
        finally:
            self._busy = False

    def _note(self, part: Staged) -> None:
        self._last = LastBackup(part.manifest.taken_us, part.manifest.last)
        log.info("backup_taken", entry=part.manifest.last, at=utc(part.manifest.taken_us / 1e6).isoformat())
        try:
            write_last(self._data, self._last)
        except OSError as error:  # the backup is whole; only its date is not remembered
            log.warning("backup_not_noted", reason=str(error))


def _next(pieces: Iterator[bytes]) -> bytes:
    return next(pieces, b"")
