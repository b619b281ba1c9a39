"""Going on with a log that is damaged: what verifies is copied to a new file, the old one is set aside."""

from __future__ import annotations

import os
from pathlib import Path

from chronos.cluster.logfile import Fork, LogFile, link
from chronos.cluster.port import Entry
from chronos.errors import LogDamaged

_BYTES_MAX = 1 << 40
_BATCH = 256
_FORK_EPOCH = 0
"""No leader ever has it: an entry can never look like the seam of a fork."""


def good_entries(path: Path) -> tuple[int, int]:
    """Return the first entry, and the last one that verifies.

    Raises:
        LogDamaged: The file cannot be read at all.
    """
    file = LogFile(path, _BYTES_MAX)
    try:
        file.open()
        file.verify()
        return file.bounds()
    except LogDamaged as damage:
        good = damage.facts["last_good"]
        if not isinstance(good, int):
            raise
        return file.base[0] + 1, good
    finally:
        file.abandon()


def recover(path: Path, truncate_at: int, *, applied: int = 0, time_us: int = 0) -> Fork:
    """Cut a log off after entry `truncate_at`; what was cut off stays beside it, as `NAME.damaged-INDEX`.

    Args:
        applied: The last entry that state has folded. When state is ahead of what is left, the log goes on behind it:
            what is in state has been verified, acknowledged and acted upon.

    Raises:
        LogDamaged: What would be left does not verify either.
    """
    damaged, fresh = LogFile(path, _BYTES_MAX), LogFile(_beside(path, "recovered"), _BYTES_MAX)
    _remove(_beside(path, "recovered"))
    try:
        damaged.open()
        fork = _copy(damaged, fresh, truncate_at, applied, time_us)
    finally:
        damaged.abandon()
        fresh.close()
    _swap(path, _beside(path, f"damaged-{truncate_at}"), _beside(path, "recovered"))
    return fork


def _copy(damaged: LogFile, fresh: LogFile, truncate_at: int, applied: int, time_us: int) -> Fork:
    first, last = damaged.bounds()
    truncate_at = min(truncate_at, last)
    entries: list[Entry] = []
    while first + len(entries) <= truncate_at:
        entries += damaged.read(first + len(entries), truncate_at, _BATCH)
    fresh.open()
    base, base_hash = damaged.base
    fork = Fork(truncate_at, last, first, time_us)
    if applied > truncate_at:
        fork = fork._replace(goes_on_at=applied + 1)
        before = damaged.hash_of(truncate_at) if entries else base_hash
        base, base_hash, entries = applied, link(before, applied, _FORK_EPOCH, b"fork"), []
    fresh.fork(fork, base, base_hash, entries)
    fresh.verify()
    return fork


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.name}.{name}")


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _swap(path: Path, aside: Path, fresh: Path) -> None:
    for suffix in ("", "-wal"):
        if path.with_name(path.name + suffix).exists():
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    for suffix in ("-wal", ""):  # a database without its write-ahead log would be an older one
        if fresh.with_name(fresh.name + suffix).exists():
            fresh.with_name(fresh.name + suffix).rename(path.with_name(path.name + suffix))
    _remove(fresh)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
