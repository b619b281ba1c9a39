"""One SQLite file of chained entries. Synchronous; belongs to one thread."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from chronos.cluster.port import Entry
from chronos.errors import Fenced, FormatUnreadable, LogDamaged, LogFailed, SnapshotNeeded, StorageFull
from chronos.failpoints import reach
from chronos.model.formats import LOG

ROOT = bytes(32)
"""What the very first entry is chained to."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
  idx INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, length INTEGER NOT NULL, data BLOB NOT NULL, hash BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('base', 0), ('base_hash', zeroblob(32));
"""


class Fork(NamedTuple):
    """A log that was cut off, because what came behind did not verify.

    Attributes:
        last_good: The last entry that did.
        lost_to: The last entry that there seemed to be.
        goes_on_at: The first entry of the log from then on.
        time_us: When it was cut off.
    """

    last_good: int
    lost_to: int
    goes_on_at: int
    time_us: int


def link(before: bytes, index: int, epoch: int, data: bytes) -> bytes:
    """Return the hash of an entry: BLAKE2b-256 over its predecessor's hash, its place, its length and its bytes."""
    head = b"".join(number.to_bytes(8, "big") for number in (index, epoch, len(data)))
    return hashlib.blake2b(before + head + data, digest_size=32).digest()


class LogFile:
    """The entries in one file.

    After an input/output error every call answers `LogFailed`: what a failed fsync has left behind looks written
    and is not, and only a new process, after a checkpoint and a boot record, may build on it.
    """

    def __init__(self, path: Path, bytes_max: int, vfs: str | None = None) -> None:
        self._path = path
        self._vfs = vfs
        self._bytes_max = bytes_max
        self._db: apsw.Connection | None = None
        self._base = 0
        self._base_hash = ROOT
        self._last = 0
        self._last_hash = ROOT
        self._size: int | None = None  # counted when everything is read anyway, or when somebody asks
        self._wal_pages = 0
        self._broken: LogFailed | None = None

    def open(self) -> None:
        """Open or create the file, folding in what a crash has left in its write-ahead log.

        Raises:
            FormatUnreadable: This release does not read its format. The file is left as it is.
        """
        with self._translated():
            self._db = db = apsw.Connection(str(self._path), vfs=self._vfs)
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            db.set_busy_timeout(2_000)
            # Exclusive: nobody else has business here, and the index of the write-ahead log stays in memory.
            for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0"):
                db.execute("PRAGMA " + pragma)
            for pragma in ("fullfsync=1", "checkpoint_fullfsync=1", "journal_size_limit=67108864"):
                db.execute("PRAGMA " + pragma)
            db.set_wal_hook(self._on_commit)
            self._check_format(db)
            with _transaction(db):
                db.execute(_SCHEMA)
                db.execute("INSERT OR IGNORE INTO meta VALUES ('format', ?), ('needs', ?)", (LOG.current, LOG.since))
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            _record_boot(db)
            page_size = int(db.pragma("page_size"))
            db.pragma("max_page_count", max(self._bytes_max // page_size, 1))
            self._load_ends(db)

    def _check_format(self, db: apsw.Connection) -> None:
        if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone():
            return
        said = dict(db.execute("SELECT key, value FROM meta WHERE key IN ('format', 'needs')"))
        try:
            LOG.check(self._path, said.get("format", 1), said.get("needs", ""))
        except ValueError as exc:
            raise self._damaged(None) from exc
        except FormatUnreadable:
            self.abandon()  # closing it would write into it
            raise

    def _on_commit(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _load_ends(self, db: apsw.Connection) -> None:
        meta = dict(db.execute("SELECT key, value FROM meta"))
        self._base, self._base_hash = int(meta["base"]), bytes(meta["base_hash"])
        newest = db.execute("SELECT idx, hash FROM entries ORDER BY idx DESC LIMIT 1").fetchone()
        self._last, self._last_hash = newest or (self._base, self._base_hash)
        self._size = None

    def close(self) -> None:
        """Close the file; fold in the write-ahead log unless something broke or there is no space for it."""
        if self._db is None:
            return
        try:
            if self._broken is None:
                self.checkpoint()
        except StorageFull:
            pass  # everything is in the write-ahead log, and the next start folds it in
        finally:
            self._db.close()
            self._db = None

    def abandon(self) -> None:
        """Close the file as it is."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def checkpoint(self) -> None:
        """Fold the write-ahead log into the file; the next append starts it anew."""
        with self._translated():
            # Not TRUNCATE: writing over a file costs less than making it longer again.
            self._open().execute("PRAGMA wal_checkpoint(PASSIVE)")
            reach("log.checkpoint-midway")
            self._wal_pages = 0

    def append(self, index: int, data: bytes, epoch: int) -> int:
        """Write an entry durably and return how many pages the write-ahead log has by now."""
        if index <= self._last:
            self._same_as_before(index, data)
            return self._wal_pages
        if index > self._last + 1:
            raise ValueError(f"entry {index} would leave a gap after {self._last}")
        chained = link(self._last_hash, index, epoch, data)
        reach("log.append-before")
        with self._translated():
            self._open().execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", (index, epoch, len(data), data, chained))
        reach("log.append-after")
        self._last, self._last_hash = index, chained
        self._grow(len(data))
        return self._wal_pages

    def _same_as_before(self, index: int, data: bytes) -> None:
        with self._translated():
            row = self._open().execute("SELECT data FROM entries WHERE idx = ?", (index,)).fetchone()
        if row is None or row[0] != data:
            raise Fenced(f"Entry {index} holds other bytes already.")

    def bounds(self) -> tuple[int, int]:
        """Return the first retained and the last index."""
        self._open()
        return self._base + 1, self._last

    def size(self) -> int:
        """Return what the retained entries weigh."""
        if self._size is None:
            with self._translated():
                self._size = _weight(self._open(), self._last)
        return self._size

    def _grow(self, by: int) -> None:
        if self._size is not None:
            self._size += by

    def read(self, frm: int, to: int, most: int) -> list[Entry]:
        """Return at most `most` entries from `frm` to `to`, verified."""
        if frm <= self._base:
            raise SnapshotNeeded(first=self._base + 1)
        return list(self._verified(frm, min(to, frm + most - 1)))

    def verify(self) -> int:
        """Verify every entry, and that the file itself is in order; return how many entries there are."""
        count = size = 0
        for entry in self._verified(self._base + 1, self._last):
            count, size = count + 1, size + len(entry.data)
        self._size = size
        with self._translated():
            # Damage beside the entries, in the list of free pages for instance, would show when it is too late.
            if self._open().execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
                raise self._damaged(self._last)
        return count

    def _verified(self, frm: int, to: int) -> Iterator[Entry]:
        good = frm - 1
        try:
            before = self._hash_of(good)
            for index, epoch, length, data, chained in self._open().execute(
                "SELECT idx, epoch, length, data, hash FROM entries WHERE idx BETWEEN ? AND ? ORDER BY idx", (frm, to)
            ):
                if index != good + 1 or length != len(data) or chained != link(before, index, epoch, data):
                    break
                yield Entry(index, epoch, data)
                good, before = index, chained
        except (apsw.CorruptError, apsw.NotADBError) as exc:
            raise self._damaged(good) from exc
        except apsw.Error as exc:
            raise self._break(exc) from exc
        if good != to:
            raise self._damaged(good)

    def _hash_of(self, index: int) -> bytes:
        if index == self._base:
            return self._base_hash
        row = self._open().execute("SELECT hash FROM entries WHERE idx = ?", (index,)).fetchone()
        return bytes(row[0]) if row else b""

    def keep_from(self, entries: int, size: int) -> int:
        """Return the lowest index from which on at most `entries` entries of `size` bytes remain."""
        if self._last - self._base > entries:
            return self._newest_of(entries, size)
        # From the other end: what is too much is usually little, and the rest need not be looked at.
        first, excess = self._base + 1, self.size() - size
        with self._translated():
            for index, length in self._open().execute("SELECT idx, length FROM entries ORDER BY idx"):
                if excess <= 0:
                    break
                first, excess = index + 1, excess - length
        return min(first, self._last)

    def _newest_of(self, entries: int, size: int) -> int:
        first, total = self._last, 0
        with self._translated():
            rows = self._open().execute("SELECT idx, length FROM entries ORDER BY idx DESC LIMIT ?", (entries,))
            for index, length in rows:
                total += length
                if total > size:
                    break
                first = index
        return first

    def truncate(self, below: int, most: int) -> bool:
        """Delete at most `most` entries below `below`, the newest never; return whether there is more to delete."""
        below = min(below, self._last)
        upto = min(below - 1, self._base + most)
        if upto <= self._base:
            return False
        with self._translated():
            base_hash = self._hash_of(upto)
            gone = _weight(self._open(), upto)
            with _transaction(self._open()) as db:
                db.execute("DELETE FROM entries WHERE idx <= ?", (upto,))
                reach("log.truncate-midway")
                db.execute("UPDATE meta SET value = ? WHERE key = 'base'", (upto,))
                db.execute("UPDATE meta SET value = ? WHERE key = 'base_hash'", (base_hash,))
        self._base, self._base_hash = upto, base_hash
        self._grow(-gone)
        return upto < below - 1

    def fork(self, fork: Fork, base: int, base_hash: bytes, entries: Iterable[Entry]) -> None:
        """Fill an empty log with the entries that another one still has, and record that it has lost the others."""
        self.begin_after(base, base_hash)
        self.extend(entries)
        self.record(fork)

    def begin_after(self, base: int, base_hash: bytes) -> None:
        """Let an empty log begin behind the entry `base`."""
        with self._translated(), _transaction(self._open()) as db:
            db.execute("UPDATE meta SET value = ? WHERE key = 'base'", (base,))
            db.execute("UPDATE meta SET value = ? WHERE key = 'base_hash'", (base_hash,))
        self._load_ends(self._open())

    def extend(self, entries: Iterable[Entry]) -> None:
        """Take in the entries that follow the last one, in one transaction."""
        before = self._last_hash
        with self._translated(), _transaction(self._open()) as db:
            for index, epoch, data in entries:
                before = link(before, index, epoch, data)
                db.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", (index, epoch, len(data), data, before))
        self._load_ends(self._open())

    def record(self, fork: Fork) -> None:
        """Remember where a log was cut off."""
        with self._translated(), _transaction(self._open()) as db:
            db.execute(
                "CREATE TABLE IF NOT EXISTS forks (last_good INTEGER, lost_to INTEGER, goes_on_at INTEGER, time_us)"
            )
            db.execute("INSERT INTO forks VALUES (?, ?, ?, ?)", fork)

    @property
    def base(self) -> tuple[int, bytes]:
        """The last entry that was forgotten, and its hash."""
        return self._base, self._base_hash

    def hash_of(self, index: int) -> bytes:
        """Return the hash of an entry that was verified before."""
        return self._hash_of(index)

    def forks(self) -> list[Fork]:
        """Return where this log was cut off, oldest first."""
        with self._translated():
            if not self._open().execute("SELECT 1 FROM sqlite_schema WHERE name = 'forks'").fetchone():
                return []
            rows: list[Any] = (
                self._open().execute("SELECT last_good, lost_to, goes_on_at, time_us FROM forks").fetchall()
            )
        return [Fork(*row) for row in rows]

    def _open(self) -> apsw.Connection:
        if self._broken is not None:
            raise self._broken
        if self._db is None:
            raise LogFailed("The log is not open.")
        return self._db

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except apsw.FullError as exc:
            raise StorageFull(log=str(self._path)) from exc
        except (apsw.CorruptError, apsw.NotADBError) as exc:
            raise self._damaged(None) from exc
        except apsw.Error as exc:
            raise self._break(exc) from exc

    def _break(self, exc: apsw.Error) -> LogFailed:
        self._broken = LogFailed(f"Writing {self._path} failed: {exc}. Check the disk, then start again.")
        return self._broken

    def _damaged(self, good: int | None) -> LogDamaged:
        upto = "" if good is None else f" after entry {good}"
        return LogDamaged(
            f"The log {self._path} does not verify{upto}. Restore a backup, or cut it off there: "
            f"`chronos recover --truncate-at {'INDEX' if good is None else good}` (what lies behind is lost).",
            log=str(self._path),
            last_good=good,
        )


def _weight(db: apsw.Connection, upto: int) -> int:
    """Return what the entries up to `upto` weigh."""
    rows: list[Any] = db.execute("SELECT coalesce(sum(length), 0) FROM entries WHERE idx <= ?", (upto,)).fetchall()
    return int(rows[0][0])


def _record_boot(db: apsw.Connection) -> None:
    """Commit one durable transaction, by which the write-ahead log begins anew: the file's openings are counted.

    After an fsync that failed, a checkpoint alone is not enough: that it has emptied the write-ahead log is not
    durable, and a power cut would lay old pages, which had reached the disk before, over the new ones.
    """
    db.pragma("user_version", (int(db.pragma("user_version")) + 1) % (1 << 31))


@contextmanager
def _transaction(db: apsw.Connection) -> Iterator[apsw.Connection]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    finally:
        if db.in_transaction:  # SQLite has rolled back by itself when the disk was full
            db.execute("ROLLBACK")
