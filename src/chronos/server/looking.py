"""Looking into a data folder that no server uses, without changing a byte of it.

Whoever opens log and state writes into them: a boot record, and what a crash has left open is put in order. So what is
being written when a server dies is copied, closed segments are pointed at, and the copy is opened like any folder. It
lies where temporary files lie, without the keys, and goes in the end.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from chronos import __version__
from chronos.cluster.local import LocalLog
from chronos.errors import DataFolderInUse, NotFound
from chronos.model.formats import MARKER
from chronos.server.admission import refuse_member
from chronos.store.commandlog import CommandLog
from chronos.store.copying import HISTORY, STATE
from chronos.store.datafolder import DataFolder, DataFolderSettings
from chronos.store.exporting import Exporter
from chronos.store.history import closed_segments, segment_path
from chronos.store.sqlite import SqliteState
from chronos.store.sqlitefile import translated
from chronos.store.tables import META, Meta
from chronos.timing.clock import Chance, Clock

LOG = Path("log") / "log.db"
_TAIL = "-wal"


@contextmanager
def looked_into(folder: Path) -> Iterator[DataFolder]:
    """Yield an open data folder that says what `folder` says.

    Raises:
        NotFound: It is no data folder, or has no log yet.
        Invalid: It is a member's, whose log lies in its engine.
        DataFolderInUse: A server uses it; ask that one.
        FormatUnreadable: A newer release has written it.
        StorageFull: There is no room for the copy where temporary files lie (`TMPDIR`).
    """
    refuse_member(folder, "Ask the server of a member instead.")
    if not (folder / LOG).is_file():
        raise NotFound(f"{folder} is not a data folder, or has no log yet; --data-dir names the one of the server.")
    with tempfile.TemporaryDirectory(prefix="chronos-look-", ignore_cleanup_errors=True) as name:
        with _unused(folder), translated(Path(name)):
            _copy(folder, Path(name))
        with DataFolder(Path(name), DataFolderSettings(ballast_bytes=0)) as opened:
            yield opened


@asynccontextmanager
async def exporter_of(folder: Path, clock: Clock, chance: Chance) -> AsyncIterator[Exporter]:
    """Yield what exports the past of a data folder that no server uses.

    Raises: as `looked_into`, and
        LogDamaged: Log and state do not verify, or do not belong together.
    """
    with looked_into(folder) as copy:
        state = SqliteState(copy.path)
        async with LocalLog(copy.path / "log") as log:
            try:
                await state.start()
                await CommandLog(log, state, clock, chance).look()
                node = (state.get(META, "meta") or Meta()).leader
                yield Exporter(state, chance.bytes(32), version=__version__, node=node)
            finally:
                await state.stop()


@contextmanager
def _unused(folder: Path) -> Iterator[None]:
    """See to it that no server begins to use the folder before the block ends."""
    try:
        lock = os.open(folder / "LOCK", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        pid = os.pread(lock, 20, 0).decode(errors="replace").strip()
        raise DataFolderInUse(f"{folder} is used by process {pid or 'unknown'}.", pid=pid, folder=str(folder)) from None
    finally:
        os.close(lock)


def _copy(folder: Path, into: Path) -> None:
    for name in ("log", HISTORY):
        (into / name).mkdir(mode=0o700)
    for written in (Path(MARKER), Path(STATE), LOG):
        _copy_file(folder / written, into / written)
    history = folder / HISTORY
    closed = {segment_path(history, number) for number in closed_segments(history)}
    for path in sorted(history.iterdir()) if history.is_dir() else []:
        if path in closed and not _tail_of(path):
            (into / HISTORY / path.name).symlink_to(path.absolute())
        elif path.is_file() and path.suffix in (".db", ".json"):
            _copy_file(path, into / HISTORY / path.name)


def _copy_file(path: Path, into: Path) -> None:
    if not path.exists():
        return
    shutil.copyfile(path, into)
    if tail := _tail_of(path):
        shutil.copyfile(tail, into.with_name(into.name + _TAIL))


def _tail_of(path: Path) -> Path | None:
    """Return the write-ahead log of a file, if there is something in it."""
    tail = path.with_name(path.name + _TAIL)
    return tail if tail.exists() and tail.stat().st_size else None
