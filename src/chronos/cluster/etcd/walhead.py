"""Whose data this is: the member and the cluster that the engine wrote at the head of its log, read without it.

Source:
    https://github.com/etcd-io/etcd/blob/main/server/storage/wal/wal.go: frames of a length, whose highest byte counts
    the padding, and a record of protobuf; a checksum comes first, what the log is of second.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HEAD_BYTES = 4_096
_LENGTH_MASK = (1 << 56) - 1
_METADATA = 1


class Owner(NamedTuple):
    """The engine's own numbers, in hexadecimal, as it shows them."""

    member_id: str
    cluster_id: str


def owner(wal: Path) -> Owner | None:
    """Return whose log is in a folder; None when there is none, or it cannot be read."""
    first = min(wal.glob("*.wal"), default=None)
    if first is None:
        return None
    try:
        with first.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        return _owner_in(head)
    except (OSError, ValueError):
        return None


def _owner_in(head: bytes) -> Owner | None:
    for record in _records(head):
        fields = dict(_fields(record))
        if fields.get(1) == _METADATA and isinstance(data := fields.get(3), bytes):
            metadata = dict(_fields(data))
            member, cluster = metadata.get(1), metadata.get(2)
            if isinstance(member, int) and isinstance(cluster, int):
                return Owner(f"{member:x}", f"{cluster:x}")
    return None


def _records(head: bytes) -> Iterator[bytes]:
    at = 0
    while at + 8 <= len(head):
        field = int.from_bytes(head[at : at + 8], "little")
        length = field & _LENGTH_MASK
        padding = (field >> 56) & 0x7 if field >> 63 else 0
        if not 0 < length <= len(head) - at - 8:
            return
        yield head[at + 8 : at + 8 + length]
        at += 8 + length + padding


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of a message's fields; only of the two kinds that the log's head has.

    Raises:
        ValueError: It has others, or is cut short.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        value, at = _varint(message, at)
        if key & 7 == 0:
            yield key >> 3, value
        elif key & 7 == 2 and at + value <= len(message):
            yield key >> 3, message[at : at + value]
            at += value
        else:
            raise ValueError("no head of a log")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("no head of a log")
