"""How the store opens a SQLite file, and what its errors mean."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import apsw

from chronos.errors import LogFailed, StateDamaged, StorageFull
from chronos.model.formats import FileFormat

T = TypeVar("T")

_TUNING = (
    "journal_mode=WAL",
    "wal_autocheckpoint=0",  # inside a commit it is a pause of tens of milliseconds; it has a turn of its own
    "fullfsync=1",
    "checkpoint_fullfsync=1",
    "journal_size_limit=67108864",
    "cache_size=-32768",
    "temp_store=MEMORY",
)
_BOOTS_MAX = 1 << 31

ROWS_AT_ONCE = 200

Pause = Callable[[], None]
"""What is done between two pieces of work, so that others get the core."""

PIECE_STEPS, PIECE_ROWS = 4_000, 500
"""What a piece is: of SQLite's work, in its own steps, and of ours; each a millisecond or two."""

CHECKED_BYTES_MAX = 64 * 1024 * 1024
"""Files up to this size are read whole at every start, to see whether they are what was written: about 0.4 s."""


def open_writer(
    path: Path, *, durable: bool, pages_max: int = 0, vfs: str | None = None, of: FileFormat | None = None
) -> apsw.Connection:
    """Return the one connection that may write `path`; what a crash has left in the write-ahead log is folded in.

    Args:
        durable: Whether a commit is fsynced.
        pages_max: The file's bound in pages; 0 is SQLite's own.
        vfs: The name of a file system registered with SQLite, for disks that fail on purpose.
        of: What kind of file it is; one whose format this release does not read is left as it is.

    Raises:
        FormatUnreadable: This release does not read its format.
    """
    db = apsw.Connection(str(path), vfs=vfs)
    # Only we checkpoint: after a failed fsync, closing must not carry dropped pages into the file.
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    db.set_busy_timeout(2_000)
    for pragma in _TUNING:
        db.execute("PRAGMA " + pragma)
    if of is not None:
        check_format(db, path, of)
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    record_boot(db)
    if not durable:
        db.execute("PRAGMA synchronous=NORMAL")
    if pages_max:
        db.pragma("max_page_count", pages_max)
    return db


def record_boot(db: apsw.Connection) -> None:
    """Commit one durable transaction, by which the write-ahead log begins anew: the file's openings are counted.

    A checkpoint alone is not enough after an fsync that failed. It writes into the file what the write-ahead log
    seems to hold, and empties the log; but that the log is empty is not durable. After a power cut the part of
    it that had reached the disk would be found again, and its old pages laid over the new ones.
    """
    db.pragma("user_version", (int(db.pragma("user_version")) + 1) % _BOOTS_MAX)


def open_reader(path: Path, vfs: str | None = None, of: FileFormat | None = None) -> apsw.Connection:
    """Return a connection that only reads `path`, and never checkpoints it.

    Raises:
        FormatUnreadable: It is of a kind `of` whose format this release does not read.
    """
    if path.is_symlink():  # of a folder that is only looked into: nothing is put beside it, not even an index
        where = f"file:{quote(str(path.resolve()))}?immutable=1"
        db = apsw.Connection(where, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI, vfs=vfs)
    else:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs)
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    db.set_busy_timeout(2_000)
    db.execute("PRAGMA query_only=1")
    db.execute("PRAGMA cache_size=-16384")
    if of is not None:
        check_format(db, path, of)
    return db


def check_format(db: apsw.Connection, path: Path, of: FileFormat) -> int:
    """Return the format that a file says it has; `of.current` for one that is still empty.

    Raises:
        FormatUnreadable: This release does not read it.
        StateDamaged: It is no format.
    """
    said = said_of(db) or {"format": of.current}
    try:
        # The first releases did not say the format of every file: it was the first.
        return of.check(path, said.get("format", 1), said.get("needs", ""))
    except ValueError as exc:
        raise damaged(path, str(exc)) from exc


def said_of(db: apsw.Connection) -> dict[str, Any]:
    """Return everything that a file says of itself; nothing when it is still empty."""
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone():
        return {}
    rows: Iterable[Any] = db.execute("SELECT key, value FROM meta")
    return dict(rows)


def note_format(db: apsw.Connection, of: FileFormat) -> None:
    """Write down the format of a file that does not say it, and which release reads it."""
    db.execute("INSERT OR IGNORE INTO meta VALUES ('format', ?), ('needs', ?)", (of.current, of.since))


def write_rows(db: apsw.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Execute an INSERT or DELETE of one row, `… VALUES (?, …) …`, for each of `rows`, in their order.

    Many rows go with one step: each step lets go of the interpreter, and has to wait for it again.
    """
    whole = len(rows) - len(rows) % ROWS_AT_ONCE
    for first in range(0, whole, ROWS_AT_ONCE):
        db.execute(_of_many(statement), tuple(chain.from_iterable(rows[first : first + ROWS_AT_ONCE])))
    db.executemany(statement, rows[whole:])


def in_pieces(rows: Iterable[T], pause: Pause) -> Iterator[T]:
    """Yield `rows`, with a pause behind each piece."""
    for number, row in enumerate(rows, 1):
        yield row
        if not number % PIECE_ROWS:
            pause()


def pausing(db: apsw.Connection, pause: Pause) -> None:
    """Let what SQLite does from now on be done in pieces."""

    def handler() -> bool:
        pause()
        return False  # go on

    db.set_progress_handler(handler, PIECE_STEPS)


@lru_cache(maxsize=20)
def _of_many(statement: str) -> str:
    head, one, rest = re.split(r"VALUES (\([?, ]+\))", statement)
    return head + "VALUES " + ", ".join([one] * ROWS_AT_ONCE) + rest


@contextmanager
def transaction(db: apsw.Connection) -> Iterator[apsw.Connection]:
    """Commit what is done inside, or none of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    finally:
        if db.in_transaction:  # when the disk was full, SQLite has rolled back by itself
            db.execute("ROLLBACK")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn the errors of SQLite and the file system into ours.

    Raises:
        StorageFull: Nothing was written; trying again later is fine.
        StateDamaged: The file is not what was written.
        LogFailed: Anything else; what is on disk is unknown.
    """
    try:
        yield
    except apsw.FullError as exc:
        raise StorageFull(file=str(path)) from exc
    except (apsw.CorruptError, apsw.NotADBError) as exc:
        raise damaged(path, str(exc)) from exc
    except (apsw.Error, OSError) as exc:
        if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(file=str(path)) from exc
        raise LogFailed(f"Using {path} failed: {exc}. Check the disk, then start again.") from exc


def damaged(path: Path, why: str = "it is not what was written") -> StateDamaged:
    """Return the error for a file that is not what was written."""
    return StateDamaged(
        f"{path} is damaged: {why}. `chronos recover --rebuild-state` folds state and history anew from the log, as "
        "long as the log still has its first entry; else restore a backup.",
        file=str(path),
    )


def check_pages(db: apsw.Connection) -> bool:
    """Whether a file's pages are in order; one that is too big to be read at every start is taken to be."""
    size = int(db.pragma("page_count")) * int(db.pragma("page_size"))
    return size > CHECKED_BYTES_MAX or db.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]
