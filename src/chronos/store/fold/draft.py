"""What one command is about to change, seen over the state it changes."""

from __future__ import annotations

from typing import Any, TypeVar

from chronos.errors import ChronosError
from chronos.model.events import Event, EventType
from chronos.model.execution import Execution, RangeRecord
from chronos.model.job import Job
from chronos.store.entryfold import EntryView
from chronos.store.port import At, Changes, Result, View
from chronos.store.tables import META, SHARDS, SLOTS, Meta, Shard, Slots, Table

T = TypeVar("T")
_UNTOUCHED = object()


class Draft:
    """Reads see what the command has written so far; nothing reaches the state before `changes`."""

    def __init__(self, view: View, at: At) -> None:
        self.at = at
        # Two layers at once: most of what is asked for lies in neither.
        self._over: dict[tuple[str, str], Any] = {}
        self._get, self._first_event = view.get, 0
        if isinstance(view, EntryView):
            self._over, self._get, self._first_event = view.changed, view.get_under, view.events
        self._puts: dict[tuple[str, str], Any] = {}
        self._ended: list[Execution] = []
        self._ranges: list[RangeRecord] = []
        self._events: list[Event] = []
        self._shards: dict[int, Shard] = {}

    def get(self, table: Table[T], key: str) -> T | None:
        place = (table.name, key)
        value: Any = self._puts.get(place, _UNTOUCHED)
        if value is _UNTOUCHED and self._over:
            value = self._over.get(place, _UNTOUCHED)
        found: T | None = self._get(table, key) if value is _UNTOUCHED else value
        return found

    def put(self, table: Table[T], key: str, value: T) -> None:
        self._puts[table.name, key] = value

    def delete(self, table: Table[Any], key: str) -> None:
        self._puts[table.name, key] = None

    def end(self, execution: Execution) -> None:
        """Hand a terminal execution to history."""
        self._ended.append(execution)

    def record_range(self, record: RangeRecord) -> None:
        """Hand a range record, new or grown, to history."""
        self._ranges.append(record)

    def emit(self, kind: EventType, **facts: Any) -> None:
        seq = self._first_event + len(self._events)
        self._events.append(Event(type=kind, index=self.at.index, seq=seq, time_us=self.at.time_us, **facts))

    def tell(self, kind: EventType, execution: Execution, job: Job | None = None) -> None:
        """Emit what has happened to an execution: of that there is most, so it is the quickest."""
        at, events = self.at, self._events
        namespace, job_id, seq = execution.namespace, execution.job_id, self._first_event + len(events)
        events.append(Event(kind, at.index, seq, at.time_us, namespace, job_id, "", job, execution))

    def changes(self, result: Result) -> Changes:
        return Changes(result=result, puts=self._puts, ended=self._ended, ranges=self._ranges, events=self._events)

    # The values that are always there, with their defaults.

    def meta(self) -> Meta:
        return self.get(META, "meta") or Meta()

    def put_meta(self, meta: Meta) -> None:
        self.put(META, "meta", meta)

    def shard(self, number: int = 0) -> Shard:
        shard = self._shards.get(number)
        if shard is None:
            shard = self._shards[number] = self.get(SHARDS, str(number)) or Shard()
        return shard

    def put_shard(self, shard: Shard, number: int = 0) -> None:
        self._shards[number] = shard
        self.put(SHARDS, str(number), shard)

    def slots(self, job_id: str) -> Slots:
        return self.get(SLOTS, job_id) or Slots()

    def put_slots(self, job_id: str, slots: Slots) -> None:
        self.put(SLOTS, job_id, slots)


def accepted(value: Any = None, **facts: Any) -> Result:
    """Return the verdict yes."""
    return Result(value=value, facts=facts)


def rejected(error: type[ChronosError], message: str | None = None, **facts: Any) -> Result:
    """Return the verdict no: a value, because a command that no longer fits is no bug."""
    return Result(error=error.slug, message=str(error(message)), facts=facts)
