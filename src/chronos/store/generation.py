"""What has changed in state and history between two flushes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct, field

from chronos.model.execution import Execution
from chronos.model.job import Job
from chronos.store.records import Record
from chronos.store.refolding import Journaled
from chronos.store.state import Key


class Part(Struct):
    """Records that are written before those behind them: history is cut between the two, or may be.

    Attributes:
        index: The last entry that they have all of, and `time_us` its log time.
        is_written: Whether they are on disk. Where history was cut behind them, they must not be written again.
    """

    records: dict[tuple[str, int], Record]
    days: dict[tuple[str, int], int]
    index: int
    time_us: int
    is_written: bool = False


class Generation(Struct):
    """What has changed between two flushes.

    Attributes:
        fresh: Keys of `puts` that are not in state.db; deleting one forgets it.
        jobs: The jobs among `puts`, by id; None for those that are gone. Searches for jobs lay them over the file.
        days: How long each of `records` is kept; 0 is as long as the server says for all.
        parts: What of `records` has to be written before the rest, in this order.
        rest: The rest, where there are parts.
        journal: While history is folded once more, every version of `records`, with the entry that made it.
    """

    puts: dict[Key, Any] = field(default_factory=dict)
    fresh: set[Key] = field(default_factory=set)
    jobs: dict[str, Job | None] = field(default_factory=dict)
    records: dict[tuple[str, int], Record] = field(default_factory=dict)
    days: dict[tuple[str, int], int] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    rest: dict[tuple[str, int], Record] = field(default_factory=dict)
    journal: list[Journaled] = field(default_factory=list)

    @property
    def last(self) -> dict[tuple[str, int], Record]:
        """The records behind all parts."""
        return self.rest if self.parts else self.records

    def cut(self, index: int, time_us: int) -> None:
        """Have what was recorded up to entry `index` written before what comes."""
        if self.last:
            self.parts.append(Part(dict(self.last), dict(self.days), index, time_us))
            self.rest = {}

    def record_ended(self, ended: Sequence[Execution], days: Sequence[int]) -> None:
        """Take in executions that have come to their end, and how long each is kept."""
        places = [(execution.id, execution.series) for execution in ended]
        self.records.update(zip(places, ended, strict=True))
        self.days.update(zip(places, days, strict=True))
        if self.parts:
            self.rest.update(zip(places, ended, strict=True))

    def record(self, place: tuple[str, int], record: Record, days: int) -> None:
        """Take a record in, or its newer version."""
        self.records[place] = record
        self.days[place] = days
        if self.parts:
            self.rest[place] = record

    def take_back(self, batch: Generation, index: int, time_us: int, *, in_order: bool) -> None:
        """Take in what could not be written, before what has changed since.

        Nobody knows how far the write has come, so nothing of it counts as fresh; writing it again is harmless.

        Args:
            index: The last entry of the batch, and `time_us` its log time.
            in_order: Whether its records have to be written before what was recorded since.
        """
        self.fresh -= batch.puts.keys()
        self.puts = {**batch.puts, **self.puts}
        self.jobs = {**batch.jobs, **self.jobs}
        if in_order and batch.records:
            self.rest = dict(self.last)
            self.parts = [*batch.parts, Part(batch.last, batch.days, index, time_us), *self.parts]
        self.records = {**batch.records, **self.records}
        self.days = {**batch.days, **self.days}
        self.journal = batch.journal + self.journal
