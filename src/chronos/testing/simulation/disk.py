"""A disk on one seed, beneath SQLite: it keeps what was synced, and of the rest what chance leaves.

Each file is what a process reads (`seen`), what a power cut leaves for certain (`kept`), and the writes between
the two. Locks and the shared index of write-ahead logs are the operating system's own, in an empty file of the
same name in a folder of this life, so that SQLite's real locking runs and folders can be listed.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any

import apsw

SECTOR = 512
_SQLITE = (".db", "-wal", "-shm", "-journal")
_names = count(1)


class Loss(StrEnum):
    """What a power cut leaves of the writes that were not synced."""

    NONE = "none"
    ALL = "all"
    PREFIX = "prefix"
    SUBSET = "subset"
    REORDER = "reorder"


class _File:
    __slots__ = ("kept", "pending", "seen")

    def __init__(self, content: bytes = b"") -> None:
        self.seen = bytearray(content)
        self.kept = bytearray(content)
        self.pending: list[tuple[int, bytes | None]] = []  # (offset, bytes), or (size, None) for a truncation

    def sync(self) -> None:
        for write in self.pending:
            _apply(self.kept, *write)
        self.pending.clear()

    def lose(self) -> None:
        """An fsync has failed: what was pending will never be written, and can be read nevertheless."""
        self.pending.clear()


class SimDisk:
    """What outlives every process of a node.

    Attributes:
        full: Files cannot grow.
        sync_failures: How many of the next fsyncs fail; -1 for all.
        write_failures: How many of the next writes fail.
        hits: How often each kind of trouble has really met a write.
    """

    def __init__(self) -> None:
        self.files: dict[str, _File] = {}
        self.full = False
        self.sync_failures = 0
        self.write_failures = 0
        self.hits: Counter[str] = Counter()

    @property
    def unsynced(self) -> int:
        """How many writes a power cut could take."""
        return sum(len(file.pending) for file in self.files.values())

    def cut_power(self, draw: random.Random) -> list[Loss]:
        """Keep what was synced, and of the rest of each file what chance leaves; return how each file fared."""
        fared = []
        for name in sorted(self.files):
            file = self.files[name]
            loss = draw.choice(list(Loss)) if file.pending else Loss.ALL
            for write in _surviving(file.pending, loss, draw):
                _apply(file.kept, *write)
            if file.pending:
                fared.append(loss)
            self.files[name] = _File(bytes(file.kept))
        return fared

    def heal(self) -> None:
        """Take the troubles away; what they have done stays."""
        self.full, self.sync_failures, self.write_failures = False, 0, 0

    def contains(self, needle: bytes) -> list[str]:
        """Return the names of the files in which `needle` can be read."""
        return [name for name, file in sorted(self.files.items()) if needle in file.seen]

    def show(self, folder: Path) -> None:
        """Write what a process reads into real files in an empty folder."""
        for name, file in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.seen)

    def take(self, folder: Path) -> None:
        """Hold the databases of a real folder, durably, and nothing else."""
        paths = sorted(folder.rglob("*.db"))
        self.files = {str(path.relative_to(folder)): _File(path.read_bytes()) for path in paths}

    def _detached(self) -> None:
        """A process has gone: what the operating system holds for it stays, under its new owner."""
        for name, file in self.files.items():
            fresh = _File()
            fresh.seen, fresh.kept, fresh.pending = bytearray(file.seen), file.kept, list(file.pending)
            self.files[name] = fresh


class Mount:
    """One life's view of a disk: a folder for locks and small files, and a file system registered with SQLite."""

    def __init__(self, disk: SimDisk, folder: Path, before: Path | None = None) -> None:
        self.disk = disk
        self.folder = folder
        self.severed = False
        self.vfs = f"chronos-simulated-{next(_names)}"
        if before is not None:
            shutil.copytree(before, folder, ignore=_without_databases)
        for name in disk.files:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not name.endswith("-wal"):
                path.touch()
        self._registered: _Vfs | None = _Vfs(self)

    def name_of(self, path: str) -> str:
        return str(Path(path).relative_to(self.folder)) if path.startswith(str(self.folder)) else path

    def sever(self) -> None:
        """From now on nothing this life writes reaches the disk."""
        if not self.severed:
            self.severed = True
            self.disk._detached()

    def close(self) -> None:
        """Close what this life has left open."""
        self.severed = True
        for connection in apsw.connections():
            if connection.filename.startswith(str(self.folder)):
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                connection.close(True)
        if self._registered is not None:
            self._registered.unregister()
            self._registered = None


class _Vfs(apsw.VFS):
    def __init__(self, mount: Mount) -> None:
        self._mount = mount
        super().__init__(mount.vfs, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  # SQLite's name
        return _Handle(self._mount, name, flags)

    def xAccess(self, path: str, flags: int) -> bool:  # noqa: N802
        return self._mount.name_of(path) in self._mount.disk.files

    def xDelete(self, path: str, sync: bool) -> None:  # noqa: N802
        if not self._mount.severed:
            self._mount.disk.files.pop(self._mount.name_of(path), None)
        Path(path).unlink(missing_ok=True)


class _Handle(apsw.VFSFile):
    """An open file: locks and the shared index are the real file's, the bytes are the disk's."""

    def __init__(self, mount: Mount, name: Any, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        super().__init__("", name, flags)
        self._mount = mount
        self._disk = mount.disk
        if path is None:
            self._file = _File()
        else:
            self._file = self._disk.files.setdefault(mount.name_of(path), _File())

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        return bytes(self._file.seen[offset : offset + amount])

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        disk, seen = self._disk, self._file.seen
        data = bytes(data)
        if self._mount.severed:
            raise apsw.IOError("the process is gone")
        if disk.write_failures:
            disk.write_failures -= 1
            disk.hits["write_eio"] += 1
            raise apsw.IOError("write failed")
        if disk.full and offset + len(data) > len(seen):
            disk.hits["disk_full"] += 1
            raise apsw.FullError("no space left on device")
        _apply(seen, offset, data)
        self._file.pending.append((offset, data))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        if self._mount.severed:
            raise apsw.IOError("the process is gone")
        _apply(self._file.seen, size, None)
        self._file.pending.append((size, None))

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._mount.severed:
            raise apsw.IOError("the process is gone")
        if self._disk.sync_failures:
            self._disk.sync_failures -= self._disk.sync_failures > 0
            self._disk.hits["fsync_eio"] += 1
            self._file.lose()
            raise apsw.IOError("fsync failed")
        self._file.sync()

    def xFileSize(self) -> int:  # noqa: N802
        return len(self._file.seen)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    """Write `data` at `offset`; without data, cut off there (or grow to there)."""
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


def _surviving(
    pending: list[tuple[int, bytes | None]], loss: Loss, draw: random.Random
) -> list[tuple[int, bytes | None]]:
    if loss is Loss.NONE:
        return []
    if loss is Loss.ALL:
        return pending
    if loss is Loss.PREFIX:
        return pending[: draw.randint(0, len(pending))]
    kept = [part for write in pending if draw.random() < 0.5 for part in _torn(write, draw)]
    if loss is Loss.REORDER:
        draw.shuffle(kept)
    return kept


def _torn(write: tuple[int, bytes | None], draw: random.Random) -> list[tuple[int, bytes | None]]:
    """Return the sectors of a write that made it."""
    offset, data = write
    if data is None:
        return [write]
    starts = range(0, len(data), SECTOR)
    return [(offset + start, data[start : start + SECTOR]) for start in starts if draw.random() < 0.8]


def _without_databases(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name.endswith(_SQLITE) or name == "LOCK"}
