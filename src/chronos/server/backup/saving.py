"""From a data folder, or from a server that runs, into one file that is there whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from chronos.cluster.local import LocalLog
from chronos.errors import Invalid, NotFound
from chronos.failpoints import reach
from chronos.model.backupfile import BackupExists, Frame, Kind, decode, encode, reader_of
from chronos.server.admission import is_member, refuse_member
from chronos.server.backup.manifest import Manifest, checked, manifest_in, pack, with_keys
from chronos.server.backup.service import LastBackup, write_last
from chronos.server.backup.staging import key_mark, keys_of, staged
from chronos.store.datafolder import DataFolder, DataFolderSettings
from chronos.store.sqlite import SqliteState
from chronos.store.sqlitefile import translated
from chronos.timing.clock import Chance, Clock
from chronos.wholefile import WholeFile

OnBytes = Callable[[int], None]
"""Called with the number of bytes written so far."""


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
        self._file = WholeFile(path, BackupExists, replace=replace)
        self._path = path
        self._chance = chance
        self._passphrase = passphrase
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
        self._file.check()

    def write(self, frames: Iterable[Frame]) -> Manifest:
        """Write the file, durably, under its name only when it is whole; return the manifest."""
        self.check()
        last = Frame(Kind.END, b"")

        def noted() -> Iterator[Frame]:
            nonlocal last
            for frame in frames:
                last = frame
                yield frame

        with translated(self._path), self._file.opened(lambda: reach("backup.before-rename")) as file:
            for piece in encode(noted(), passphrase=self._passphrase, chance=self._chance):
                file(piece)
                self.bytes += len(piece)
                self._on_bytes(self.bytes)
                reach("backup.midway")
            return manifest_in(last)
