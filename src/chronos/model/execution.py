"""Executions (one per due instant) and the attempts numbered inside them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from operator import add

from msgspec import Struct
from msgspec.structs import astuple


class Kind(StrEnum):
    """Where an execution comes from."""

    SCHEDULE = "schedule"
    MANUAL = "manual"
    BACKFILL = "backfill"
    DAG = "dag"
    EVENT = "event"


class Status(StrEnum):
    """Where an execution stands."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


TERMINAL = frozenset({Status.SUCCESS, Status.FAILED, Status.SKIPPED, Status.CANCELLED})


class SkipReason(StrEnum):
    """Why a due instant did not run."""

    MISFIRE = "misfire"
    COALESCED = "coalesced"
    OVERLAP = "overlap"
    SUPERSEDED = "superseded"
    PAUSED = "paused"
    QUOTA = "quota"
    EXPIRED = "expired"
    POLICY = "policy"
    BLACKOUT = "blackout"
    NONEXISTENT_TARGET = "nonexistent_target"


class AttemptStatus(StrEnum):
    """What became of one attempt."""

    STARTED = "started"
    SUCCESS = "success"
    FAILED = "failed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


class Waited(Struct, frozen=True, gc=False, array_like=True):
    """What an attempt waited for before its first byte left, in milliseconds."""

    slot: int = 0
    breaker: int = 0
    host_cap: int = 0
    capacity: int = 0
    jitter: int = 0
    commit: int = 0

    def plus(self, other: Waited) -> Waited:
        """Return what both waited together."""
        if other == NOT_WAITED:
            return self
        if self == NOT_WAITED:
            return other
        return Waited(*map(add, astuple(self), astuple(other)))


NOT_WAITED = Waited()


_STARTED = AttemptStatus.STARTED  # an enum's member is looked up slowly


class Ongoing(Struct, frozen=True, gc=False, array_like=True):
    """Work that a target has taken on and reports about by itself. Instants and lengths are microseconds.

    Attributes:
        accepted_us: When it said that it would; 0 while a report has come before that.
        deadline_us: The instant up to which a result counts.
        heartbeat_us: The longest silence between two reports; 0 for any.
        heard_us: When it was last heard of.
        progress: 0 to 100; -1 when it has not said.
    """

    accepted_us: int = 0
    deadline_us: int = 0
    heartbeat_us: int = 0
    heard_us: int = 0
    progress: int = -1
    message: str = ""


class Attempt(Struct, frozen=True, gc=False, array_like=True):
    """One try at delivering an execution. Instants are microseconds since the epoch, UTC; 0 means not yet.

    Attributes:
        series: 0, and one more for each redrive.
        n: 1, 2, 3 … inside the execution; a redrive counts on, so that no two attempts of an execution share one.
        node: Node and incarnation that were given the right to send.
        token: Fencing token `<restore_epoch>.<term>.<index>`.
        not_before_us: No byte leaves before this instant.
        body_bytes: Size of the answer's body as far as it was read.
        excerpt: The redacted beginning of the answer, at most 1 KiB.
        ongoing: What is known of work that goes on after the answer; None for every other attempt.
    """

    series: int
    n: int
    node: str
    token: str
    not_before_us: int
    started_at_us: int = 0
    ended_at_us: int = 0
    status: AttemptStatus = AttemptStatus.STARTED
    status_code: int | None = None
    error_class: str = ""
    error: str = ""
    body_bytes: int = 0
    sha256: str = ""
    excerpt: str = ""
    body_ref: str = ""
    waited: Waited = Waited()
    resent: bool = False
    notes: tuple[str, ...] = ()
    ongoing: Ongoing | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the target has taken the work on; it outlives the node that sent it."""
        return self.ongoing is not None and self.ongoing.accepted_us > 0


class Execution(Struct, frozen=True, gc=False, array_like=True):
    """One due instant of one job, from decision to outcome. A new field goes to the end.

    Attributes:
        discriminator: What tells it from other executions of the job and kind (semantics B1).
        scheduled_s: The instant it was due, whole seconds since the epoch.
        effective_us: The instant it may start: due instant plus jitter.
        revision: The job's revision whose target is called.
        reason: Why it was skipped, cancelled or failed.
        blocked_by: The execution that held the slot, or that superseded or absorbed it.
        retry_at_us: When the next attempt is due; 0 when none is.
        unknowns: Attempts of which nobody can say whether they arrived; they do not count as tries.
        force: Whether it may start beside a run that holds the slot.
        waited: What the next attempt has waited for so far.
        earlier_attempts: How many attempts the series before this one had.
    """

    id: str
    job_id: str
    job_name: str
    namespace: str
    kind: Kind
    discriminator: str
    scheduled_s: int
    effective_us: int
    revision: int
    priority: int
    decided_at_us: int
    status: Status = Status.PENDING
    reason: str = ""
    blocked_by: str = ""
    series: int = 0
    attempts: tuple[Attempt, ...] = ()
    retry_at_us: int = 0
    started_at_us: int = 0
    ended_at_us: int = 0
    unknowns: int = 0
    by: str = ""
    force: bool = False
    replay_of: str = ""
    cancel_requested: bool = False
    late: bool = False
    notes: tuple[str, ...] = ()
    tries: int = 0
    waited: Waited = Waited()
    earlier_attempts: int = 0

    @property
    def next_attempt(self) -> int:
        """The number of the attempt that comes next."""
        return self.earlier_attempts + len(self.attempts) + 1

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def running_attempt(self) -> Attempt | None:
        """The attempt that holds the right to send, if one does."""
        if not self.attempts:
            return None
        last = self.attempts[-1]
        return last if last.status is _STARTED else None


class RangeRecord(Struct, frozen=True, gc=False, array_like=True):
    """Adjacent instants of one job that were skipped for one reason, kept as one record.

    Attributes:
        first_s: First instant of the range, seconds since the epoch.
        last_s: Last instant of the range.
        count: How many planned instants lie in it, both ends included.
        into: The execution that ran in their place, when coalesced.
    """

    job_id: str
    namespace: str
    first_s: int
    last_s: int
    count: int
    reason: SkipReason
    into: str = ""
    decided_at_us: int = 0
    facts: str = ""
    job_name: str = ""


_ID_BYTES = 32
_TO_A_LANE = bytes(_ID_BYTES - 20)
_BASE32HEX = b"0123456789abcdefghijklmnopqrstuv" + bytes(224)


def execution_id(job_id: str, kind: Kind, discriminator: str, instant_s: int) -> str:
    """Return the id of an execution: the same on every node, in every replay and restore; ordered in time.

    `occ_` and 32 base32 characters (RFC 4648 extended hex, which keeps the order of the bytes): the
    instant as 40 bits of seconds, then BLAKE2b-120 of job, kind and discriminator.
    """
    return execution_ids([(job_id, kind, discriminator, instant_s)])[0]


def execution_ids(keys: Sequence[tuple[str, Kind, str, int]]) -> list[str]:
    """Return the `execution_id` of each of `keys`: for many at once in half the time.

    All are one whole number, in which five bits of each byte are wanted in a byte of their own. Source: parallel bit
    deposit by halving, as in Warren, Hacker's Delight, 7-5; several times as fast as `base64.b32hexencode`.
    """
    parts = [
        _TO_A_LANE
        + instant_s.to_bytes(5, "big")
        # `value` takes four times as long as the rest
        + blake2b(f"{job_id}\0{kind._value_}\0{discriminator}".encode(), digest_size=15).digest()
        for job_id, kind, discriminator, instant_s in keys
    ]
    number = int.from_bytes(b"".join(parts), "big")
    for shift, low, high in _halves(1 << len(parts).bit_length()):
        number = number & low | (number & high) << shift
    text = number.to_bytes(_ID_BYTES * len(parts), "big").translate(_BASE32HEX).decode()
    return [f"occ_{text[at : at + _ID_BYTES]}" for at in range(0, len(text), _ID_BYTES)]


@lru_cache(maxsize=16)
def _halves(ids: int) -> list[tuple[int, int, int]]:
    """Return, for 160 bits in each 256 and their halves down to ten: how far upper ones move; the lower, the upper.

    What is made for more ids than there are does for them, too; so powers of two are asked for.
    """
    found = []
    for bits in (160, 80, 40, 20, 10):
        lane, half = bits * 8 // 5, bits // 2
        every = ((1 << lane * (256 // lane) * ids) - 1) // ((1 << lane) - 1)  # one bit in each lane
        low = every * ((1 << half) - 1)
        found.append((lane // 2 - half, low, low << half))
    return found


def instant_of(execution: str) -> int:
    """Return the instant (seconds since the epoch) inside an execution id.

    Raises:
        ValueError: It is not an execution id.
    """
    prefix, _, text = execution.partition("_")
    if prefix != "occ" or len(text) != 32:
        raise ValueError(execution)
    return int.from_bytes(base64.b32hexdecode(text.upper())[:5], "big")
