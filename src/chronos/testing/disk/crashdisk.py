"""A folder on a disk that crashes and fails on purpose, for everything that writes through SQLite.

The files are real ones below a folder, best on a memory file system; beside them a `DiskModel` keeps what of them
is durable. SQLite reaches them through a file system of its own (a VFS), by name, so that threads, readers and
shared memory work as always:

    with CrashDisk(folder, "disk-1") as disk:
        log = LocalLog(folder / "log", vfs=disk.vfs)
        state = SqliteState(folder, vfs=disk.vfs)
        …
        disk.faults.append(Fault(on=Doing.SYNC))                       # the next fsync fails
        disk.crash(elsewhere, Keeps.SUBSET, random.Random(7))          # what a power cut leaves, as real files
        disk.power_cut(Keeps.SUBSET, random.Random(7))                 # the same, in place: reopen the folder

`disk.listen(f)` calls `f` before every write and sync: each is a place to crash at.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from threading import RLock
from types import TracebackType
from typing import Self

import apsw

from chronos.testing.disk.faults import Doing, Fault, Wrong, failure
from chronos.testing.disk.model import DiskModel, Keeps

Listener = Callable[[Doing, str], None]
_SHARED_MEMORY = "-shm"
_LOGS = ("-wal", "-journal")


class CrashDisk(apsw.VFS):
    """A disk below `root`, registered with SQLite as `vfs` while it is open.

    What lies in `root` at the beginning is durable.

    Args:
        capacity: How many bytes fit; None for any number.
        is_default: Whether files opened without naming a file system go through this one too.

    Attributes:
        faults: What is to fail; add to it and take from it at any time.
        capacity: May be changed at any time.
    """

    def __init__(self, root: Path, vfs: str, *, capacity: int | None = None, is_default: bool = False) -> None:
        self.root = root
        self.vfs = vfs
        self.capacity = capacity
        self.faults: list[Fault] = []
        self._listeners: list[Listener] = []
        self._lock = RLock()
        self.model = DiskModel(read_folder(root))
        self.base = apsw.vfs_names()[0]  # by name, because the default may be this one from now on
        super().__init__(vfs, self.base, makedefault=is_default)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unregister()

    def listen(self, listener: Listener) -> None:
        """Call `listener` before every write and every sync, in the thread that does it."""
        self._listeners.append(listener)

    def crash(self, into: Path, keeps: Keeps, chance: Random) -> None:
        """Write what a crash now would leave into the folder `into`, which is emptied before."""
        with self._lock:
            write_folder(into, self.model.image(keeps, chance))

    def power_cut(self, keeps: Keeps, chance: Random) -> None:
        """Leave in `root` what a power cut leaves. Close every connection before, or end its process."""
        with self._lock:
            image = self.model.image(keeps, chance)
            write_folder(self.root, image)
            self.model = DiskModel(image)

    # What SQLite asks of a file system.

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = _path_of(name)
        if path is None or not path.is_relative_to(self.root):
            return apsw.VFSFile(self.base, name, flags)  # no business of ours
        return _CrashFile(self, name, flags, self.name_of(path))

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802
        with self._lock:
            super().xDelete(name, sync)
            self.model.remove(self.name_of(name), durable=bool(sync))

    # What a file asks of its disk.

    def name_of(self, path: str | Path) -> str:
        """Return the name of a file below `root`."""
        return str(Path(path).relative_to(self.root))

    def meet(self, doing: Doing, name: str) -> Wrong | None:
        """Tell the listeners, then fail if it is to fail; only `SHORT` is returned, for half the work to be done."""
        if doing is not Doing.READ:
            for listener in self._listeners:
                listener(doing, name)
        struck = [fault for fault in self.faults if fault.strikes(doing, name)]
        if not struck:
            return None
        if struck[0].wrong is Wrong.SHORT:
            return Wrong.SHORT
        if doing is Doing.SYNC and struck[0].wrong is Wrong.EIO:
            self.model.drop(name)
        raise failure(struck[0].wrong, doing, name)

    def opened(self, name: str) -> None:
        """A file is open from now on."""
        with self._lock:
            self.model.create(name)

    def write(self, name: str, offset: int, data: bytes, through: Callable[[bytes, int], None]) -> None:
        """Write, or fail."""
        with self._lock:
            short = self.meet(Doing.WRITE, name)
            self._check_space(name, offset + len(data))
            if short:
                data = data[: len(data) // 2]
            self.model.write(name, offset, data)
            through(data, offset)
            if short:
                raise failure(short, Doing.WRITE, name)

    def cut(self, name: str, size: int, through: Callable[[int], None]) -> None:
        """Change a length, or fail."""
        with self._lock:
            self.meet(Doing.WRITE, name)
            self.model.cut(name, size)
            through(size)

    def sync(self, name: str) -> None:
        """Make durable, or fail. The real file is not synced: nobody pulls the plug of this machine."""
        with self._lock:
            self.meet(Doing.SYNC, name)
            if self.model.is_new(name) and name.endswith(_LOGS):
                self.model.sync_folder(str(Path(name).parent))  # as SQLite does with the first sync of its logs
            self.model.sync(name)

    def _check_space(self, name: str, end: int) -> None:
        if self.capacity is None:
            return
        grown = end - _size(self.root / name)
        if grown > 0 and grown + folder_bytes(self.root) > self.capacity:
            raise failure(Wrong.FULL, Doing.WRITE, name)


class _CrashFile(apsw.VFSFile):
    def __init__(self, disk: CrashDisk, path: str | apsw.URIFilename | None, flags: list[int], name: str) -> None:
        self._disk = disk
        self._name = name
        super().__init__(disk.base, path, flags)
        disk.opened(name)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        if self._disk.faults:
            self._disk.meet(Doing.READ, self._name)
        return bytes(super().xRead(amount, offset))

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.write(self._name, offset, bytes(data), super().xWrite)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._disk.cut(self._name, newsize, super().xTruncate)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.sync(self._name)


def _path_of(name: str | apsw.URIFilename | None) -> Path | None:
    text = name.filename() if isinstance(name, apsw.URIFilename) else name
    return Path(text) if text else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def folder_bytes(folder: Path) -> int:
    """Return what the files below `folder` weigh."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not _is_memory(path))


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the files below `folder` by name, without what lives in memory only."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not _is_memory(path)
    }


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make `folder` hold these files and no others."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _is_memory(path: Path) -> bool:
    return path.name.endswith(_SHARED_MEMORY)
