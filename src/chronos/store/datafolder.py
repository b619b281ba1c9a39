"""The data folder: who may use it, what lies in it, and the space kept free for bad days."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType

from msgspec import Struct

from chronos.errors import ChronosError, DataFolderInUse, StorageFull
from chronos.store import replacing, upgrade

FOLDERS = ("log", "history", "keys", "bodies")
_BALLAST = "ballast"
_STEP = 1024 * 1024


class DataFolderSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the folder is kept.

    Attributes:
        ballast_bytes: Space taken up for nothing, given back when the disk is full; 0 for none.
    """

    ballast_bytes: int = 64 * 1024 * 1024


class DataFolder:
    """A locked data folder.

        data/
        ├── LOCK        held by flock; says whose it is
        ├── FORMAT      the format of all of it, and which release reads that
        ├── ballast     given back when the disk is full
        ├── log/        the log
        ├── state.db    what the log folds into
        ├── history/    what has ended
        ├── keys/       keys and certificates
        └── bodies/     answers' bodies of this node

    Only the user that runs the server may look into it.

    Attributes:
        format: Of the folder as a whole, once it is open.
    """

    def __init__(self, path: Path, settings: DataFolderSettings | None = None) -> None:
        self.path = path
        self._settings = settings or DataFolderSettings()
        self._lock = -1
        self.format = 0

    def __enter__(self) -> DataFolder:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Lock the folder, bring it up to this release's format, create what is missing, and take up the ballast.

        Everything this process creates from now on is private to its user. The ballast is left out when there is no
        space for it.

        Raises:
            DataFolderInUse: Another process has it; `pid` says which.
            FormatUnreadable: A newer release has written it; nothing was changed.
            StateDamaged: What says its format is not what was written.
            StorageFull: It has to be upgraded, and there is no space for that.
        """
        os.umask(0o077)
        self.path.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            self._lay_out()
        except ChronosError:
            self.close()
            raise

    def _lay_out(self) -> None:
        replacing.finish(self.path)
        self.format = upgrade.bring_up(self.path).format
        for folder in (self.path, *(self.path / name for name in FOLDERS)):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)
        self.take_ballast()

    def close(self) -> None:
        """Give the folder up. Closing twice, or unopened, does nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def take_ballast(self) -> bool:
        """Take the ballast up if it is not; return whether it is there.

        It is left out, and that is no error, while there is not as much space again: it must not fill the disk.
        """
        wanted, path = self._settings.ballast_bytes, self.path / _BALLAST
        if wanted == 0 or (path.exists() and path.stat().st_size >= wanted):
            return wanted > 0
        disk = os.statvfs(self.path)
        if disk.f_bavail * disk.f_frsize < 2 * wanted:
            return False
        try:
            _fill(path, wanted)
        except StorageFull:
            path.unlink(missing_ok=True)
            return False
        return True

    def drop_ballast(self) -> None:
        """Give the ballast's space back."""
        (self.path / _BALLAST).unlink(missing_ok=True)

    def _take_lock(self) -> None:
        lock = os.open(self.path / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(lock, 20, 0).decode(errors="replace").strip()
            os.close(lock)
            raise DataFolderInUse(
                f"{self.path} is used by process {pid or 'unknown'}. Stop it, or give another --data-dir.",
                pid=pid,
                folder=str(self.path),
            ) from None
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock


def _fill(path: Path, size: int) -> None:
    """Take up `size` bytes for real: a sparse file would hold nothing free."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)
        else:  # macOS
            for offset in range(0, size, _STEP):
                os.pwrite(file, b"\xff" * min(_STEP, size - offset), offset)
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFull(file=str(path)) from exc
        raise
    finally:
        os.close(file)
