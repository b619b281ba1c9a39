"""What the target has seen, and what a dead server has left on disk."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from chronos.cluster.local import LocalLog
from chronos.model.execution import AttemptStatus, Execution
from chronos.store.commandlog import CommandLog
from chronos.store.offload import Inline
from chronos.store.records import AFTER_ALL, Record, RecordFilter
from chronos.store.sqlite import SqliteState
from chronos.timing.clock import SeededChance, SystemClock

TARGET = Path(__file__).with_name("target.py")

NOTICED_S = 10.0
"""By then, a server has noticed that its worker is dead, and has written it down."""

OK, ACCEPTED, FAILED = 200, 202, 500

Sent = tuple[str, int]
"""An execution's id and an attempt's number."""


@dataclass
class Arrival:
    """One request at the target.

    Attributes:
        status: What it was answered; 0 when it was not.
        until: When it was answered, or when the other side hung up; infinity until then.
        result: What was reported of it later; empty when nothing was.
        said_at: When it was first told; a server that died before it answered may have heard it.
        taken: What a server answered to that.
        taken_at: When it did.
        token: The fencing token it came with.
    """

    at: float
    job: str
    id: str
    attempt: int
    due: str
    status: int = 0
    until: float = float("inf")
    result: str = ""
    said_at: float = 0.0
    taken: int = 0
    taken_at: float = 0.0
    token: str = ""

    @property
    def outcome(self) -> int:
        """What it came to as far as a server was told: its status, or for work that went on what was reported of it."""
        if self.status != ACCEPTED or self.taken != OK:
            return self.status
        return OK if self.result == "success" else FAILED

    @property
    def over(self) -> float:
        """When the target had done with it; work that was never reported counts as done with its answer."""
        return max(self.until, self.said_at)


@dataclass
class Witness:
    """The target in a process of its own, and its log as far as it was read.

    Attributes:
        within: What to put before its command, so that it runs somewhere else than here.
        host: The address at which it listens.
        stalls: When it stood still itself: since when, and until when.
    """

    path: Path
    within: Sequence[str] = ()
    host: str = "127.0.0.1"
    port: int = 0
    stalls: list[tuple[float, float]] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    repeated: list[Sent] = field(default_factory=list)
    by_sent: dict[Sent, Arrival] = field(default_factory=dict)
    _offset: int = 0
    _process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self.within,
            sys.executable,
            str(TARGET),
            str(self.path),
            str(self._where),
            self.host,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.port = int((await self._process.stdout.readline()).split()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.returncode is None, "the target must survive"
        self._process.kill()
        await self._process.wait()

    @property
    def _where(self) -> Path:
        return self.path.with_suffix(".where")

    def server_is_at(self, url: str) -> None:
        """Tell the target where to report from now on."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(url)
        fresh.replace(self._where)

    def read(self) -> None:
        """Read what is new in the log."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._take(json.loads(line))

    def _take(self, line: dict[str, object]) -> None:
        event, at = line.pop("event"), float(str(line.pop("at")))
        if event == "stalled":
            self.stalls.append((float(str(line["since"])), at))
            return
        if event == "arrived":
            arrival = Arrival(at=at, **line)  # type: ignore[arg-type]  # the fields are the target's own
            if (arrival.id, arrival.attempt) in self.by_sent:
                self.repeated.append((arrival.id, arrival.attempt))
            self.by_sent[arrival.id, arrival.attempt] = arrival
            self.arrivals.append(arrival)
            return
        arrival = self.by_sent[str(line["id"]), int(str(line["attempt"]))]
        if event == "reported":
            arrival.result, arrival.taken, arrival.taken_at = str(line["result"]), int(str(line["status"])), at
            arrival.said_at = float(str(line["since"]))
            return
        arrival.until = at
        if event == "answered":
            arrival.status = int(str(line["status"]))

    def rate(self, until: float, late_s: float = float("inf")) -> int:
        """Return how many requests arrived in the second before `until`, at most `late_s` after they were due."""
        self.read()
        recent = (arrival for arrival in self.arrivals[-2_000:] if until - 1 < arrival.at <= until)
        return sum(1 for arrival in recent if arrival.at - seconds(arrival.due) <= late_s)


class Left(NamedTuple):
    """What a server has left on disk when it died.

    Attributes:
        ended: The highest number of attempt of each execution whose outcome is recorded, and that outcome.
        in_flight: Attempts that might have been sent, and of which nothing is recorded.
        accepted: Attempts whose target had said that it would report.
    """

    at: float
    how: str
    ended: dict[str, tuple[int, str]]
    in_flight: set[Sent]
    accepted: frozenset[Sent] = frozenset()


def seconds(text: str) -> int:
    """Return an instant as whole seconds since the epoch."""
    return int(datetime.fromisoformat(text).timestamp())


async def left_behind(copy: Path, at: float, how: str) -> Left:
    """Return what a dead server has recorded, from a copy of its disk."""
    records, running = await recorded(copy)
    executions = [record for record in records if isinstance(record, Execution)]
    attempts = [(each.id, each.running_attempt) for each in running if each.running_attempt]
    return Left(
        at,
        how,
        {each.id: (len(each.attempts), each.status.value) for each in executions if each.is_terminal},
        {(key, attempt.n) for key, attempt in attempts if not attempt.is_accepted},
        frozenset((key, attempt.n) for key, attempt in attempts if attempt.is_accepted),
    )


def lost_with(deaths: list[float], executions: list[Execution]) -> frozenset[Sent]:
    """Return the attempts that are recorded as unknown because a worker process died, at one of these moments."""
    return frozenset(
        (execution.id, attempt.n)
        for execution in executions
        for attempt in execution.attempts
        if attempt.status is AttemptStatus.UNKNOWN
        and attempt.error.startswith("worker process")
        and any(0 <= attempt.ended_at_us / 1e6 - death <= NOTICED_S for death in deaths)
    )


def worker_of(pid: int) -> int:
    """Return the only child of a server: its worker process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    [child] = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return child


async def recorded(copy: Path) -> tuple[list[Record], list[Execution]]:
    """Recover a copy of a data folder; return all of history, and the executions that have not ended."""
    log, state = LocalLog(copy / "log"), SqliteState(copy, offload=Inline)
    commands = CommandLog(log, state, SystemClock(), SeededChance(random.Random(0)))
    async with log:
        await state.start()
        await commands._recover()  # nothing is added to what is there
        found = await state.find_records(RecordFilter(), AFTER_ALL, 1_000_000)
        running = state.open_executions()
        await state.stop()
    return found, running


def copy_disk(data: Path, copy: Path) -> None:
    """Copy what a dead server has left."""
    copy.mkdir()
    for name in ("log", "history"):
        shutil.copytree(data / name, copy / name)
    for path in data.glob("state.db*"):
        shutil.copy(path, copy / path.name)
