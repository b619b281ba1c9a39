"""The tables of the state: what lies under which key, and the values that are the store's own."""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec import Struct, field

from chronos.model.execution import Execution, RangeRecord
from chronos.model.job import Job
from chronos.model.member import MemberRecord
from chronos.store.commands import Idem, KeepingRule

T = TypeVar("T")


class Table(Generic[T]):
    """A name and the type of its values."""

    __slots__ = ("name", "of")

    def __init__(self, name: str, of: type[T]) -> None:
        self.name = name
        self.of = of


CURSORS = "cursors"
"""The documents that say up to where each subscriber has handled events; they are the server's own."""


class Shard(Struct, frozen=True, gc=False, array_like=True):
    """How far planning has come.

    Attributes:
        hwm_s: The decided high-water mark: every instant up to it is decided (behind the catch-up cursor, to
            `catchup_from_s` only). Never moves back but by `ResetClock`.
        plan_version: Raised by every change of what any job owes.
        catchup_to_s: End of the span that is decided job by job; 0 when there is none. It is an outage that is being
            made up for, or lies ahead: a crowd that is decided in parts.
        cursor: Jobs with ids up to it are decided to `catchup_to_s`.
    """

    hwm_s: int = 0
    plan_version: int = 0
    catchup_from_s: int = 0
    catchup_to_s: int = 0
    cursor: str = ""

    def is_in_parts(self, now_us: int) -> bool:
        """Whether what is decided job by job still lies ahead."""
        return self.catchup_to_s * 1_000_000 > now_us

    def is_catching_up(self, now_us: int) -> bool:
        """Whether what is decided job by job should have been by now."""
        return 0 < self.catchup_to_s * 1_000_000 <= now_us


class Slots(Struct, frozen=True, gc=False, array_like=True):
    """Which executions of a job are open.

    Attributes:
        holding: Those that hold a slot: started and not yet terminal.
        waiting: Those decided and not started, in the order in which they may start.
        skips: The range record that the next adjacent skip extends.
        last_decided_s: The last `schedule` instant decided, and `prev_decided_s` the one before it: only a skip
            right after the range extends it.
        last_success_us: When a run of the job last ended well; 0 when none has since this is kept.
    """

    holding: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    skips: RangeRecord | None = None
    last_decided_s: int = 0
    prev_decided_s: int = 0
    last_success_us: int = 0


class Meta(Struct, frozen=True, gc=False, array_like=True):
    """State about the state. The rings are bounded first-in-first-out lists: `head` is the oldest kept.

    Attributes:
        sealed: The last segment of history that is sealed; `seal_hash` is the hash of its seal.
        changes: How many changes of what is owed there were; `changes_hash` is the end of their chain.
    """

    term: int = 0
    restore_epoch: int = 0
    leader: str = ""
    incarnation: str = ""
    idem_head: int = 0
    idem_tail: int = 0
    dead_head: int = 0
    dead_tail: int = 0
    jobs: int = 0
    jobs_enabled: int = 0
    format: int = 1
    dead: int = 0
    late_head: int = 0
    late_tail: int = 0
    deleted_head: int = 0
    deleted_tail: int = 0
    sealed: int = 0
    seal_hash: bytes = b""
    changes: int = 0
    changes_hash: bytes = b""
    forgotten_head: int = 0
    forgotten_tail: int = 0


class IdemRecord(Struct, frozen=True, gc=False, array_like=True):
    """The verdict kept for an idempotency key: enough to answer a repeat without doing it twice.

    Attributes:
        facts: What a refusal said beside its message, such as the execution in whose way it was.
    """

    body_hash: str
    error: str
    message: str
    resource: str
    revision: int
    time_us: int
    facts: dict[str, str] = field(default_factory=dict)


class RingItem(Struct, frozen=True, gc=False, array_like=True):
    """One place in a ring: the key it stands for, and since when.

    Attributes:
        seq: The place of what it stands for among the changes of what is owed; 0 for what is none.
    """

    key: str
    time_us: int
    seq: int = 0


class LateResults(Struct, frozen=True, array_like=True):
    """What came back of an execution after it had ended: a terminal record never changes, so it stands beside it."""

    notes: list[str]


class Document(Struct, frozen=True, array_like=True):
    """A feature's replicated document."""

    value: bytes
    revision: int
    updated_at_us: int
    updated_by: str = ""


class Name(Struct, frozen=True, gc=False, array_like=True):
    """Who has a name."""

    job_id: str


class Revision(Struct, frozen=True, gc=False, array_like=True):
    """A job as it was at one revision.

    Attributes:
        seq: Its place among the changes of what is owed; 0 for those made before changes were counted.
    """

    job: Job
    comment: str = ""
    seq: int = 0


class KeptDocument(Struct, frozen=True, array_like=True):
    """A document that changes what jobs owe, as it was at one revision; `value` None: it was deleted.

    Attributes:
        hwm_s: The mark when it was written: what is due later is owed by it. While `catchup_to_s` is not 0, jobs
            with ids above `cursor` owe by it from `catchup_from_s` to `catchup_to_s`, too.
    """

    key: str
    value: bytes | None
    revision: int
    time_us: int
    by: str
    seq: int
    hwm_s: int = 0
    catchup_from_s: int = 0
    catchup_to_s: int = 0
    cursor: str = ""


class Reset(Struct, frozen=True, array_like=True):
    """A reset of the clock: the high-water mark went from `from_s` to `to_s` at `time_us` of log time."""

    epoch: int
    from_s: int
    to_s: int
    time_us: int
    by: str
    seq: int


class SealRecord(Struct, frozen=True, array_like=True):
    """What is kept of a segment of history for ever: enough to see whether it is what it was.

    Attributes:
        first_s: Lowest instant in it, `last_s` the highest.
        root: Merkle root of its rows.
        executions: How many planned instants have a row of their own in it.
        skipped: How many planned instants lie in its range records.
        changes: Up to which change of what is owed it vouches; `changes_hash` is the chain's end there.
        previous: Hash of the seal before it; empty for the first.
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
    changes: int
    changes_hash: bytes
    previous: bytes


class DropRecord(Struct, frozen=True, array_like=True):
    """What retention has taken of a segment; kept for ever, like its seal.

    Attributes:
        rows: How many rows; all of them when `whole`.
    """

    segment: int
    rows: int
    whole: bool
    why: str
    time_us: int


class KeepingRules(Struct, frozen=True, array_like=True):
    """How long history is kept, by namespace."""

    namespaces: dict[str, KeepingRule]


class MemberRecords(Struct, frozen=True, array_like=True):
    """Who belongs to the cluster, and the last that were removed from it."""

    members: tuple[MemberRecord, ...]


JOBS = Table("jobs", Job)  # job id
NAMES = Table("names", Name)  # namespace/name
REVISIONS = Table("revisions", Revision)  # job id/revision, ten digits
OPEN = Table("open", Execution)  # execution id: not terminal
DEAD = Table("dead", Execution)  # execution id: dead letters, until redriven or expired
SLOTS = Table("slots", Slots)  # job id
SHARDS = Table("shards", Shard)  # shard number
META = Table("meta", Meta)  # "meta"
IDEM = Table("idem", IdemRecord)  # scope \n key
IDEM_RING = Table("idem_ring", RingItem)  # sequence, twelve digits
DEAD_RING = Table("dead_ring", RingItem)  # sequence, twelve digits
LATE = Table("late", LateResults)  # execution id: ended
LATE_RING = Table("late_ring", RingItem)  # sequence, twelve digits
DELETED_RING = Table("deleted_ring", RingItem)  # sequence, twelve digits: the newest revision left of a deleted job
DOCUMENTS = Table("documents", Document)  # prefix/namespace/key
SEALS = Table("seals", SealRecord)  # segment, twelve digits: for ever
KEPT_DOCUMENTS = Table("kept_documents", KeptDocument)  # prefix/namespace/key/change, twelve digits
RESETS = Table("resets", Reset)  # restore epoch, ten digits
DROPS = Table("drops", DropRecord)  # segment, twelve digits: for ever
KEEPING = Table("keeping", KeepingRules)  # "namespaces"
MEMBERS = Table("members", MemberRecords)  # "members"
FORGOTTEN = Table("forgotten", RingItem)  # sequence, twelve digits: the hash of a change that is gone

TABLES: tuple[Table[object], ...] = (  # type: ignore[assignment]
    JOBS,
    NAMES,
    REVISIONS,
    OPEN,
    DEAD,
    SLOTS,
    SHARDS,
    META,
    IDEM,
    IDEM_RING,
    DEAD_RING,
    LATE,
    LATE_RING,
    DELETED_RING,
    DOCUMENTS,
    SEALS,
    KEPT_DOCUMENTS,
    RESETS,
    DROPS,
    KEEPING,
    FORGOTTEN,
    MEMBERS,
)


def revision_key(job_id: str, revision: int) -> str:
    """Return the key of a job's revision; keys of one job sort by revision."""
    return f"{job_id}/{revision:010d}"


def idem_key(idem: Idem) -> str:
    """Return the key of the verdict kept for an idempotency key."""
    return f"{idem.scope}\n{idem.key}"


def document_key(prefix: str, namespace: str, key: str) -> str:
    """Return the key of a feature's document."""
    return f"{prefix}/{namespace}/{key}"
