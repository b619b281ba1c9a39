"""The lines of an export: NDJSON that can be read, checked and picked up again without the server that wrote it.

What is vouched for lies in `data`, byte for byte as it was hashed: `leaf(data)` is a leaf of the segment's tree or a
link of the chain of changes (`chronos.store.proof`). docs/reference/export-format.md says the same for readers in
other languages.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

FORMAT = 1


class Line(Struct, frozen=True, kw_only=True, tag_field="type"):
    """One line. `format` is raised when what a line says can no longer be read as before."""

    format: int = FORMAT


class Header(Line, frozen=True, kw_only=True, tag="header"):
    """The first line of every part.

    Attributes:
        index: The entry of the log up to which everything is in here; `time_us` is its log time.
        namespace: Whose executions and jobs these are; None for all.
        since_s: Instants from here on, and up to `until_s`, itself included.
        job_id: Of this job only; empty for all.
        proof: Whether seals, changes and the leaves of what is left out are here, so that it can be verified.
        resumed: The cursor with which it was asked for; empty at the beginning.
        sealed: The last segment that is sealed; `seal_hash` is the hash of its seal, hex.
        changes: How many changes of what is owed there were; `changes_hash` is the end of their chain, hex.
        hwm_s: Everything due up to here is decided, but for jobs behind `catchup_cursor` while `catchup_to_s` is
            not 0: those are decided up to `catchup_from_s`.
        tzdata: The release of the time zone rules that the server plans by.
    """

    version: str
    node: str
    index: int
    time_us: int
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
    restore_epoch: int = 0
    hwm_s: int = 0
    catchup_from_s: int = 0
    catchup_to_s: int = 0
    catchup_cursor: str = ""
    tzdata: str = ""


class Change(Line, frozen=True, kw_only=True):
    """A link of the chain of changes; `seq` is its place, 0 for what was made before changes were counted.

    Attributes:
        leaf: Hash of `data`, hex: the chain says that something is wrong, and this what.
    """

    seq: int
    leaf: str | UnsetType = UNSET
    data: Raw


class RevisionLine(Change, frozen=True, kw_only=True, tag="revision"):
    """A job as it was at one revision. Credentials are sealed in it."""


class DeletionLine(Change, frozen=True, kw_only=True, tag="deletion"):
    """A job was deleted."""


class DocumentLine(Change, frozen=True, kw_only=True, tag="document"):
    """A calendar, or another document by which jobs owe what they owe, as it was at one revision."""


class ResetLine(Change, frozen=True, kw_only=True, tag="reset"):
    """The high-water mark was set by hand, and a restore epoch begun."""


class ForgottenLine(Line, frozen=True, kw_only=True, tag="forgotten"):
    """A change whose job is deleted and whose history is gone: its hash is what remains of it.

    Attributes:
        leaf: Hash of its line, hex; empty when that is gone, too: the chain cannot be followed across it.
    """

    seq: int
    leaf: str


class SealLine(Line, frozen=True, kw_only=True, tag="seal"):
    """What is kept of a segment for ever."""

    segment: int
    data: Raw


class DropLine(Line, frozen=True, kw_only=True, tag="drop"):
    """Retention has taken a segment, or rows out of one; its seal stays.

    Attributes:
        rows: How many rows went.
        whole: Whether the segment went as a whole. Otherwise a `leaf` line stands for each row that went.
        why: A sentence.
        time_us: Log time at which it was decided (the last time, when rows went several times).
    """

    segment: int
    rows: int
    whole: bool
    why: str
    time_us: int


class ZoneLine(Line, frozen=True, kw_only=True, tag="zone"):
    """The rules of a time zone that a revision in here names, as the server has them now.

    Attributes:
        tzif: The TZif file, base64.
    """

    name: str
    tzdata: str
    tzif: bytes


class SegmentLine(Line, frozen=True, kw_only=True, tag="segment"):
    """A segment begins: its rows follow in the order of (id, series).

    Attributes:
        days: How long it is kept after it was closed; 0 is what the server's `history.retention` says.
        closed_us: 0 while it is being written.
        sealed: Whether there is a seal for it.
    """

    segment: int
    rows: int
    first_s: int
    last_s: int
    opened_us: int
    closed_us: int
    days: int = 0
    sealed: bool = False


class RowLine(Line, frozen=True, kw_only=True):
    """A row of a segment.

    Attributes:
        leaf: Hash of `data`, hex: the seal says that something is wrong, and this which row it is.
        after: `id/series` of the row before it in the segment, empty when there is none or it is of `elsewhere`:
            if that row is gone, its id still says which instant it was about.
    """

    segment: int
    leaf: str | UnsetType = UNSET
    after: str | UnsetType = UNSET
    data: Raw


class ExecutionLine(RowLine, frozen=True, kw_only=True, tag="execution"):
    """An execution that has ended, with its attempts."""


class RangeLine(RowLine, frozen=True, kw_only=True, tag="range"):
    """Adjacent instants that were skipped for one reason."""


class LeafLine(Line, frozen=True, kw_only=True, tag="leaf"):
    """A row that is not in here: only its hash, in its place.

    Attributes:
        leaf: Hash of its line, hex.
        why: `dropped` by retention, `outside` of what was asked for, or of `elsewhere`: another namespace.
        id: The execution's id, and so its job and instant for whoever knows the job; empty for `elsewhere`.
        after: As in a row.
    """

    segment: int
    leaf: str
    why: str
    id: str = ""
    series: int = 0
    after: str | UnsetType = UNSET


class SegmentEndLine(Line, frozen=True, kw_only=True, tag="segment_end"):
    """A segment has ended; `rows` lines of `execution`, `range` and `leaf` since it began; `after` is as in a row."""

    segment: int
    rows: int
    after: str | UnsetType = UNSET


class OpenLine(Line, frozen=True, kw_only=True, tag="open"):
    """An execution that has not ended. Nothing vouches for it yet."""

    data: Raw


class LateLine(Line, frozen=True, kw_only=True, tag="late"):
    """What came back of an execution after it had ended."""

    execution_id: str
    notes: list[str]


class MarkLine(Line, frozen=True, kw_only=True, tag="mark"):
    """Whoever has this line may ask for what comes after it with `cursor`."""

    cursor: str


class EndLine(Line, frozen=True, kw_only=True, tag="end"):
    """The last line of a part that is whole.

    Attributes:
        lines: How many lines came before it in this part.
        digest: BLAKE2b-256 over these lines with their line ends, hex.
    """

    lines: int
    digest: str


AnyLine = (
    Header
    | RevisionLine
    | DeletionLine
    | DocumentLine
    | ResetLine
    | ForgottenLine
    | SealLine
    | DropLine
    | ZoneLine
    | SegmentLine
    | ExecutionLine
    | RangeLine
    | LeafLine
    | SegmentEndLine
    | OpenLine
    | LateLine
    | MarkLine
    | EndLine
)

encode_line = msgspec.json.Encoder().encode
decode_line = msgspec.json.Decoder(AnyLine).decode
