"""What the rest of the house may import from the store, apart from the commands themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, TypeVar

from msgspec import Struct, field

from chronos.model.events import Event
from chronos.model.execution import Execution, RangeRecord
from chronos.store.tables import Table

T = TypeVar("T")


class View(Protocol):
    """The state, looked up by key. Two implementations: a dict, and SQLite behind a cache."""

    def get(self, table: Table[T], key: str) -> T | None:
        """Return the value under `key`, or None. Values are frozen; nobody changes one in place."""
        ...


class At(Struct, frozen=True, gc=False):
    """Where in the log a command stands. The only time the fold knows."""

    index: int
    time_us: int


class Result(Struct, frozen=True, gc=False, kw_only=True):
    """The fold's verdict on one command.

    Attributes:
        error: The slug of what is wrong; empty when it was accepted.
        value: What was written: a `Job`, an `Execution`, a `Document`, or a list of them.
        replayed: The verdict of an earlier request with the same idempotency key.
    """

    error: str = ""
    message: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    value: Any = None
    replayed: bool = False

    @property
    def ok(self) -> bool:
        return not self.error


class Changes(Struct):
    """What one command changes.

    Attributes:
        puts: New values by (table name, key); None deletes.
        ended: Executions that came to their end, for history; a row is keyed by (id, series).
        ranges: Range records that began or grew, for history; keyed by (job id, first instant, reason).
    """

    result: Result
    puts: dict[tuple[str, str], Any] = field(default_factory=dict)
    ended: list[Execution] = field(default_factory=list)
    ranges: list[RangeRecord] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


class LogRow(Protocol):
    """An entry as the log hands it back."""

    @property
    def index(self) -> int: ...
    @property
    def data(self) -> bytes: ...


class EpochToken(Protocol):
    """Proof of leadership, opaque to the store."""

    @property
    def id(self) -> int: ...


class Log(Protocol):
    """The ordered log as the store needs it (the whole port is `cluster.port.ReplicatedLog`)."""

    async def append(self, index: int, data: bytes, epoch: Any) -> None:
        """Make `data` the entry at `index`, durably. Idempotent at (index, data); raises when fenced or full."""
        ...

    def tail(self, frm: int) -> AsyncIterator[Any]:
        """Yield the entries from `frm` on, dense and in order, to the end as it is now."""
        ...

    async def campaign(self) -> Any:
        """Take the lead and return the proof of it that `append` and `truncate` ask for."""
        ...

    async def bounds(self) -> tuple[int, int]:
        """Return (first retained index, last index); first = last + 1 when it is empty."""
        ...

    async def truncate(self, below: int, epoch: Any) -> None:
        """Forget the entries below `below`."""
        ...

    async def keep_from(self, entries: int, size: int) -> int:
        """Return the lowest index from which on at most `entries` entries of `size` bytes remain."""
        ...

    async def health(self) -> Any:
        """Return how the log is doing: `first`, `last`, and what the entries weigh (`bytes`); never raises."""
        ...


class FollowedLog(Log, Protocol):
    """The log, as a node needs it that is one of several."""

    def follow(self, frm: int) -> AsyncIterator[Any]:
        """Yield the entries from `frm` on, dense and in order, and then every new one, without end."""
        ...

    async def read_barrier(self) -> int:
        """Return the last index, linearizable: whoever has folded up to it sees every acknowledged write."""
        ...


StateDump = Mapping[tuple[str, str], Any]
