"""The ordered log as a cluster's engine offers it. Bytes only: what they mean is the store's business."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple, Protocol, runtime_checkable


class Entry(NamedTuple):
    """One entry as it lies in the log."""

    index: int  # type: ignore[assignment]  # a tuple's own method of this name is never called here
    epoch: int
    data: bytes


class Epoch(NamedTuple):
    """Proof of leadership, for the append's compare only; terms are counted in the fold."""

    id: int


class LeaderInfo(NamedTuple):
    """Who leads; `node` is empty while nobody does.

    Attributes:
        to: Whom a leader that has resigned would like to follow it; empty when it does not mind.
    """

    node: str
    address: str
    epoch: int
    to: str = ""


class Claim(NamedTuple):
    """What has become of an attempt to take the lead over.

    Attributes:
        leader: Who leads; this node, in its new epoch, when it has won.
        moved: Not won, though nobody else has taken the lead: more was appended than this node has seen.
    """

    won: bool
    leader: LeaderInfo
    moved: bool = False


class Progress(NamedTuple):
    """Up to which entry a node has everything on disk, and where it is reached."""

    durable_index: int
    address: str


class Health(NamedTuple):
    """How the log itself is doing.

    Attributes:
        bytes: What the retained entries weigh.
        detail: One sentence for an administrator; empty when all is well.
    """

    ok: bool
    first: int
    last: int
    bytes: int
    detail: str = ""


@runtime_checkable
class ReplicatedLog(Protocol):
    """A totally ordered, durable log and the seat of leadership.

    Indexes are dense and begin at 1. Every method may raise `LogFailed` (stop the process, exit 75; the write's
    outcome is unknown, and must not be tried again in place) and `Unavailable`.
    """

    async def append(self, index: int, data: bytes, epoch: Epoch) -> None:
        """Make `data` the entry at `index`; return when it is durable.

        Idempotent at (index, data): asked again with the same bytes, it succeeds and changes nothing.

        Raises:
            Fenced: `epoch` no longer leads, or other bytes lie at `index`.
            StorageFull: Nothing was written; the same index may be appended later.
            ValueError: `index` would leave a gap.
        """
        ...

    def tail(self, frm: int) -> AsyncIterator[Entry]:
        """Yield the entries from `frm` on, dense and in order, verified, up to the end at the time of the call.

        Raises:
            SnapshotNeeded: `frm` was truncated away.
            LogDamaged: An entry does not verify; `last_good` names the last one that does.
        """
        ...

    def follow(self, frm: int) -> AsyncIterator[Entry]:
        """Yield the entries from `frm` on as `tail` does, and then every new one, without end.

        Raises:
            SnapshotNeeded: `frm`, or one that was still to come, was truncated away; `first` is the first there is.
            LogDamaged: An entry does not verify; `last_good` names the last one that does.
        """
        ...

    async def bounds(self) -> tuple[int, int]:
        """Return (first retained index, last index), linearizable; first = last + 1 when it is empty."""
        ...

    async def truncate(self, below: int, epoch: Epoch) -> None:
        """Forget the entries below `below`, but never the newest one. Truncating less than before does nothing."""
        ...

    async def keep_from(self, entries: int, size: int) -> int:
        """Return the lowest index from which on at most `entries` entries of `size` bytes together remain.

        At least the newest entry remains, however big it is.
        """
        ...

    async def read_barrier(self) -> int:
        """Return the last index, linearizable: whoever has folded up to it sees every acknowledged write."""
        ...

    async def campaign(self) -> Epoch:
        """Take the lead; whoever led before is fenced from now on. Returns when it is won."""
        ...

    async def take_over(self, seen: int, last: int | None = None) -> Claim:
        """Take the lead if nobody has taken it since the epoch `seen`, and nothing was appended behind entry `last`.

        Without `last` only the epoch counts. No error when it was not won.
        """
        ...

    async def resign(self, epoch: Epoch, to: str | None = None) -> None:
        """Give the lead up, to node `to` if it wants it. No error when it is lost already."""
        ...

    def leadership(self) -> AsyncIterator[LeaderInfo]:
        """Yield who leads now, and then every change of it, without end."""
        ...

    async def publish_progress(self, node: str, durable_index: int, address: str) -> None:
        """Tell the others up to which entry `node` has everything on disk."""
        ...

    async def progress(self) -> Mapping[str, Progress]:
        """Return what each node has published last."""
        ...

    async def health(self) -> Health:
        """Return how the log is doing; never raises."""
        ...


class EngineMember(NamedTuple):
    """One member of the engine.

    Attributes:
        id: What the engine calls it; another one whenever it is added anew.
        name: Its node; empty until it has started for the first time, but for those that found a cluster together.
        address: `host:port` at which the others reach it.
        is_learner: It gets what the others agree on, and has no vote yet.
        has_begun: Whether it has ever told the others where it takes requests, which it does first of all.
    """

    id: str
    name: str
    address: str
    is_learner: bool
    has_begun: bool = True


class EngineMembers(Protocol):
    """Who agrees on the log. Every method may raise `Unavailable`."""

    async def all(self) -> list[EngineMember]:
        """Return the members, as the majority knows them."""
        ...

    async def add(self, address: str) -> EngineMember:
        """Let one join that will be reached there; it is a learner. Adding it once more changes nothing.

        Raises:
            Conflict: Another one is learning.
        """
        ...

    async def promote(self, member: str) -> None:
        """Give a learner its vote; one that has it keeps it.

        Raises:
            NotFound: There is no such member.
            Conflict: It has not caught up yet, or does not run.
        """
        ...

    async def remove(self, member: str) -> None:
        """Let one go for good. No error when there is none of this id."""
        ...

    async def hand_over(self, member: str) -> bool:
        """If the member beside this node leads the others, let `member` do so; return whether it led."""
        ...
