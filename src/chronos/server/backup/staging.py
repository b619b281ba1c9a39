"""What goes into a backup, gathered beside the data it is a copy of: state and history, the log, and small files.

State and history are copied first and the log last, so that the log reaches at least as far as they do.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import structlog

from chronos import __version__
from chronos.cluster.logcopy import packed
from chronos.cluster.logfile import ROOT, Fork, link
from chronos.cluster.port import Entry, ReplicatedLog
from chronos.errors import LogFailed, SnapshotNeeded, StorageFull, Unavailable
from chronos.server.backup.manifest import LOG, Manifest, Member
from chronos.store.commands import decode_entry
from chronos.store.copying import HISTORY, STATE, facts_of, fold_in
from chronos.store.sqlite import SqliteState
from chronos.store.sqlitefile import translated

said = structlog.get_logger("chronos.backup")

STAGE = "backup.new"
LAST = "last-backup.json"
_BATCH = 256
_COPIES_MAX = 5
_SPARE_BYTES = 64 << 20
_LEFT_OUT = frozenset({"LOCK", "ballast", STATE, LAST, "CLUSTER", "MEMBER"})
"""What stands in the data folder itself and is not copied as it is; keys are, by who may read them. What is brought
back from a backup belongs to no cluster: one that it becomes has an id of its own."""
_KEYS = ("keys",)
_KEY_SUFFIX = ".key"


class BackedLog(Protocol):
    """A log that a backup is made of; `LocalLog` is one."""

    async def base(self) -> tuple[int, bytes]:
        """Return the last entry that was forgotten, and its hash: what the first one is chained to."""
        ...

    def tail(self, frm: int) -> AsyncIterator[Entry]:
        """See `ReplicatedLog.tail`."""
        ...

    async def forks(self) -> list[Fork]:
        """Return where it was cut off, oldest first."""
        ...


class MembersLog:
    """The log of a cluster as a backup has it. It lies in the engine without hashes, so its chain begins here."""

    def __init__(self, shared: ReplicatedLog) -> None:
        self._shared = shared

    async def base(self) -> tuple[int, bytes]:
        first, _ = await self._shared.bounds()
        return first - 1, ROOT

    def tail(self, frm: int) -> AsyncIterator[Entry]:
        return self._shared.tail(frm)

    async def forks(self) -> list[Fork]:
        return []


class Staged(NamedTuple):
    """A backup before it is packed."""

    members: list[Member]
    manifest: Manifest


@asynccontextmanager
async def staged(
    data: Path, log: BackedLog, state: SqliteState, *, now_us: int, node: str = ""
) -> AsyncIterator[Staged]:
    """Gather a backup of the data folder `data`, whose log and state are open, without its keys.

    The log may not be truncated before this has been entered, and closed segments not thinned out before it is left.

    Raises:
        StorageFull: Beside the data there is no room for a copy of state, the newest history and the log.
    """
    into = data / STAGE
    await asyncio.to_thread(_make_room, data, into)
    try:
        reaches = await state.copy(into)
        await asyncio.to_thread(fold_in, into)
        manifest = await _manifest(log, into, reaches, now_us)
        manifest = msgspec.structs.replace(manifest, key_mark=key_mark(data), taken_on=node)
        yield Staged([*_members(into), *_small_files(data)], manifest)
    finally:
        await asyncio.to_thread(shutil.rmtree, into, ignore_errors=True)


def _make_room(data: Path, into: Path) -> None:
    shutil.rmtree(into, ignore_errors=True)  # left by somebody who was killed
    with translated(into):
        into.mkdir(mode=0o700)
        newest = max((data / HISTORY).glob("*.db"), default=None)
        copied = [data / STATE, data / "log" / "log.db", *([newest] if newest else [])]
        weight = sum(path.stat().st_size for path in copied if path.exists())
        free = shutil.disk_usage(data).free
    if free < weight + _SPARE_BYTES:
        raise StorageFull(
            f"A backup needs {weight + _SPARE_BYTES:,} bytes beside the data for a moment, and {free:,} are free.",
            folder=str(data),
        )


async def _copy_log(log: BackedLog, into: Path, reaches: int) -> _LogCopy:
    """Copy the log; anew when it is truncated meanwhile, which the leader of a cluster does from another node."""
    for left in reversed(range(_COPIES_MAX)):
        base, base_hash = await log.base()
        copied = _LogCopy(into / LOG, base, base_hash, reaches)
        try:
            batch: list[Entry] = []
            async for entry in log.tail(base + 1):
                batch.append(entry)
                if len(batch) == _BATCH:
                    await asyncio.to_thread(copied.take, batch)
                    batch = []
            await asyncio.to_thread(copied.take, batch)
            return copied
        except SnapshotNeeded:
            if not left:
                raise
        finally:
            copied.close()
    raise AssertionError("the last try returns or raises")


async def _log_copy(log: BackedLog, into: Path, reaches: int) -> _LogCopy:
    """Copy the log; of a cluster without a quorum, which nobody can ask, the state alone has to do."""
    try:
        return await _copy_log(log, into, reaches)
    except (LogFailed, SnapshotNeeded):
        raise
    except Unavailable as error:
        if not isinstance(log, MembersLog):
            raise
        said.warning("backup_without_log", reason=str(error), entry=reaches)
        copied = _LogCopy(into / LOG, reaches, ROOT, reaches)
        copied.close()
        return copied


async def _manifest(log: BackedLog, into: Path, reaches: int, now_us: int) -> Manifest:
    facts = await asyncio.to_thread(facts_of, into)
    copied = await _log_copy(log, into, reaches)
    base, base_hash = copied.base, copied.base_hash
    return Manifest(
        version=__version__,
        node=facts.meta.leader,
        taken_us=now_us,
        first=base + 1,
        last=copied.last,
        base_hash=base_hash.hex(),
        last_hash=copied.hash.hex(),
        first_us=copied.first_us or facts.time_us,
        log_us=copied.time_us or facts.time_us,
        state_entry=reaches,
        state_us=copied.reaches_us or facts.time_us,
        restore_epoch=facts.meta.restore_epoch,
        jobs=facts.meta.jobs,
        forks=await log.forks(),
    )


class _LogCopy:
    """The log on its way into a file."""

    def __init__(self, path: Path, base: int, base_hash: bytes, reaches: int) -> None:
        self._file = path.open("wb")
        self._reaches = reaches
        self.base, self.base_hash = base, base_hash
        self.last, self.hash = base, base_hash
        self.first_us = self.time_us = self.reaches_us = 0

    def take(self, entries: list[Entry]) -> None:
        for entry in entries:
            self._file.write(packed(entry))
            self.last, self.hash = entry.index, link(self.hash, entry.index, entry.epoch, entry.data)
            if entry.index == self._reaches:
                self.reaches_us = decode_entry(entry.data).time_us
        if entries:
            self.first_us = self.first_us or decode_entry(entries[0].data).time_us
            self.time_us = decode_entry(entries[-1].data).time_us

    def close(self) -> None:
        self._file.close()


def _members(into: Path) -> Iterator[Member]:
    yield Member(STATE, into / STATE)
    yield Member(LOG, into / LOG)
    for path in sorted((into / HISTORY).iterdir()):
        yield Member(f"{HISTORY}/{path.name}", path)


def _small_files(data: Path) -> Iterator[Member]:
    """Yield what else stands in the data folder itself: small, and of whoever writes it."""
    for path in sorted(data.iterdir()):
        is_key = path.suffix == _KEY_SUFFIX
        is_ours = path.name in _LEFT_OUT or path.name.startswith(STATE) or path.name.endswith(".new")
        if path.is_file() and not path.is_symlink() and not is_key and not is_ours:
            yield Member(path.name, path)


def key_mark(data: Path) -> str:
    """Return what tells the keys of this data folder from those of another; empty when it has none."""
    try:
        key = (data / "keys" / "credentials").read_bytes()
    except OSError:
        return ""
    return hashlib.blake2b(key, digest_size=16, person=b"chronos backup").hexdigest()


def keys_of(data: Path) -> list[Member]:
    """Return the keys of a data folder: what opens its credentials, signs for it, and lets its administrator in."""
    inside = [path for name in _KEYS for path in sorted((data / name).rglob("*"))]
    beside = sorted(data.glob(f"*{_KEY_SUFFIX}"))
    return [
        Member(str(path.relative_to(data)), path)
        for path in [*inside, *beside]
        if path.is_file() and not path.is_symlink()
    ]
