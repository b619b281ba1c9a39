"""A log as a plain stream of entries: for backups, and for whoever wants to read one without SQLite."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from chronos.cluster.logfile import Fork, LogFile, link
from chronos.cluster.port import Entry
from chronos.errors import LogDamaged

_HEAD = struct.Struct(">QQI")
_ENTRY_BYTES_MAX = 256 << 20
_BYTES_MAX = 1 << 40
_BATCH = 500


def packed(entry: Entry) -> bytes:
    """Return an entry's bytes in the stream: index, epoch and length, big-endian, and its data."""
    return _HEAD.pack(entry.index, entry.epoch, len(entry.data)) + entry.data


def entries_in(file: BinaryIO) -> Iterator[Entry]:
    """Yield the entries of a stream.

    Raises:
        LogDamaged: It ends in the middle of one.
    """
    while head := file.read(_HEAD.size):
        if len(head) != _HEAD.size:
            raise LogDamaged("The copy of the log ends in the middle of an entry.")
        index, epoch, length = _HEAD.unpack(head)
        data = file.read(length) if length <= _ENTRY_BYTES_MAX else b""
        if len(data) != length:
            raise LogDamaged(f"The copy of the log ends in the middle of entry {index}.")
        yield Entry(index, epoch, data)


def chained(entries: Iterator[Entry], before: int, before_hash: bytes) -> Iterator[tuple[Entry, bytes]]:
    """Yield each entry with its hash, chained to the entry `before`.

    Raises:
        LogDamaged: One is missing.
    """
    for entry in entries:
        if entry.index != before + 1:
            raise LogDamaged(f"In the copy of the log, entry {entry.index} follows {before}.")
        before, before_hash = entry.index, link(before_hash, entry.index, entry.epoch, entry.data)
        yield entry, before_hash


def write_log(path: Path, base: int, base_hash: bytes, entries: Iterator[Entry], forks: Sequence[Fork]) -> None:
    """Make a log that holds `entries`, which follow entry `base`, and remembers `forks`."""
    file = LogFile(path, _BYTES_MAX)
    file.open()
    try:
        file.begin_after(base, base_hash)
        batch: list[Entry] = []
        for entry in entries:
            batch.append(entry)
            if len(batch) == _BATCH:
                file.extend(batch)
                batch = []
        file.extend(batch)
        for fork in forks:
            file.record(fork)
    finally:
        file.close()
