"""The commands: everything that can change Chronos, as data.

Encoded as msgpack arrays. A field, once shipped, keeps its place; new fields go to the end with a default,
and golden files of every command see to it.

Time and zone decisions are made before a command is proposed and travel inside it; the fold never
recomputes them. What depends on concurrent state (slot, pause, version, uniqueness) the fold decides.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct, field

from chronos import __version__
from chronos.errors import FormatUnreadable
from chronos.model.execution import Attempt, Kind, RangeRecord
from chronos.model.formats import ENTRY
from chronos.model.job import JobSpec, Pause
from chronos.model.member import MemberRecord


class Idem(Struct, frozen=True, gc=False, array_like=True):
    """A client's promise that a repeated request is the same request.

    Attributes:
        scope: Tenant, principal and route, joined.
        body_hash: Hex BLAKE2b of the body; the same key with another hash is refused.
    """

    scope: str
    key: str
    body_hash: str


class Owed(Struct, frozen=True, gc=False, array_like=True):
    """One instant a job owes.

    Attributes:
        effective_us: The instant plus its jitter.
        late: Past its grace: a catch-up run, which waits for the slot instead of being skipped.
        not_before_us: Above 0, its first attempt asks for the right to send at once, to leave then.
    """

    job_id: str
    scheduled_s: int
    effective_us: int
    late: bool = False
    coalesced_wall_times: tuple[str, ...] = ()
    not_before_us: int = 0


class NewLeader(Struct, frozen=True, array_like=True, tag=1):
    """The boot record of a term: term := state.term + 1; attempts of the node's earlier lives become UNKNOWN."""

    node: str
    incarnation: str


class PutJob(Struct, frozen=True, array_like=True, tag=2):
    """Create a job (`expect_revision` 0) or replace its spec.

    Attributes:
        spec: Normal form, credentials sealed.
        expect_revision: The revision the writer has read; 0 creates, -1 takes whatever is there.
        owed_ahead: Instants in (log time, `owed_to`] under the new definition.
        owed_to: The high-water mark the writer knew; the fold refuses when it has moved past it.
        same_schedule: The edit left what is owed as it was, so pending executions stay.
        anchor_s: What `@every` counts from if the schedule is new; 0 means log time.
        ranges: Instants that passed while the job was paused, up to now.
        undecided_us: The first instant that the old definition owes and nobody has recorded yet; 0 when there is
            none. Refused when log time has reached it, or it would be lost.
        left_out_ahead: What the new definition's calendar leaves out in (log time, `owed_to`], one instant a record.
    """

    job_id: str
    spec: JobSpec
    by: str
    expect_revision: int = 0
    owed_ahead: list[Owed] = field(default_factory=list)
    owed_to: int = 0
    same_schedule: bool = False
    anchor_s: int = 0
    idem: Idem | None = None
    comment: str = ""
    ranges: list[RangeRecord] = field(default_factory=list)
    undecided_us: int = 0
    left_out_ahead: list[RangeRecord] = field(default_factory=list)


class DeleteJob(Struct, frozen=True, array_like=True, tag=3):
    """Delete a job; what is pending is cancelled, what runs may end, history and dead letters stay.

    Attributes:
        undecided_us: As in `PutJob`.
        ranges: Instants that passed while the job was paused, up to now.
    """

    job_id: str
    by: str
    expect_revision: int = -1
    idem: Idem | None = None
    undecided_us: int = 0
    ranges: list[RangeRecord] = field(default_factory=list)


class SetPause(Struct, frozen=True, array_like=True, tag=4):
    """Pause a job, or resume it (`pause` None). Pausing a paused job replaces the reason."""

    job_id: str
    pause: Pause | None
    by: str
    expect_revision: int = -1
    owed_ahead: list[Owed] = field(default_factory=list)
    owed_to: int = 0
    idem: Idem | None = None
    ranges: list[RangeRecord] = field(default_factory=list)
    undecided_us: int = 0
    left_out_ahead: list[RangeRecord] = field(default_factory=list)


class Decide(Struct, frozen=True, array_like=True, tag=5):
    """What is owed in (`from_s`, `to_s`]; the high-water mark becomes `to_s`.

    Attributes:
        plan_version: The version of the schedules this was computed from; another one is refused.
        ranges: Instants that are skipped, with the reason.
        node: Who asks for the right to send.
        nodes: Where several nodes send: the granted ones are theirs in turn, instead of `node`'s.
    """

    shard: int
    from_s: int
    to_s: int
    plan_version: int
    occurrences: list[Owed] = field(default_factory=list)
    ranges: list[RangeRecord] = field(default_factory=list)
    node: str = ""
    nodes: list[str] = field(default_factory=list)


class BeginCatchup(Struct, frozen=True, array_like=True, tag=6):
    """The mark jumps to `to_s`; what lies between is decided job by job behind it: after an outage, or in parts.
    The version of the schedules is checked as in `Decide`, unless it is -1: nobody comes to owe what is over."""

    shard: int
    from_s: int
    to_s: int
    plan_version: int = -1


class Catchup(Struct, frozen=True, array_like=True, tag=7):
    """What the jobs in (`cursor`, `cursor_to`] (by id) owe, and who sends it. An empty `cursor_to` ends it."""

    shard: int
    cursor: str
    cursor_to: str
    plan_version: int
    occurrences: list[Owed] = field(default_factory=list)
    ranges: list[RangeRecord] = field(default_factory=list)
    node: str = ""
    nodes: list[str] = field(default_factory=list)


class StartAttempt(Struct, frozen=True, gc=False, array_like=True):
    """A request for the right to send.

    Attributes:
        n: The attempt's number; refused unless it is the execution's next.
        not_before_us: No byte leaves before; until then an occupied slot means *not yet*.
    """

    execution_id: str
    n: int
    node: str
    not_before_us: int


class Start(Struct, frozen=True, array_like=True, tag=8):
    """Give the right to send, skip, or leave waiting: the fold decides for each."""

    attempts: list[StartAttempt]


class Next(StrEnum):
    """What follows an attempt, as `scheduler.outcomes` has decided."""

    SUCCEED = "succeed"
    RETRY = "retry"
    FAIL = "fail"
    AGAIN = "again"
    CANCEL = "cancel"
    GO_ON = "go_on"


class Settlement(Struct, frozen=True, gc=False, array_like=True):
    """What became of one attempt, and what follows.

    Attributes:
        attempt: The attempt's record as it ended; its `n` and `series` say which one.
        retry_at_us: When the next attempt is due (`RETRY`, `AGAIN`).
        unknown: Nobody can say whether it arrived; it does not count as a try.
        reason: Why it failed for good, or was cancelled.
        held_until_us: Of `AGAIN`: up to when the attempt's node sends nothing to that host, while others may.

    `AGAIN` means that nothing was sent: the attempt is taken back and its number used again. `GO_ON` means that
    the target has taken the work on: the attempt keeps its right and its slot until somebody settles it.
    """

    execution_id: str
    attempt: Attempt
    next: Next
    retry_at_us: int = 0
    unknown: bool = False
    reason: str = ""
    held_until_us: int = 0


class Settle(Struct, frozen=True, array_like=True, tag=9):
    """What became of attempts. A result of an attempt that was superseded becomes a note."""

    results: list[Settlement]


class Report(Struct, frozen=True, array_like=True, tag=19):
    """What the target says of work that goes on. Refused unless the attempt still runs.

    Attributes:
        progress: 0 to 100; -1 leaves what was said before.
        message: Redacted, at most 256 characters; empty leaves what was said before.
    """

    execution_id: str
    n: int
    progress: int = -1
    message: str = ""


class Trigger(Struct, frozen=True, array_like=True, tag=10):
    """Owe one execution now: by hand, by replay, by an event, by a finished dependency.

    Attributes:
        revision: The job revision to run; 0 means the current one.
        force: Start beside a run that holds the slot.
        strict: Under `forbid`, answer with `overlap` (and a SKIPPED record) when the slot is taken.
    """

    execution_id: str
    job_id: str
    kind: Kind
    discriminator: str
    scheduled_s: int
    by: str
    force: bool = False
    strict: bool = True
    replay_of: str = ""
    revision: int = 0
    idem: Idem | None = None


class Backfill(Struct, frozen=True, array_like=True, tag=11):
    """Owe the instants of a past range once more, one after the other, each under an id of its own."""

    job_id: str
    backfill_id: str
    instants_s: list[int]
    by: str
    idem: Idem | None = None


class Cancel(Struct, frozen=True, array_like=True, tag=12):
    """Cancel an execution: at once when nothing of it runs, else when its executor has stopped it."""

    execution_id: str
    by: str
    reason: str = ""
    idem: Idem | None = None


class Redrive(Struct, frozen=True, array_like=True, tag=13):
    """Start dead-lettered executions anew: the same ids, the next series."""

    execution_ids: list[str]
    by: str
    idem: Idem | None = None


class ExpireDead(Struct, frozen=True, array_like=True, tag=14):
    """Drop what has been kept long enough, oldest first, at most `most` of each kind.

    Attributes:
        before_us: Dead letters that ended before it go.
        forgotten_us: What belongs to history from before it goes: the revisions of jobs that were deleted, and
            notes about late results. 0 keeps them.
    """

    before_us: int
    most: int = 1_000
    forgotten_us: int = 0


class PutDocument(Struct, frozen=True, array_like=True, tag=15):
    """Write or delete (`value` None) a feature's document. The value is bytes to the fold.

    Attributes:
        expect_revision: 0 creates, -1 takes whatever is there.
        replans: The document changes what jobs owe (a calendar).
    """

    prefix: str
    namespace: str
    key: str
    value: bytes | None
    by: str = ""
    expect_revision: int = -1
    replans: bool = False
    idem: Idem | None = None


class ResetClock(Struct, frozen=True, array_like=True, tag=16):
    """Open a new restore epoch with the high-water mark at `hwm_s`, whatever it was.

    Attributes:
        epoch: The epoch opened is at least this one.
        restored: This is a copy that was brought back: the mark moves ahead to `hwm_s` or stays, and what is being
            made up for stays, too.
    """

    hwm_s: int
    by: str
    epoch: int = 0
    restored: bool = False


class ClockNote(StrEnum):
    """What there is to say of a clock."""

    JUMP = "jump"
    ACCEPTED = "accepted"


class NoteClock(Struct, frozen=True, array_like=True, tag=17):
    """Write down that a wall clock has jumped, or that somebody vouches for it. Changes nothing else."""

    what: ClockNote
    by: str
    note: str = ""


class Drop(Struct, frozen=True, array_like=True, tag=20):
    """Say that retention takes a sealed segment, or rows out of it. The files follow when this is true.

    Attributes:
        rows: How many rows; those that were taken out of it before are counted along.
        whole: Whether the whole segment goes.
        why: A sentence.
    """

    segment: int
    rows: int
    whole: bool
    why: str


class KeepingRule(Struct, frozen=True, array_like=True):
    """How long history of one namespace is kept.

    Attributes:
        retention: A duration; empty for what the server says for all.
        max_count: How many executions are kept; 0 for any number.
    """

    retention: str = ""
    max_count: int = 0


class KeepHistory(Struct, frozen=True, array_like=True, tag=21):
    """Set the rules by which records are put to segments: they have to be the same wherever the log is folded."""

    namespaces: dict[str, KeepingRule]


class RecordMembers(Struct, frozen=True, array_like=True, tag=22):
    """Say whom a cluster began with, as its configuration has it. Refused as soon as the log knows members."""

    members: list[MemberRecord]


class SetMember(Struct, frozen=True, array_like=True, tag=23):
    """Let a member join, be one, or be removed.

    Attributes:
        expect: What was known of it when this was decided; refused when it is something else by now. None takes
            whatever there is.
    """

    member: MemberRecord
    by: str
    expect: MemberRecord | None = None


class Seal(Struct, frozen=True, array_like=True, tag=18):
    """Vouch for a segment of history that nothing is written to any more.

    Attributes:
        root: Merkle root of its rows; the other fields are those of `SealRecord`.
    """

    segment: int
    rows: int
    first_s: int
    last_s: int
    root: bytes
    executions: int
    skipped: int
    opened_us: int
    closed_us: int


Command = (
    NewLeader
    | PutJob
    | DeleteJob
    | SetPause
    | Decide
    | BeginCatchup
    | Catchup
    | Start
    | Settle
    | Trigger
    | Backfill
    | Cancel
    | Redrive
    | ExpireDead
    | PutDocument
    | ResetClock
    | NoteClock
    | Report
    | Seal
    | Drop
    | KeepHistory
    | RecordMembers
    | SetMember
)


class LogEntry(Struct, frozen=True, array_like=True):
    """One entry of the log: commands that become true together.

    Attributes:
        format: Of this encoding, 1.
        time_us: Log time: never before the entry's predecessor.
        batch: Random, so that a writer recognises its own entry after an unknown outcome.
        alive: Which nodes' lives the leader vouches for: incarnations, each with its newest renewal. No command: it
            changes no state, and who replays the log has no use for it.
    """

    format: int
    time_us: int
    batch: bytes
    commands: list[Command]
    alive: dict[str, int] = field(default_factory=dict)


encode_entry = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LogEntry).decode
decode_command: Callable[[bytes], Command] = msgspec.msgpack.Decoder(Command).decode


class _Head(Struct, array_like=True):
    """What an entry of every format begins with."""

    format: int


_decode_head = msgspec.msgpack.Decoder(_Head).decode


def decode_entry(data: bytes) -> LogEntry:
    """Return the entry that `data` is.

    Raises:
        FormatUnreadable: A newer release wrote it, in another format or with commands that this one does not know.
    """
    try:
        entry = _decode(data)
    except msgspec.ValidationError as exc:
        ENTRY.check(Path("log.db"), _decode_head(data).format)
        raise FormatUnreadable(
            f"The log holds a command that this release ({__version__}) does not know: a newer one wrote it. Use "
            "that one, or restore a backup that was made before the upgrade. Nothing was changed.",
            why=str(exc),
        ) from exc
    ENTRY.check(Path("log.db"), entry.format)
    return entry
