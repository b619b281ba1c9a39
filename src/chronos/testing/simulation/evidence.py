"""What a run leaves behind for those who judge it. Plain values: a test can write them by hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from chronos.model.execution import Execution, RangeRecord
from chronos.model.job import Job
from chronos.store.port import Changes


@dataclass(frozen=True)
class Violation:
    """A promise that was not kept.

    Attributes:
        rule: `I1` … `I27`, or `harness` when the run itself went wrong.
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
class Word:
    """What a target said of work that it had taken on, and what it was answered.

    Attributes:
        life: Which life of the node heard it; 0 when none was there.
        result: `success`, `failure`, or empty while the work goes on.
        answer: `ok`, the slug of an error, or empty when nobody can say.
        cancelled: It was told to stop.
    """

    at: float
    life: int
    job_id: str
    execution_id: str
    attempt: int
    result: str = ""
    ended: float = -1.0
    answer: str = ""
    cancelled: bool = False


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
class Restore:
    """A node that was brought back from a backup.

    Attributes:
        at: When, in world seconds; `since`: when the last entry that is still there was folded.
        epoch: The restore epoch that it has opened.
    """

    at: float
    since: float
    epoch: int


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
        incarnation: By which the log knows it.
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
    incarnation: str = ""


@dataclass(frozen=True)
class Sample:
    """How full the queues were at a moment, and what the node went by: its wall clock, as far as it believed it."""

    at: float
    waiting_commands: int
    held: int
    line: int
    open: int
    hwm_s: int
    clock: float
    wall: float


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
        words: What targets reported of work that they had taken on.
        restores: Every restore, in order.
        undone: What arrived by entries of the log that a restore has taken back.
        skew_s: By how much the clocks of nodes may differ while nothing is wrong with them.
        alive: In a cluster, (world second, what an entry said of who lives), ascending.
        left: What was when a restore took it back, each as if the run had ended there.
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
    words: list[Word] = field(default_factory=list)
    restores: list[Restore] = field(default_factory=list)
    undone: list[Arrival] = field(default_factory=list)
    left: list[Evidence] = field(default_factory=list)
    alive: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    skew_s: float = 0.0

    def believed_s(self, at: float) -> float:
        """Return the latest time, in seconds since the epoch, that a node had reason to believe in by then."""
        ahead = max((offset for since, offset in self.beliefs if since <= at), default=0.0)
        return self.begin_s + at + max(0.0, ahead)

    def was_in_trouble(self, kinds: frozenset[str], since: float, until: float) -> bool:
        """Whether a fault of one of these kinds was at work between two moments."""
        return any(
            trouble.kind in kinds and trouble.began <= until and (trouble.healed < 0 or trouble.healed >= since)
            for trouble in self.troubles
        )

    def apart_s(self, since: float, until: float) -> float:
        """Return by how much the clocks of two nodes may have differed between two moments."""
        steps = (
            abs(float(trouble.facts["step"]))
            for trouble in self.troubles
            if trouble.kind == "clock_step" and trouble.began <= until and not 0 <= trouble.healed < since
        )
        return self.skew_s + max(steps, default=0.0)

    def leave(self, last: int, epoch: int, at: float) -> None:
        """Go on from entry `last`, as a restore does; what came after it is in `left`, to be judged by itself."""
        growing: dict[str, Any] = {name: list(getattr(self, name)) for name in _GROWING}
        self.left.append(replace(self, **growing, undone=[], left=[], leaks=[], complaints=[], broken=[]))
        since = self.entries[last - 1].at
        self.restores.append(Restore(at, since, epoch))
        undone = [arrival for arrival in self.arrivals if _granted_by(arrival) > last]
        self.undone += undone
        self.arrivals = [arrival for arrival in self.arrivals if _granted_by(arrival) <= last]
        self.entries = self.entries[:last]
        self.operations = [operation for operation in self.operations if 0 <= operation.ended < since]
        self.words = [word for word in self.words if 0 <= word.ended < since]
        self.samples = [sample for sample in self.samples if sample.at < since]
        self.records, self.revisions, self.deleted, self.open_at_end = {}, {}, {}, []
        self.digests, self.integrity = {}, {}


_GROWING = ("entries", "arrivals", "operations", "troubles", "lives", "samples", "beliefs", "words", "restores")


def _granted_by(arrival: Arrival) -> int:
    """Return the entry of the log by which it was sent."""
    return int(arrival.token.rpartition(".")[2])
