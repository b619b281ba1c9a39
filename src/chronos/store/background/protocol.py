"""What the server says to the process that writes its files, and what that answers: frames of msgpack.

    server ─▶ process   open state · rows of state* · write state
                        open segment · (executions | ranges)* · write segment · catch up · finish · note
                        checkpoint · close
    server ◀─ process   how state stands · how a segment stands · closed · failed

Rows are gathered until one says that they are to be written, and every other message has one answer.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from chronos.store.segment import SegmentInfo
from chronos.store.state import Key

FRAME_BYTES_MAX = 1 << 30
ROWS_MAX = 500
"""Rows in one frame: to encode more would keep the server's event loop waiting for longer than half a millisecond."""


class _Message(Struct, frozen=True, array_like=True, tag=True):
    """One frame."""


class OpenState(_Message, frozen=True, array_like=True):
    """Open state.db."""

    path: str
    pages_max: int


class StateRows(_Message, frozen=True, array_like=True):
    """Rows of state.db, each in the bytes that it is kept as; nil for one that is to go."""

    rows: list[tuple[Key, msgspec.Raw]]


class WriteState(_Message, frozen=True, array_like=True):
    """Write the rows that were told: see `StateWriter.write`."""

    path: str
    applied: int
    time_us: int
    fresh: list[Key]


class OpenSegment(_Message, frozen=True, array_like=True):
    """Open a segment, or begin it as `fresh`."""

    path: str
    fresh: SegmentInfo


class Executions(_Message, frozen=True, array_like=True):
    """Executions that have ended, each in the bytes that it is kept as."""

    rows: list[msgspec.Raw]


class Ranges(_Message, frozen=True, array_like=True):
    """Range records, in the same way."""

    rows: list[msgspec.Raw]


class WriteSegment(_Message, frozen=True, array_like=True):
    """Write the executions and ranges that were told: see `SegmentWriter.write`."""

    path: str
    complete_to: int
    time_us: int


class CatchUp(_Message, frozen=True, array_like=True):
    """See `SegmentWriter.catch_up`."""

    path: str


class Finish(_Message, frozen=True, array_like=True):
    """See `SegmentWriter.finish`."""

    path: str
    closed_us: int
    known: dict[str, Any]


class Note(_Message, frozen=True, array_like=True):
    """See `SegmentWriter.note`."""

    path: str
    known: dict[str, Any]


class Checkpoint(_Message, frozen=True, array_like=True):
    """Fold the write-ahead log of a file in."""

    path: str


class Close(_Message, frozen=True, array_like=True):
    """Close a file."""

    path: str


Row = StateRows | Executions | Ranges
OfSegment = OpenSegment | WriteSegment | CatchUp | Finish | Note
Request = OpenState | WriteState | OfSegment | Checkpoint | Close


class Do(_Message, frozen=True, array_like=True):
    """Do something.

    Attributes:
        is_patient: Whether it may take long when others need the cores.
    """

    request: Request
    is_patient: bool


class StateIs(_Message, frozen=True, array_like=True):
    """How state.db stands: the attributes of `StateWriter`, the digest in 16 bytes."""

    applied: int
    time_us: int
    digest: bytes
    durable: int
    wal_pages: int


class SegmentIs(_Message, frozen=True, array_like=True):
    """How a segment stands: the attributes of `SegmentWriter`."""

    info: SegmentInfo
    waiting: int
    wal_pages: int


class Closed(_Message, frozen=True, array_like=True):
    """The file is closed."""


class Failed(_Message, frozen=True, array_like=True):
    """It was not done, for this reason: the slug of an error, and its message."""

    slug: str
    message: str


Answer = StateIs | SegmentIs | Closed | Failed

told: msgspec.msgpack.Decoder[Row | Do] = msgspec.msgpack.Decoder(Row | Do)
answer: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
