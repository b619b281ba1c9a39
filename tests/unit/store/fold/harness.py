"""The fold over a dict, with a log clock that a test sets: commands go in, and what became of them can be asked."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from chronos.model.events import Event, EventType
from chronos.model.execution import (
    Attempt,
    AttemptStatus,
    Execution,
    Kind,
    Ongoing,
    RangeRecord,
    SkipReason,
    execution_id,
)
from chronos.model.job import Concurrency, Job, JobSpec, Pause
from chronos.store.commands import (
    Backfill,
    Command,
    Decide,
    Idem,
    LogEntry,
    NewLeader,
    Next,
    Owed,
    PutJob,
    Report,
    SetPause,
    Settle,
    Settlement,
    Start,
    StartAttempt,
    Trigger,
    decode_entry,
    encode_entry,
)
from chronos.store.entryfold import events_of
from chronos.store.machine import apply
from chronos.store.port import At, Changes, Result
from chronos.store.tables import DEAD, JOBS, META, OPEN, SHARDS, SLOTS, Meta, Shard, Slots, Table

T = TypeVar("T")

BEGIN_S = 1_800_000_000
NODE = "n1/A"
S = 1_000_000


class Dict:
    """A `View` over a dict."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Any] = {}

    def get(self, table: Table[T], key: str) -> T | None:
        value: T | None = self.rows.get((table.name, key))
        return value


class Machine:
    """Folds commands in order and keeps all that the fold hands out.

    Attributes:
        now_us: The log time of the next command.
        ended: What has gone to history, by (id, series); a second row for one key is an error.
    """

    def __init__(self) -> None:
        self.view = Dict()
        self.now_us = BEGIN_S * S
        self.index = 0
        self.log: list[tuple[At, Command]] = []
        self.events: list[Event] = []
        self.ended: dict[tuple[str, int], Execution] = {}
        self.ranges: dict[tuple[str, int, str], RangeRecord] = {}

    # Time and commands.

    def at(self, seconds: float) -> Machine:
        """Set the log clock to `seconds` after the beginning."""
        self.now_us = BEGIN_S * S + round(seconds * S)
        return self

    def do(self, command: Command) -> Result:
        """Fold a command as it comes back from the log, and return the verdict."""
        self.index += 1
        at = At(self.index, self.now_us)
        command = decode_entry(encode_entry(LogEntry(1, at.time_us, b"", [command]))).commands[0]
        self.log.append((at, command))
        changes = apply(self.view, command, at)
        self.keep(changes)
        return changes.result

    def keep(self, changes: Changes) -> None:
        for key, value in changes.puts.items():
            if value is None:
                self.view.rows.pop(key, None)
            else:
                self.view.rows[key] = value
        for execution in changes.ended:
            row = (execution.id, execution.series)
            assert row not in self.ended, f"{row} has ended before, and ends again"
            assert execution.is_terminal
            self.ended[row] = execution
        for record in changes.ranges:
            self.ranges[record.job_id, record.first_s, record.reason.value] = record
        self.events += events_of([changes])

    # The usual requests.

    def lead(self) -> Machine:
        self.do(NewLeader("n1", NODE))
        return self

    def create(self, name: str = "nightly", *, owed: list[Owed] | None = None, **spec: Any) -> Job:
        result = self.put(name, owed=owed, expect=0, **spec)
        assert result.ok, result
        job: Job = result.value
        return job

    def put(
        self,
        name: str = "nightly",
        *,
        job_id: str = "",
        expect: int = -1,
        owed: list[Owed] | None = None,
        owed_to: int | None = None,
        same: bool = False,
        idem: Idem | None = None,
        **spec: Any,
    ) -> Result:
        mark = self.shard.hwm_s if owed_to is None else owed_to
        command = PutJob(
            job_id or f"J-{name}", a_spec(name, **spec), "ann", expect, owed or [], mark, same_schedule=same, idem=idem
        )
        return self.do(command)

    def pause(self, job: Job, **pause: Any) -> Result:
        return self.do(SetPause(job.id, Pause(**pause), "ann", owed_to=self.shard.hwm_s))

    def resume(self, job: Job, owed: list[Owed] | None = None) -> Result:
        return self.do(SetPause(job.id, None, "ann", owed_ahead=owed or [], owed_to=self.shard.hwm_s))

    def decide(self, to: int, *owed: Owed, ranges: list[RangeRecord] | None = None) -> Result:
        """Decide up to `to` seconds after the beginning."""
        shard = self.shard
        return self.do(Decide(0, shard.hwm_s, BEGIN_S + to, shard.plan_version, list(owed), ranges or [], NODE))

    def due(self, job: Job, *seconds: int, late: bool = False) -> list[str]:
        """Decide these instants of a job, and return the ids of their executions."""
        instants = [owed(job, second, late=late) for second in seconds]
        assert self.decide(max([*seconds, self.shard.hwm_s - BEGIN_S]), *instants).ok
        return [schedule_id(job, second) for second in seconds]

    def start(self, *keys: str, not_before: float | None = None, n: int | None = None) -> list[str]:
        """Ask for the right to send; return the ids of those that have it."""
        before_us = self.now_us if not_before is None else BEGIN_S * S + round(not_before * S)
        asked = []
        for key in keys:
            execution = self.view.get(OPEN, key)
            following = execution.next_attempt if execution else 1
            asked.append(StartAttempt(key, following if n is None else n, NODE, before_us))
        result = self.do(Start(asked))
        return [execution.id for execution in result.value]

    def settle(self, key: str, what: Next, *, retry_in: float = 0.0, unknown: bool = False, reason: str = "") -> Result:
        """Settle the running attempt of an execution."""
        attempt = self.open(key).running_attempt
        assert attempt is not None
        return self.settle_attempt(key, attempt, what, retry_in=retry_in, unknown=unknown, reason=reason)

    def settle_attempt(
        self,
        key: str,
        attempt: Attempt,
        what: Next,
        *,
        retry_in: float = 0.0,
        unknown: bool = False,
        reason: str = "",
    ) -> Result:
        status = AttemptStatus.UNKNOWN if unknown else _ENDS_AS[what]
        ended = msgspec.structs.replace(attempt, status=status)
        at_us = self.now_us + round(retry_in * S)
        return self.do(Settle([Settlement(key, ended, what, at_us, unknown, reason)]))

    def accept(self, key: str, *, deadline_us: int = 0, heartbeat_us: int = 0) -> Result:
        """The target of the running attempt takes the work on."""
        attempt = self.open(key).running_attempt
        assert attempt is not None
        ongoing = Ongoing(self.now_us, deadline_us, heartbeat_us, self.now_us)
        taken = msgspec.structs.replace(attempt, status_code=202, ongoing=ongoing)
        return self.do(Settle([Settlement(key, taken, Next.GO_ON)]))

    def report(self, key: str, *, n: int = 0, progress: int = -1, message: str = "") -> Result:
        """Report on the running attempt, or on number `n`."""
        execution = self.view.get(OPEN, key)
        running = execution.running_attempt if execution is not None else None
        return self.do(Report(key, n or (running.n if running else 1), progress, message))

    def trigger(self, job: Job, name: str = "t1", **more: Any) -> Result:
        instant = self.now_us // S
        key = execution_id(job.id, Kind.MANUAL, name, instant)
        return self.do(Trigger(key, job.id, Kind.MANUAL, name, instant, "ann", **more))

    def backfill(self, job: Job, *seconds: int, name: str = "b1") -> list[str]:
        result = self.do(Backfill(job.id, name, [BEGIN_S + s for s in seconds], "ann"))
        ids: list[str] = result.value
        return ids

    # What is true now.

    def open(self, key: str) -> Execution:
        execution = self.view.get(OPEN, key)
        assert execution is not None, f"{key} is not open"
        return execution

    def is_open(self, key: str) -> bool:
        return self.view.get(OPEN, key) is not None

    def end_of(self, key: str, series: int = 0) -> Execution:
        assert not self.is_open(key), f"{key} is still open"
        return self.ended[key, series]

    def job(self, job: Job) -> Job:
        found = self.view.get(JOBS, job.id)
        assert found is not None
        return found

    def slots(self, job: Job) -> Slots:
        return self.view.get(SLOTS, job.id) or Slots()

    def dead(self, key: str) -> Execution | None:
        return self.view.get(DEAD, key)

    def skips(self, job: Job) -> list[tuple[str, int, int, int]]:
        """Return (reason, first second, last second, count) of the job's range records."""
        mine = [r for r in self.ranges.values() if r.job_id == job.id]
        return sorted((r.reason.value, r.first_s - BEGIN_S, r.last_s - BEGIN_S, r.count) for r in mine)

    @property
    def shard(self) -> Shard:
        return self.view.get(SHARDS, "0") or Shard()

    @property
    def meta(self) -> Meta:
        return self.view.get(META, "meta") or Meta()

    def told(self, kind: EventType) -> list[Event]:
        return [event for event in self.events if event.type is kind]


_ENDS_AS = {
    Next.SUCCEED: AttemptStatus.SUCCESS,
    Next.RETRY: AttemptStatus.FAILED,
    Next.FAIL: AttemptStatus.FAILED,
    Next.AGAIN: AttemptStatus.STARTED,
    Next.CANCEL: AttemptStatus.CANCELLED,
}


def a_machine() -> Machine:
    """Return a machine whose leader has begun to plan at second 0."""
    machine = Machine().lead()
    machine.do(Decide(0, 0, BEGIN_S, 0))
    return machine


def a_spec(name: str = "nightly", **spec: Any) -> JobSpec:
    given: dict[str, Any] = {"schedule": "* * * * * *", "webhook": {"url": "http://127.0.0.1:9/"}, "name": name}
    return msgspec.convert(given | spec, JobSpec).normal()


def owed(job: Job | str, second: int, *, late: bool = False, jitter: float = 0.0, claim: bool = False) -> Owed:
    """Return what a job owes at `second`; with a claim it asks for the right to send at once."""
    job_id = job if isinstance(job, str) else job.id
    effective_us = (BEGIN_S + second) * S + round(jitter * S)
    return Owed(job_id, BEGIN_S + second, effective_us, late, not_before_us=effective_us if claim else 0)


def a_range(job: Job, first: int, last: int, reason: SkipReason = SkipReason.MISFIRE) -> RangeRecord:
    """Return a record of every second from `first` to `last`."""
    return RangeRecord(job.id, job.namespace, BEGIN_S + first, BEGIN_S + last, last - first + 1, reason)


def schedule_id(job: Job, second: int) -> str:
    return execution_id(job.id, Kind.SCHEDULE, str(BEGIN_S + second), BEGIN_S + second)


ALLOW, FORBID, QUEUE, REPLACE = (
    c.value for c in (Concurrency.ALLOW, Concurrency.FORBID, Concurrency.QUEUE, Concurrency.REPLACE)
)
