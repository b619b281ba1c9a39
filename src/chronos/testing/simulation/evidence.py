"""What a run leaves behind for those who judge it. Plain values: a test can write them by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chronos.model.execution import Execution, RangeRecord
from chronos.model.job import Job
from chronos.store.port import Changes


@dataclass(frozen=True)
class Violation:
    """A promise that was not kept.

    Attributes:
        rule: `I1` … `I24`, or `harness` when the run itself went wrong.
        at: World seconds after the beginning, where it can be said.
    """

    rule: str
    what: str
    at: float | None = None


@dataclass
class Arrival:
    """A first byte at a target, as the target's own log has it.

    Attributes:
        at: World seconds after the beginning.
        clock: What the sending node's trusted clock said.
        closed: World seconds at which the target was done with it, or saw the connection close.
        life: Which life of which node sent it.
        wish_s: The floor for the next attempt that the target asked for, as a receiver would understand it.
        answer: What the target made of it.
    """

    at: float
    clock: float
    node: int
    life: int
    job_id: str
    job_name: str
    execution_id: str
    series: int
    attempt: int
    token: str
    scheduled_s: int
    not_before_us: int
    closed: float = -1.0
    answer: str = ""
    wish_s: float | None = None

    @property
    def sender(self) -> tuple[int, int]:
        """(node, life) that sent it."""
        return self.node, self.life


@dataclass
class Operation:
    """What a client asked, and what it heard.

    Attributes:
        answer: `ok`, the slug of an error, or empty when nobody can say (the node died meanwhile).
        job: The job as the answer had it.
        clock: What the node's trusted clock said at the end.
    """

    client: int
    kind: str
    name: str
    began: float
    ended: float = -1.0
    answer: str = ""
    job: Job | None = None
    job_id: str = ""
    revision: int | None = None
    already_sent: list[str] = field(default_factory=list)
    clock: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Trouble:
    """A fault, from its start to its end."""

    kind: str
    began: float
    healed: float = -1.0
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """An entry of the log and what it changed.

    Attributes:
        at: World seconds when it was folded first.
        life: The life that folded it first.
    """

    index: int
    time_us: int
    changes: tuple[Changes, ...]
    at: float
    life: int


@dataclass
class Life:
    """One life of a node, as seen from outside.

    Attributes:
        ended_by: `kill`, `power_cut`, `stop`, `storage`, or empty while it lasts.
        asked: When it was asked to stop.
        applied: The last entry it had folded when it ended.
        in_flight: Attempts sent and not yet answered when it ended.
    """

    number: int
    node: int
    began: float
    ready: float = -1.0
    ended: float = -1.0
    asked: float = -1.0
    ended_by: str = ""
    exit_code: int | None = None
    applied: int = 0
    in_flight: int = 0


@dataclass(frozen=True)
class Sample:
    """How full the queues were at a moment."""

    at: float
    waiting_commands: int
    held: int
    line: int
    open: int
    hwm_s: int
    clock: float


@dataclass
class Evidence:
    """Everything a run leaves behind.

    Attributes:
        records: Every record of every job at the end: executions open and ended, and ranges.
        revisions: By job id, every revision in order.
        deleted: By job id, the log time of its deletion in microseconds.
        quiet_from: World second from which on nothing was made to go wrong any more.
        digests: By node: the digest of its state, and of what the log folds into.
        integrity: By node and file, what SQLite or the chain says of it; `ok` when it is whole.
        complaints: What the product logged as an error of its own.
        beliefs: (world second, seconds by which the latest believable time is ahead of the world's), ascending.
    """

    begin_s: int = 0
    seconds: float = 0.0
    quiet_from: float = 0.0
    entries: list[Entry] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    records: dict[str, list[Execution | RangeRecord]] = field(default_factory=dict)
    revisions: dict[str, list[Job]] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)
    open_at_end: list[Execution] = field(default_factory=list)
    hwm_s: int = 0
    digests: dict[int, tuple[str, str]] = field(default_factory=dict)
    integrity: dict[str, str] = field(default_factory=dict)
    leaks: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    broken: list[Violation] = field(default_factory=list)
    beliefs: list[tuple[float, float]] = field(default_factory=list)

    def believed_s(self, at: float) -> float:
        """Return the latest time, in seconds since the epoch, that a node had reason to believe in by then."""
        ahead = max((offset for since, offset in self.beliefs if since <= at), default=0.0)
        return self.begin_s + at + max(0.0, ahead)
