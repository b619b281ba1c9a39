"""A file that is there whole, or not at all: written beside its name, made durable, and only then given it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from chronos.errors import Conflict, Invalid, StorageFull

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class WholeFile:
    """A file to be written, readable by its owner alone.

    Args:
        exists: What is raised when there is a file of this name already, or one is being written.
        replace: Whether a file of this name may be replaced.
    """

    def __init__(self, path: Path, exists: type[Conflict], *, replace: bool = False) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._exists = exists
        self._replace = replace

    def check(self) -> None:
        """See to it, before anything is read, that the file may be written.

        Raises:
            Conflict: It is there already (`exists`).
            Invalid: There is no folder for it, or it is one.
        """
        if self._path.is_dir() or not self._path.parent.is_dir():
            raise Invalid(f"{self._path} cannot be written: give the name of a file in a folder that exists.")
        if not self._replace and self._path.exists():
            raise self._is_there()

    @contextmanager
    def opened(self, on_whole: Callable[[], None] = lambda: None) -> Iterator[Callable[[bytes], None]]:
        """Yield what writes to the file. It gets its name when all of it is written, and is left out otherwise.

        Args:
            on_whole: Called when it is durable, and has not its name yet.

        Raises:
            Conflict: It is there already (`exists`).
            Invalid: It cannot be written.
            StorageFull: There is no room for it.
        """
        handle = self._claimed()
        named = False

        def write(piece: bytes) -> None:
            view = memoryview(piece)
            with self._told():
                while view:
                    view = view[os.write(handle, view) :]

        try:
            yield write
            with self._told():
                os.fsync(handle)
            on_whole()
            with self._told():
                self._name()
            named = True
        finally:
            if not named:
                self._part.unlink(missing_ok=True)
            os.close(handle)

    def _claimed(self) -> int:
        """Open the unfinished file for us alone; what somebody who was killed has left in it goes."""
        with self._told():
            handle = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise self._exists(f"Somebody else is writing to {self._part}.") from None
        os.ftruncate(handle, 0)
        os.fchmod(handle, 0o600)
        return handle

    def _name(self) -> None:
        if self._replace:
            self._part.replace(self._path)
        else:
            self._name_what_was_not_there()
        sync_folder(self._path.parent)

    def _name_what_was_not_there(self) -> None:
        try:
            os.link(self._part, self._path)
        except FileExistsError:
            raise self._is_there() from None
        except OSError:  # a file system without links: the name was free when we began
            self._part.rename(self._path)
            return
        self._part.unlink()

    def _is_there(self) -> Conflict:
        return self._exists(f"{self._path} is there already; give another name, or --replace.")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the file system refuses into an error that names the file."""
        try:
            yield
        except OSError as exc:
            kind = StorageFull if exc.errno in NO_ROOM else Invalid
            why = (exc.strerror or str(exc)).lower()
            raise kind(f"{self._path} cannot be written: {why}.", file=str(self._path)) from exc


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
