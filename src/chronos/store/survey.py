"""What formats the files of a data folder are of, and which of them this release would refuse. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from chronos.errors import ChronosError
from chronos.model.formats import (
    FOLDER,
    KEY,
    LOG,
    MANIFEST,
    MARKER,
    SEGMENT,
    STATE,
    FileFormat,
    key_format,
    read_marker,
)
from chronos.store.history import MANIFEST as MANIFEST_NAME
from chronos.store.history import manifest_head
from chronos.store.sqlitefile import open_reader, said_of, translated


class Surveyed(Struct, frozen=True, kw_only=True):
    """One file.

    Attributes:
        file: Its path in the folder.
        format: What it says; 0 when it cannot be read.
        reads: What this release reads of its kind.
        needs: The first release that reads it, as far as it says so.
        refused: Why this release would not open it; empty when it would.
        note: Why `format` is not known although nothing is wrong.
    """

    file: str
    what: str
    format: int = 0
    reads: str
    needs: str = ""
    refused: str = ""
    note: str = ""


class LogFound(Struct, frozen=True, kw_only=True):
    """The log of a server that does not run.

    Attributes:
        backup_entry: The last entry of the last backup; 0 when there was none.
        reaches_backup: Whether the log goes on from there: then every instant since can be restored.
    """

    first: int
    last: int
    bytes: int
    backup_entry: int = 0
    reaches_backup: bool = False


class _BackupSaid(Struct):
    entry: int = 0


def look_at_log(folder: Path) -> LogFound | None:
    """Return how the log of a data folder stands; None while a server has it open, or when it cannot be read."""
    path = folder / "log" / "log.db"
    if not path.exists():
        return None
    try:
        db = open_reader(path)
        try:
            base = int(dict(db.execute("SELECT key, value FROM meta"))["base"])
            rows: list[Any] = db.execute("SELECT max(idx), coalesce(sum(length), 0) FROM entries").fetchall()
        finally:
            db.close()
    except (apsw.Error, KeyError, ValueError):
        return None
    entry, (last, size) = _last_backed_up(folder), rows[0]
    return LogFound(
        first=base + 1, last=last or base, bytes=size, backup_entry=entry, reaches_backup=entry > 0 and base <= entry
    )


def _last_backed_up(folder: Path) -> int:
    try:
        return msgspec.json.decode((folder / "last-backup.json").read_bytes(), type=_BackupSaid).entry
    except (OSError, msgspec.MsgspecError):
        return 0


class _InUse(Exception):
    """A server has the file open."""


def survey(folder: Path) -> list[Surveyed]:
    """Return the files of a data folder that have a format, in the order in which a start opens them."""
    return [_look(folder, path, of) for path, of in _files(folder)]


def _files(folder: Path) -> Iterator[tuple[Path, FileFormat]]:
    yield folder / MARKER, FOLDER
    for path in sorted((folder / "keys").glob("*")):
        yield path, KEY
    yield folder / "log" / "log.db", LOG
    yield folder / "state.db", STATE
    if (folder / "history" / MANIFEST_NAME).exists():
        yield folder / "history" / MANIFEST_NAME, MANIFEST
    for path in sorted((folder / "history").glob("[0-9]*.db")):
        yield path, SEGMENT


def _look(folder: Path, path: Path, of: FileFormat) -> Surveyed:
    name = path.relative_to(folder).as_posix()
    found = Surveyed(file=name, what=of.what, reads=of.reads)
    try:
        said, needs = _said(folder, path, of)
        found = replace(found, format=said, needs=needs)
        of.check(path, said, needs)
    except _InUse:
        return replace(found, note="a server has it open, and says its format in its log")
    except (ChronosError, ValueError, OSError) as exc:
        return replace(found, refused=str(exc))
    return found


def _said(folder: Path, path: Path, of: FileFormat) -> tuple[int, str]:
    """Return what a file says of its format, and the release it names."""
    if of is FOLDER:
        marker = read_marker(folder)
        return (marker.format, marker.needs) if marker else (1, "")
    if of is KEY:
        return key_format(path.read_text(errors="replace"))
    if of is MANIFEST:
        return manifest_head(path.read_bytes())
    if not path.exists():
        raise ValueError("it is not there")
    with translated(path):
        return _said_by_database(path)


def _said_by_database(path: Path) -> tuple[int, str]:
    try:
        db = open_reader(path)
        try:
            said = said_of(db)
        finally:
            db.close()
    except apsw.BusyError as exc:
        raise _InUse from exc
    return int(said.get("format", 1)), str(said.get("needs", ""))
