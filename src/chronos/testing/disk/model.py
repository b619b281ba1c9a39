"""What lies on a disk, what only looks as if it did, and what a power cut makes of the difference. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import PurePosixPath
from typing import NamedTuple

from msgspec import Struct, field

SECTOR = 512
"""What a disk writes whole or not at all, in bytes."""

_SECTOR_KEPT = 0.8


class Keeps(StrEnum):
    """What a crash keeps of what was written and not synced, file by file.

    Attributes:
        NOTHING: Nothing of it.
        PREFIX: The first so many writes.
        SUBSET: Any of the writes, each torn at its sectors.
        REORDERED: Any of the writes in any order, each torn at its sectors.
        ALL: All of it: the process was killed, and the machine was not.
    """

    NOTHING = "nothing"
    PREFIX = "prefix"
    SUBSET = "subset"
    REORDERED = "reordered"
    ALL = "all"


POWER_CUTS = (Keeps.NOTHING, Keeps.PREFIX, Keeps.SUBSET, Keeps.REORDERED)


class Write(NamedTuple):
    """Bytes that replace those at `offset`."""

    offset: int
    data: bytes


class Cut(NamedTuple):
    """A new length; beyond the old one there are zeros."""

    size: int


Change = Write | Cut


class StoredFile(Struct):
    """One file.

    Attributes:
        durable: What is on the disk for sure.
        unsynced: What was written since, oldest first.
        named: Whether its name is on the disk for sure.
    """

    durable: bytearray = field(default_factory=bytearray)
    unsynced: list[Change] = field(default_factory=list)
    named: bool = False


class DiskModel:
    """The files of one disk by name, as the writer sees them, and what is durable of each.

    A new file's name becomes durable with the file's first sync, or when its folder is synced. A name that was
    removed may come back until then.

    Attributes:
        syncs: How many syncs there were.
        writes: How many writes and cuts there were.
    """

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self._files = {name: StoredFile(bytearray(data), named=True) for name, data in (files or {}).items()}
        self._removed: dict[str, StoredFile] = {}
        self.syncs = 0
        self.writes = 0

    def create(self, name: str) -> None:
        """Make an empty file, unless there is one."""
        if name not in self._files:
            self._files[name] = StoredFile()

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Write, unsynced."""
        self.writes += 1
        self._files[name].unsynced.append(Write(offset, data))

    def cut(self, name: str, size: int) -> None:
        """Set a file's length, unsynced."""
        self.writes += 1
        self._files[name].unsynced.append(Cut(size))

    def sync(self, name: str) -> None:
        """Make all that was written to a file durable, and its name."""
        self.syncs += 1
        file = self._files[name]
        _apply(file.durable, file.unsynced)
        file.unsynced = []
        file.named = True

    def drop(self, name: str) -> None:
        """Fail a sync as some file systems do: what was unsynced stays readable, counts as clean, and never lands."""
        self.syncs += 1
        self._files[name].unsynced = []

    def remove(self, name: str, *, durable: bool) -> None:
        """Remove a file; unless `durable`, a crash may bring it back."""
        file = self._files.pop(name, None)
        if file is not None and file.named and not durable:
            self._removed[name] = file

    def is_new(self, name: str) -> bool:
        """Whether a power cut may take the file, name and all."""
        return not self._files[name].named

    def sync_folder(self, folder: str) -> None:
        """Make every removal and every new name in a folder durable; "." is the outermost one."""
        for name in [name for name in self._removed if _folder(name) == folder]:
            del self._removed[name]
        for name, file in self._files.items():
            file.named = file.named or _folder(name) == folder

    def unsynced(self) -> int:
        """How many writes a power cut may take."""
        return sum(len(file.unsynced) for file in self._files.values())

    def image(self, keeps: Keeps, chance: random.Random) -> dict[str, bytes]:
        """Return what a crash leaves: the files' bytes by name."""
        found = {}
        for name in sorted(self._files.keys() | self._removed.keys()):
            file = self._after_crash(name, keeps, chance)
            if file is not None:
                left = bytearray(file.durable)
                _apply(left, _kept(file.unsynced, keeps, chance))
                found[name] = bytes(left)
        return found

    def _after_crash(self, name: str, keeps: Keeps, chance: random.Random) -> StoredFile | None:
        """Return the file that is found under `name`: the new one, or the one that had it before."""
        new, old = self._files.get(name), self._removed.get(name)
        is_sure = new is not None and new.named
        if keeps is Keeps.ALL or is_sure:
            return new
        return old if keeps is Keeps.NOTHING or chance.random() < 0.5 else new


def _folder(name: str) -> str:
    return str(PurePosixPath(name).parent)


def _apply(data: bytearray, changes: Iterable[Change]) -> None:
    for change in changes:
        if isinstance(change, Write):
            _extend(data, change.offset)
            data[change.offset : change.offset + len(change.data)] = change.data
        else:
            del data[change.size :]
            _extend(data, change.size)


def _extend(data: bytearray, size: int) -> None:
    if len(data) < size:
        data.extend(bytes(size - len(data)))


def _kept(changes: list[Change], keeps: Keeps, chance: random.Random) -> list[Change]:
    if keeps is Keeps.ALL:
        return changes
    if keeps is Keeps.NOTHING:
        return []
    if keeps is Keeps.PREFIX:
        return changes[: chance.randint(0, len(changes))]
    kept = [change for change in changes if chance.random() < 0.5]
    if keeps is Keeps.REORDERED:
        chance.shuffle(kept)
    return [piece for change in kept for piece in _torn(change, chance)]


def _torn(change: Change, chance: random.Random) -> list[Change]:
    """Return the sectors of a write that made it."""
    if isinstance(change, Cut):
        return [change]
    pieces: list[Change] = []
    at, end = change.offset, change.offset + len(change.data)
    while at < end:
        following = min((at // SECTOR + 1) * SECTOR, end)
        if chance.random() < _SECTOR_KEPT:
            pieces.append(Write(at, change.data[at - change.offset : following - change.offset]))
        at = following
    return pieces


def flipped(data: bytes, bit: int) -> bytes:
    """Return `data` with one bit the other way round."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
