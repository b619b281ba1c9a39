"""Bringing a data folder up to this release's format: ordered steps, each of which may be interrupted anywhere.

`FORMAT` names the format that a step leads to before the step touches anything, so an older release refuses the folder
from then on, and also the one that is being changed, so that this release goes on with the same step. A step is run
again after a crash: what it has changed already has to look changed to it. The helpers below see to that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw
import msgspec
import structlog
from msgspec import Struct

from chronos import __version__
from chronos.model.formats import FOLDER, MARKER, FileFormat, Marker, check_marker, read_marker
from chronos.store.sqlitefile import check_format, open_writer, transaction, translated

log = structlog.get_logger("chronos.upgrade")

FIRST = 1
"""The format of a folder that does not say it."""


class Step(Struct, frozen=True):
    """One step up.

    Attributes:
        to: The folder's format afterwards.
        since: The first release that reads it.
        what: What it changes, for the log.
        run: Does it, to the folder. Run again after a crash; has to bear finding its own work, done or half done.
    """

    to: int
    since: str
    what: str
    run: Callable[[Path], None]


STEPS: tuple[Step, ...] = ()
"""Every step there ever was, in order: format 2 is reached by the first, and `FOLDER.current` by the last."""


def bring_up(folder: Path, steps: Sequence[Step] = STEPS, of: FileFormat = FOLDER) -> Marker:
    """Bring a locked data folder up to this release's format; return what `FORMAT` says then.

    Raises:
        FormatUnreadable: A newer release has written it; nothing was changed.
        StateDamaged: `FORMAT` is not what was written.
        StorageFull: There was no space; the next start goes on with it.
    """
    marker = read_marker(folder)
    if marker is not None:
        check_marker(folder, marker, of)
    reached = FIRST if marker is None else marker.upgrading_from or marker.format
    for step in steps:
        if step.to > reached:
            _take(folder, step)
            reached = step.to
    settled = Marker(format=of.current, needs=of.since, written_by=__version__)
    if marker is None or marker.upgrading_from or marker.format != settled.format:
        _write_marker(folder, settled)
        return settled
    return marker


def _take(folder: Path, step: Step) -> None:
    log.info("upgrading", folder=str(folder), format=step.to, what=step.what)
    under_way = Marker(format=step.to, needs=step.since, written_by=__version__, upgrading_from=step.to - 1)
    _write_marker(folder, under_way)
    step.run(folder)


def _write_marker(folder: Path, marker: Marker) -> None:
    replace_file(folder / MARKER, msgspec.json.encode(marker) + b"\n")


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file as a whole, durably: after a crash it holds what it held before, or `data`.

    Raises:
        StorageFull: There was no space; the file is as it was.
    """
    fresh = path.with_name(path.name + ".new")
    with translated(path):
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        _sync_folder(path.parent)


def change_database(path: Path, of: FileFormat, change: Callable[[apsw.Connection], None]) -> bool:
    """Change a database of the data folder in one transaction, and its format with it; return whether it had to be.

    Args:
        of: What it is afterwards; a file that is that already is left alone.

    Raises:
        StorageFull: There was no space; the file is as it was.
        StateDamaged: It is not what was written.
    """
    with translated(path):
        db = open_writer(path, durable=True, of=of)
        try:
            if check_format(db, path, of) == of.current:
                return False
            with transaction(db):
                change(db)
                row = [("format", of.current), ("needs", of.since)]
                db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", row)
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return True
        finally:
            db.close()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
