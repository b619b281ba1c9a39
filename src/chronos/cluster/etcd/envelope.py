"""What lies in etcd for an entry: its bytes, and a head by which they are verified and weighed.

    format u8 │ packing u8 │ epoch u64 │ before u64 │ length u32 │ crc u32 │ data

`before` is what all entries before this one weigh together, since the log began. So the weight of any stretch of the
log is known from its two ends, without reading what lies between.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from typing import NamedTuple

from chronos.cluster.port import Entry
from chronos.errors import FormatUnreadable, LogDamaged

FORMAT = 1

_HEAD = struct.Struct(">BBQQII")
_SEALED = struct.Struct(">BQQQI")
_PLAIN, _ZLIB = 0, 1
_PACKED_FROM_BYTES = 4_096
_IN_A_THREAD_FROM_BYTES = 64 * 1_024
_BYTES_MAX = 64 << 20


class Sealed(NamedTuple):
    """An entry as it lies in etcd, opened and verified.

    Attributes:
        before: What the entries before it weigh together.
    """

    entry: Entry
    before: int

    @property
    def upto(self) -> int:
        """What the entries up to this one weigh together."""
        return self.before + len(self.entry.data)


class _Head(NamedTuple):
    """What is verified with an entry's bytes; its index is the name of its key."""

    packing: int
    index: int  # type: ignore[assignment]  # a tuple's own method of this name is never called here
    epoch: int
    before: int
    length: int

    def crc(self, packed: bytes) -> int:
        return zlib.crc32(packed, zlib.crc32(_SEALED.pack(*self)))


async def seal(entry: Entry, before: int) -> bytes:
    """Return the bytes that go to etcd for an entry; what is big is compressed, if that makes it smaller."""
    packing, packed = _PLAIN, entry.data
    if len(entry.data) >= _IN_A_THREAD_FROM_BYTES:
        packed = await asyncio.to_thread(zlib.compress, entry.data, 1)
    elif len(entry.data) >= _PACKED_FROM_BYTES:
        packed = zlib.compress(entry.data, 1)
    if len(packed) < len(entry.data):
        packing = _ZLIB
    else:
        packed = entry.data
    head = _Head(packing, entry.index, entry.epoch, before, len(entry.data))
    return _HEAD.pack(FORMAT, packing, entry.epoch, before, head.length, head.crc(packed)) + packed


def unseal(index: int, value: bytes) -> Sealed:
    """Return the entry that lies at `index` as `value`.

    Raises:
        LogDamaged: It does not verify.
        FormatUnreadable: A newer release wrote it.
    """
    if len(value) < _HEAD.size:
        raise _damaged(index)
    form, packing, epoch, before, length, crc = _HEAD.unpack_from(value)
    if form < 1:
        raise _damaged(index)
    if form > FORMAT:
        raise FormatUnreadable(
            f"Entry {index} of the cluster's log is of format {form}; this release reads format {FORMAT}. "
            "Bring this node to the release of the others.",
            format=form,
        )
    packed = value[_HEAD.size :]
    if crc != _Head(packing, index, epoch, before, length).crc(packed):
        raise _damaged(index)
    data = _unpacked(index, packed, length) if packing == _ZLIB else packed
    if len(data) != length:
        raise _damaged(index)
    return Sealed(Entry(index, epoch, data), before)


def _unpacked(index: int, packed: bytes, length: int) -> bytes:
    if length > _BYTES_MAX:
        raise _damaged(index)
    try:
        return zlib.decompressobj().decompress(packed, length)
    except zlib.error as exc:
        raise _damaged(index) from exc


def _damaged(index: int) -> LogDamaged:
    return LogDamaged(
        f"Entry {index} of the cluster's log does not verify on this node. Stop it, remove it from the cluster and "
        "add it again: it then gets everything from the others.",
        last_good=index - 1,
    )
