"""The side that lacks a snapshot: fetches it in pieces, goes on after a break, and believes it when it is verified."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import structlog

from chronos.cluster.peers.wire import Call
from chronos.errors import Overloaded, PeerSilent, PeerUnreachable, StorageFull
from chronos.failpoints import reach
from chronos.server.snapshots.calls import (
    DONE,
    OFFER,
    PIECE,
    PIECE_BYTES_MAX,
    Ask,
    AskPiece,
    Done,
    Offered,
    OfferedFile,
    SnapshotDamaged,
    SnapshotGone,
)
from chronos.server.snapshots.offering import sha256_of
from chronos.store.copying import HISTORY, STATE, facts_of
from chronos.store.sqlitefile import translated

log = structlog.get_logger("chronos.snapshots")

YARD, FILES, OFFER_FILE = "snapshot.in", "files", "offer.json"
BREAKS_MAX, BREAK_S = 30, 1.0
"""So many breaks in a row, of up to ten seconds each, and it is given up; what has arrived stays for the next time."""

OFFERS_MAX = 5
_SPARE_BYTES = 64 << 20
_NAME = re.compile(rf"{re.escape(STATE)}|{HISTORY}/[A-Za-z0-9][A-Za-z0-9._-]{{0,99}}")

Q = TypeVar("Q")
A = TypeVar("A")


class Asked(Protocol):
    """Whoever has the snapshot: a lane of its own to another member."""

    async def call(self, call: Call[Q, A], question: Q, *, within_s: float | None = None) -> A: ...


class Fetched(msgspec.Struct, frozen=True):
    """A snapshot that is here, verified.

    Attributes:
        folder: State and history; `store.replacing.replace` puts them in place.
        applied: The last entry that its state has.
        copied_bytes: What came over the network; the rest was here already.
    """

    folder: Path
    applied: int
    copied_bytes: int


OnOffered = Callable[[Offered], Awaitable[None]]
OnBytes = Callable[[int], None]


async def _nobody(_: Offered) -> None:
    """Nobody wants to know."""


async def fetch(
    other: Asked,
    data: Path,
    *,
    above: int = 0,
    on_offered: OnOffered = _nobody,
    on_bytes: OnBytes = lambda _: None,
) -> Fetched:
    """Fetch a snapshot into the data folder `data`, beside what it will replace.

    Called again after it was cut off, it goes on where it was. Closed segments that are here already are not fetched.

    Args:
        above: The entry that it has to have at least.
        on_offered: Called when it is known what there is to fetch.
        on_bytes: Called with how many bytes of it are here, now and then.

    Raises:
        PeerUnreachable, PeerSilent: The other node is gone for too long.
        SnapshotDamaged: What arrives is not what is offered, again and again.
        StorageFull: There is no room for it here, or for its copy there.
        StateDamaged, FormatUnreadable: Its state cannot be used by this release.
    """
    fetching = _Fetching(other, data, above, on_offered, on_bytes)
    for _ in range(OFFERS_MAX):
        try:
            return await fetching.all_of_it()
        except SnapshotGone:
            await asyncio.to_thread(fetching.forget)
    raise SnapshotDamaged(f"{OFFERS_MAX} snapshots in a row were gone before they could be fetched.")


class _Fetching:
    """One snapshot on its way."""

    def __init__(self, other: Asked, data: Path, above: int, on_offered: OnOffered, on_bytes: OnBytes) -> None:
        self._other = other
        self._data = data
        self._above = above
        self._on_offered = on_offered
        self._on_bytes = on_bytes
        self._yard = data / YARD
        self._files = data / YARD / FILES
        self._copied = 0

    async def all_of_it(self) -> Fetched:
        offered = await asyncio.to_thread(self._remembered)
        if offered is None or offered.applied < self._above:
            offered = await self._patiently(OFFER, Ask(self._above))
            await asyncio.to_thread(self._begin, offered)
            reach("snapshot.offered")
        await self._on_offered(offered)
        here = 0
        for file in offered.files:
            await self._file(offered.id, file, here)
            here += file.bytes
            self._on_bytes(here)
        reach("snapshot.fetched")
        facts = await asyncio.to_thread(facts_of, self._files)
        if facts.applied != offered.applied:
            raise SnapshotDamaged(f"Its state has entries up to {facts.applied}, and {offered.applied} were offered.")
        await self._patiently(DONE, Done(offered.id))
        (self._yard / OFFER_FILE).unlink()
        log.info("snapshot_here", entry=offered.applied, bytes=offered.bytes, copied=self._copied)
        return Fetched(self._files, offered.applied, self._copied)

    def forget(self) -> None:
        """It is not offered any more. What has arrived whole of the closed segments is found again by its hash."""
        (self._yard / OFFER_FILE).unlink(missing_ok=True)

    def _remembered(self) -> Offered | None:
        """Return the snapshot that was being fetched before."""
        try:
            return msgspec.json.decode((self._yard / OFFER_FILE).read_bytes(), type=Offered)
        except (OSError, msgspec.MsgspecError):
            return None

    def _begin(self, offered: Offered) -> None:
        names = [file.name for file in offered.files]
        if len(set(names)) != len(names) or STATE not in names or not all(map(_NAME.fullmatch, names)):
            raise SnapshotDamaged("The snapshot names files that belong to none.")
        with translated(self._yard):
            for folder in (self._yard, self._files, self._files / HISTORY):
                folder.mkdir(mode=0o700, exist_ok=True)
            self._tidy({file.name: file for file in offered.files})
            here = sum(path.stat().st_size for path in self._files.rglob("*") if path.is_file())
            free = shutil.disk_usage(self._yard).free
            if free < offered.bytes - here + _SPARE_BYTES:
                raise StorageFull(
                    f"A snapshot of {offered.bytes:,} bytes is to be fetched, and {free:,} bytes are free here.",
                    folder=str(self._data),
                )
            part = self._yard / f"{OFFER_FILE}.new"
            part.write_bytes(msgspec.json.encode(offered))
            part.replace(self._yard / OFFER_FILE)

    def _tidy(self, wanted: dict[str, OfferedFile]) -> None:
        """Remove what belongs to no file of this snapshot: half a file of another is of no use."""
        for path in self._files.rglob("*"):
            if path.is_dir():
                continue
            file = wanted.get(str(path.relative_to(self._files)))
            if file is None or path.stat().st_size != file.bytes or sha256_of(path) != file.sha256:
                path.unlink()

    async def _file(self, offer_id: str, file: OfferedFile, before: int) -> None:
        path = self._files / file.name
        if await asyncio.to_thread(self._is_here, path, file):
            return
        for _ in range(2):  # the second time from the start
            await self._pieces(offer_id, file, path, before)
            if await asyncio.to_thread(sha256_of, path) == file.sha256:
                return
            log.warning("snapshot_piece_damaged", file=file.name)
            path.unlink()
        raise SnapshotDamaged(f"{file.name} arrived twice as something else than was offered.")

    def _is_here(self, path: Path, file: OfferedFile) -> bool:
        """Whether a file has arrived already, or lies in the data folder as it is wanted."""
        own = self._data / file.name
        if not path.exists() and file.name != STATE and _is(own, file):
            with translated(path):
                shutil.copyfile(own, path)
        return _is(path, file)

    async def _pieces(self, offer_id: str, file: OfferedFile, path: Path, before: int) -> None:
        with translated(path):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            try:
                at = os.fstat(handle).st_size
                while at < file.bytes:
                    size = min(PIECE_BYTES_MAX, file.bytes - at)
                    piece = await self._patiently(PIECE, AskPiece(offer_id, file.name, at, size))
                    if not piece or len(piece) > size:
                        raise SnapshotDamaged(f"{file.name} ends at {at + len(piece)} and not at {file.bytes}.")
                    await asyncio.to_thread(_write, handle, piece)
                    reach("snapshot.piece")
                    at += len(piece)
                    self._copied += len(piece)
                    self._on_bytes(before + at)
            finally:
                os.close(handle)

    async def _patiently(self, call: Call[Q, A], question: Q) -> A:
        """Ask until there is an answer: a break ends, and asking twice changes nothing."""
        breaks = 0
        while True:
            try:
                return await self._other.call(call, question)
            except (PeerUnreachable, PeerSilent, Overloaded) as broken:
                breaks += 1
                if breaks >= BREAKS_MAX:
                    raise
                log.warning("snapshot_break", call=call.name, reason=str(broken))
                await asyncio.sleep(BREAK_S)


def _is(path: Path, file: OfferedFile) -> bool:
    try:
        return path.stat().st_size == file.bytes and sha256_of(path) == file.sha256
    except OSError:
        return False


def _write(handle: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(handle, view) :]
