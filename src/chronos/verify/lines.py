"""The lines of an export, as docs/reference/export-format.md describes them: only what verification needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, get_args

import msgspec
from msgspec import Raw, Struct

from chronos.verify.hashes import instant_in

FORMAT: Final = 1
LINE_BYTES_MAX: Final = 16 * 1024 * 1024


class Header(Struct, tag="header", kw_only=True):
    """What this is, and up to where."""

    format: int = FORMAT
    index: int = 0
    time_us: int = 0
    namespace: str | None = None
    since_s: int = 0
    until_s: int = 0
    job_id: str = ""
    proof: bool = True
    resumed: str = ""
    sealed: int = 0
    seal_hash: str = ""
    changes: int = 0
    changes_hash: str = ""
    hwm_s: int = 0
    catchup_from_s: int = 0
    catchup_to_s: int = 0
    catchup_cursor: str = ""
    tzdata: str = ""


class Change(Struct, kw_only=True):
    """A change of what jobs owe."""

    seq: int
    data: Raw
    leaf: str = ""
    format: int = FORMAT


class RevisionLine(Change, tag="revision"):
    pass


class DeletionLine(Change, tag="deletion"):
    pass


class DocumentLine(Change, tag="document"):
    pass


class ResetLine(Change, tag="reset"):
    pass


class Forgotten(Struct, tag="forgotten", kw_only=True):
    """All that remains of a change."""

    seq: int
    leaf: str
    format: int = FORMAT


class SealLine(Struct, tag="seal", kw_only=True):
    segment: int
    data: Raw
    format: int = FORMAT


class Drop(Struct, tag="drop", kw_only=True):
    """What retention has taken."""

    segment: int
    rows: int = 0
    whole: bool = False
    why: str = ""
    format: int = FORMAT


class ZoneLine(Struct, tag="zone", kw_only=True):
    name: str
    tzdata: str
    tzif: bytes
    format: int = FORMAT


class SegmentLine(Struct, tag="segment", kw_only=True):
    segment: int
    sealed: bool = False
    first_s: int = 0
    last_s: int = 0
    opened_us: int = 0
    closed_us: int = 0
    format: int = FORMAT


class RowLine(Struct, kw_only=True):
    """A row of a segment."""

    segment: int
    data: Raw
    leaf: str = ""
    after: str | None = None
    format: int = FORMAT


class ExecutionLine(RowLine, tag="execution"):
    pass


class RangeLine(RowLine, tag="range"):
    pass


class LeafLine(Struct, tag="leaf", kw_only=True):
    """A row that is not here."""

    segment: int
    leaf: str
    why: str = ""
    id: str = ""
    series: int = 0
    after: str | None = None
    format: int = FORMAT


class SegmentEnd(Struct, tag="segment_end", kw_only=True):
    segment: int
    rows: int
    after: str | None = None
    format: int = FORMAT


class OpenLine(Struct, tag="open", kw_only=True):
    data: Raw
    format: int = FORMAT


class Mark(Struct, tag="mark", kw_only=True):
    cursor: str
    format: int = FORMAT


class End(Struct, tag="end", kw_only=True):
    lines: int
    digest: str
    format: int = FORMAT


class Other(Struct):
    """A line of a type that this version does not know, or does not need."""

    type: str
    format: int = FORMAT


Line = (
    Header
    | RevisionLine
    | DeletionLine
    | DocumentLine
    | ResetLine
    | Forgotten
    | SealLine
    | Drop
    | ZoneLine
    | SegmentLine
    | ExecutionLine
    | RangeLine
    | LeafLine
    | SegmentEnd
    | OpenLine
    | Mark
    | End
)
KNOWN: Final = frozenset(str(kind.__struct_config__.tag) for kind in get_args(Line))

_decode: Callable[[bytes], Line] = msgspec.json.Decoder(Line).decode
_decode_other = msgspec.json.Decoder(Other).decode


def decode(line: bytes) -> Line | Other:
    """Return what a line says.

    Raises:
        msgspec.MsgspecError: It says nothing that can be read.
    """
    try:
        return _decode(line)
    except msgspec.ValidationError:
        other = _decode_other(line)
        if other.type in KNOWN:
            raise
        return other


class Row(Struct):
    """An execution or a range record: the fields of both, as far as they matter here."""

    type: str = ""
    id: str = ""
    job_id: str = ""
    job_name: str = ""
    namespace: str = ""
    kind: str = ""
    discriminator: str = ""
    scheduled_s: int = 0
    decided_at_us: int = 0
    status: str = "pending"
    revision: int = 0
    series: int = 0
    first_s: int = 0
    last_s: int = 0
    count: int = 0
    reason: str = ""

    @property
    def row_id(self) -> str:
        """The id it is found by in its segment."""
        return self.id or f"rng_{self.first_s:012d}_{self.job_id}_{self.reason}"

    @property
    def instant_s(self) -> int:
        return self.first_s if self.type == "range" else self.scheduled_s

    @property
    def due_s(self) -> int:
        """Like `instant_s`, also for a row of which only the id is here."""
        if self.type != "leaf":
            return self.first_s if self.type == "range" else self.scheduled_s
        return instant_in(self.id) or 0

    @property
    def end_s(self) -> int:
        return self.last_s if self.type == "range" else self.scheduled_s


class Seal(Struct):
    """What vouches for a segment."""

    segment: int
    rows: int = 0
    first_s: int = 0
    last_s: int = 0
    root: str = ""
    executions: int = 0
    skipped: int = 0
    opened_us: int = 0
    changes: int = 0
    changes_hash: str = ""
    previous: str = ""


class JobData(Struct):
    id: str
    spec: dict[str, Any]
    revision: int
    updated_at_us: int = 0
    owed_since_us: int = 0
    anchor_s: int = 0
    paused: dict[str, Any] | None = None


class RevisionData(Struct):
    job: JobData
    seq: int = 0


class DeletionData(Struct):
    job_id: str
    time_us: int
    seq: int = 0


class DocumentData(Struct):
    """A document; from `hwm_s` on jobs owe by it."""

    key: str
    time_us: int
    seq: int
    value: bytes | None = None
    hwm_s: int = 0
    catchup_from_s: int = 0
    catchup_to_s: int = 0
    cursor: str = ""


class ResetData(Struct):
    """The mark was set from one instant to another."""

    from_s: int = 0
    to_s: int = 0
    time_us: int = 0
    by: str = ""
    seq: int = 0


class ExecutionRow(Struct, tag="execution", kw_only=True):
    """An `execution` line, read in one go."""

    data: Row


class RangeRow(Struct, tag="range", kw_only=True):
    """A `range` line, read in one go."""

    data: Row


decode_row_line: Callable[[bytes], ExecutionRow | RangeRow | LeafLine] = msgspec.json.Decoder(
    ExecutionRow | RangeRow | LeafLine
).decode
decode_row = msgspec.json.Decoder(Row).decode
decode_seal = msgspec.json.Decoder(Seal).decode
decode_revision = msgspec.json.Decoder(RevisionData).decode
decode_deletion = msgspec.json.Decoder(DeletionData).decode
decode_document = msgspec.json.Decoder(DocumentData).decode
decode_reset = msgspec.json.Decoder(ResetData).decode
