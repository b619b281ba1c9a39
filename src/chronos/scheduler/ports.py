"""What the scheduler needs from other rooms."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence, Set
from typing import Any, Protocol

from chronos.dispatch.port import Executor, OnDone
from chronos.model.events import Event, EventType
from chronos.model.execution import Execution, RangeRecord
from chronos.model.job import Job
from chronos.model.times import PlanRow
from chronos.store.commands import Command
from chronos.store.port import Result, View
from chronos.store.tables import Table


class Commands(Protocol):
    """The log, as those see it who write (`store.commandlog.CommandLog`)."""

    @property
    def view(self) -> View: ...

    @property
    def time_us(self) -> int:
        """Log time: microseconds since the epoch, as of the last entry."""
        ...

    @property
    def is_asked(self) -> bool:
        """Whether somebody outside has had something written in the last seconds."""
        ...

    async def told(self) -> None:
        """Return when subscribers have been told all that `view` shows: a few turns of the loop."""
        ...

    async def propose(self, command: Command) -> Result:
        """Return the verdict once it is durable and folded; raises the error that a rejection names."""
        ...

    def submit(self, commands: Sequence[Command]) -> asyncio.Future[list[Result]]:
        """Enqueue, in order, into one entry; the verdicts come without raising."""
        ...

    def read_ahead(self, table: Table[Any], keys: Sequence[str]) -> None:
        """Have at hand what `view` will be asked for: many values are read more cheaply than one and one."""
        ...

    def subscribe(self, listener: Callable[[Sequence[Event]], None], *, of: Set[EventType] = ...) -> None:
        """Call `listener` with the events of every entry that are `of` these kinds; of all kinds without any."""
        ...


class Readings(Protocol):
    """The reads that are not by key (`store.queries.Queries`)."""

    def all_jobs(self) -> Iterator[Job]: ...
    def plan_rows(self) -> Iterator[PlanRow]: ...
    def jobs_with(self, trait: str) -> Iterator[Job]: ...
    def open_executions(self) -> Iterable[Execution]: ...
    async def execution(self, record_id: str) -> Execution | RangeRecord | None: ...
    def history_begins_us(self) -> int: ...


MakeExecutor = Callable[[OnDone], Executor]

Probe = Callable[[Job, str], Awaitable[bool | None]]
"""Asks the job's `probe_url` about an execution: True it ran, False it did not, None nobody can say."""
