"""From a data folder, or from a server that runs, into one file that is there whole or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from chronos.cluster.local import LocalLog
from chronos.errors import Conflict, Invalid, NotFound
from chronos.failpoints import reach
from chronos.server.admission import is_member, refuse_member
from chronos.server.backup.container import Frame, Kind, decode, encode, reader_of
from chronos.server.backup.manifest import Manifest, checked, manifest_in, pack, with_keys
from chronos.server.backup.service import LastBackup, write_last
from chronos.server.backup.staging import key_mark, keys_of, staged
from chronos.store.datafolder import DataFolder, DataFolderSettings
from chronos.store.sqlite import SqliteState
from chronos.store.sqlitefile import translated
from chronos.timing.clock import Chance, Clock

OnBytes = Callable[[int], None]
"""Called with the number of bytes written so far."""


class BackupExists(Conflict):
    """There is a file of this name already."""


async def save_stopped(data: Path, target: Target, *, keys: bool, clock: Clock) -> Manifest:
    """Back up the data folder of a server that is stopped, and return what is in the backup.

    Raises:
        NotFound: There is no such data folder.
        Invalid: It is a member's, whose log lies in its engine.
        DataFolderInUse: A server uses it.
        LogDamaged: Log, state or history do not verify; nothing was written.
        BackupExists: The file is there already.
        StorageFull: There is no room.
    """
    if is_member(data):
        with DataFolder(data, DataFolderSettings(ballast_bytes=0)):  # or its server runs, and can be asked
            refuse_member(data, "Start it, or ask the server of another member for a backup (`--server`).")
    if not (data / "log" / "log.db").is_file():
        raise NotFound(f"{data} is not a data folder, or has no log yet.")
    with DataFolder(data, DataFolderSettings(ballast_bytes=0)):
        log, state = LocalLog(data / "log"), SqliteState(data)
        async with log:
            try:
                await state.start()
                async with staged(data, log, state, now_us=int(clock.time() * 1e6)) as part:
                    frames = pack(part.members, part.manifest)
                    manifest = target.write(with_keys(frames, keys_of(data)) if keys else frames)
            finally:
                await state.stop()
        write_last(data, LastBackup(manifest.taken_us, manifest.last))
    return manifest


def save_running(pieces: Iterable[bytes], target: Target, *, keys_from: Path | None) -> Manifest:
    """Write the backup that a server hands out, with the keys from its data folder; return what is in it.

    Raises:
        BackupDamaged: What came over the wire is not what was sent.
        Invalid: The keys are those of another server.
        BackupExists: The file is there already.
        StorageFull: There is no room.
    """
    frames = checked(decode(reader_of(pieces)))
    return target.write(frames if keys_from is None else with_keys(_of(keys_from, frames), keys_of(keys_from)))


def _of(data: Path, frames: Iterable[Frame]) -> Iterator[Frame]:
    """Yield frames, and see to it that they come from the server that uses the folder `data`."""
    for frame in frames:
        if frame.kind == Kind.END and manifest_in(frame).key_mark != key_mark(data):
            raise Invalid(f"The server that answered is not the one that uses {data}; name the right --server.")
        yield frame


class Target:
    """The file to be written.

    Attributes:
        bytes: How many have been written.

    Args:
        passphrase: Encrypts it; empty leaves it as it is.
        replace: Whether a file of this name may be replaced.
    """

    def __init__(
        self,
        path: Path,
        chance: Chance,
        *,
        passphrase: str = "",
        replace: bool = False,
        on_bytes: OnBytes = lambda _: None,
    ) -> None:
        self._path = path
        self._chance = chance
        self._passphrase = passphrase
        self._replace = replace
        self._on_bytes = on_bytes
        self.bytes = 0

    @property
    def encrypts(self) -> bool:
        """Whether the file cannot be read without its passphrase."""
        return bool(self._passphrase)

    def check(self) -> None:
        """See to it, before anything is read, that the file may be written.

        Raises:
            BackupExists: It is there already.
            Invalid: There is no folder for it.
        """
        if self._path.is_dir() or not self._path.parent.is_dir():
            raise Invalid(f"{self._path} cannot be written: give the name of a file in a folder that exists.")
        if not self._replace and self._path.exists():
            raise BackupExists(f"{self._path} is there already; give another name, or --replace.")

    def write(self, frames: Iterable[Frame]) -> Manifest:
        """Write the file, durably, under its name only when it is whole; return the manifest."""
        self.check()
        last = Frame(Kind.END, b"")

        def noted() -> Iterator[Frame]:
            nonlocal last
            for frame in frames:
                last = frame
                yield frame

        part = self._path.with_name(f".{self._path.name}.part")
        with _opened(part) as file, translated(part):
            for piece in encode(noted(), passphrase=self._passphrase, chance=self._chance):
                file(piece)
                self.bytes += len(piece)
                self._on_bytes(self.bytes)
                reach("backup.midway")
            manifest = manifest_in(last)
            file(b"")
            reach("backup.before-rename")
            self._name(part)
        return manifest

    def _name(self, part: Path) -> None:
        if self._replace:
            part.replace(self._path)
        else:
            _rename_new(part, self._path)
        sync_folder(self._path.parent)


@contextmanager
def _opened(part: Path) -> Iterator[Callable[[bytes], None]]:
    """Yield what writes to the unfinished file; nothing to write means: make it durable."""
    handle = _claim(part)
    done = False

    def write(piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            view = view[os.write(handle, view) :]
        if not piece:
            os.fsync(handle)

    try:
        yield write
        done = True
    finally:
        if not done:
            part.unlink(missing_ok=True)
        os.close(handle)


def _claim(part: Path) -> int:
    """Open the unfinished file for us alone; what somebody who was killed has left in it goes."""
    try:
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise Invalid(f"{part} cannot be written: {(exc.strerror or str(exc)).lower()}.") from exc
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise BackupExists(f"Another backup is being written to {part}.") from None
    os.ftruncate(handle, 0)
    os.fchmod(handle, 0o600)
    return handle


def _rename_new(part: Path, path: Path) -> None:
    """Give a file its name unless that is taken."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise BackupExists(f"{path} is there already; give another name, or --replace.") from None
    except OSError:  # a file system without links: the name was free when we began
        part.rename(path)
        return
    part.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
