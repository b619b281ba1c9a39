"""A log in memory: for tests and simulation, on any loop, without a thread.

Several `MemoryLog`s over one `SharedLog` are the nodes of a cluster: they see one order and fence each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType

from chronos.cluster.growth import Growth
from chronos.cluster.port import Claim, EngineMember, Entry, Epoch, Health, LeaderInfo, Progress
from chronos.errors import Conflict, Fenced, NotFound, SnapshotNeeded, StorageFull, Unavailable


class SharedLog:
    """What all nodes agree on. It outlives the `MemoryLog`s that look at it, as a disk outlives a process.

    Attributes:
        bytes_max: What the retained entries may weigh together.
    """

    def __init__(self, bytes_max: int = 1 << 30) -> None:
        self.entries: dict[int, Entry] = {}
        self.base = 0
        self.last = 0
        self.bytes = 0
        self.bytes_max = bytes_max
        self.leader = LeaderInfo("", "", 0)
        self.progress: dict[str, Progress] = {}
        self.leader_changed = asyncio.Condition()
        self.growth = Growth()


class MemoryLog:
    """One node's door to a `SharedLog`.

    Args:
        latency: Seconds the next append takes; called once for each.
        patience: For how many seconds nothing must have been heard of a leader before its place is taken; called
            once for each wait. Without it the lead is taken at once.
    """

    def __init__(
        self,
        shared: SharedLog | None = None,
        *,
        node: str = "local",
        address: str = "",
        latency: Callable[[], float] | None = None,
        patience: Callable[[], float] | None = None,
    ) -> None:
        self._shared = shared or SharedLog()
        self._node = node
        self._address = address
        self._latency = latency
        self._patience = patience
        self._connected = asyncio.Event()
        self._connected.set()

    async def __aenter__(self) -> MemoryLog:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def append(self, index: int, data: bytes, epoch: Epoch) -> None:
        if self._latency is not None:
            await asyncio.sleep(self._latency())
        self._reachable()
        shared = self._shared
        if epoch.id != shared.leader.epoch:
            raise Fenced(leader=shared.leader.node)
        if index <= shared.last:
            self._same_as_before(index, data)
            return
        if index > shared.last + 1:
            raise ValueError(f"entry {index} would leave a gap after {shared.last}")
        if shared.bytes + len(data) > shared.bytes_max:
            raise StorageFull
        shared.entries[index] = Entry(index, epoch.id, data)
        shared.last = index
        shared.bytes += len(data)
        shared.growth.tell()

    def _same_as_before(self, index: int, data: bytes) -> None:
        there = self._shared.entries.get(index)
        if there is None or there.data != data:
            raise Fenced(f"Entry {index} holds other bytes already.", leader=self._shared.leader.node)

    async def tail(self, frm: int) -> AsyncIterator[Entry]:
        shared = self._shared
        end = shared.last
        for index in range(frm, end + 1):
            if index <= shared.base:
                raise SnapshotNeeded(first=shared.base + 1)
            yield shared.entries[index]

    async def follow(self, frm: int) -> AsyncIterator[Entry]:
        while True:
            seen = self._shared.growth.count
            async for entry in self.tail(frm):
                await self._connected.wait()
                yield entry
                frm = entry.index + 1
            await self._shared.growth.since(seen)

    async def bounds(self) -> tuple[int, int]:
        return self._shared.base + 1, self._shared.last

    async def truncate(self, below: int, epoch: Epoch) -> None:
        shared = self._shared
        if epoch.id != shared.leader.epoch:
            raise Fenced(leader=shared.leader.node)
        below = min(below, shared.last)
        for index in range(shared.base + 1, below):
            shared.bytes -= len(shared.entries.pop(index).data)
            shared.base = index

    async def keep_from(self, entries: int, size: int) -> int:
        shared = self._shared
        first, total = shared.last, 0
        for index in range(shared.last, shared.base, -1):
            total += len(shared.entries[index].data)
            if shared.last - index >= entries or total > size:
                break
            first = index
        return first

    async def read_barrier(self) -> int:
        self._reachable()
        return self._shared.last

    async def campaign(self) -> Epoch:
        while True:
            seen = await self._silence()
            mine = LeaderInfo(self._node, self._address, seen + 1)
            if await self._lead(mine, instead_of=seen):
                return Epoch(mine.epoch)

    async def take_over(self, seen: int, last: int | None = None) -> Claim:
        self._reachable()
        shared = self._shared
        if last is not None and last < shared.last and shared.leader.epoch == seen:
            return Claim(False, shared.leader, moved=True)
        mine = LeaderInfo(self._node, self._address, seen + 1)
        if await self._lead(mine, instead_of=seen):
            return Claim(True, mine)
        return Claim(False, shared.leader)

    async def resign(self, epoch: Epoch, to: str | None = None) -> None:
        await self._lead(LeaderInfo("", "", epoch.id + 1, to or ""), instead_of=epoch.id)

    async def _lead(self, leader: LeaderInfo, *, instead_of: int) -> bool:
        shared = self._shared
        async with shared.leader_changed:
            if shared.leader.epoch != instead_of:
                return False
            shared.leader = leader
            shared.leader_changed.notify_all()
        shared.growth.tell()
        return True

    async def _silence(self) -> int:
        """Return the epoch of a leader whose place may be taken."""
        shared = self._shared
        while True:
            await self._connected.wait()
            leader, seen = shared.leader, shared.growth.count
            is_free = leader.node == self._node or (not leader.node and leader.to in ("", self._node))
            if self._patience is None or is_free:
                return leader.epoch
            try:
                async with asyncio.timeout(self._patience()):
                    await shared.growth.since(seen)
            except TimeoutError:
                if not self.cut_off:
                    return leader.epoch

    def _reachable(self) -> None:
        if self.cut_off:
            raise Unavailable("The log cannot be reached from here.")

    @property
    def cut_off(self) -> bool:
        """Whether nothing of the log is reached from here, as behind a partition. For tests to set."""
        return not self._connected.is_set()

    @cut_off.setter
    def cut_off(self, is_so: bool) -> None:
        if is_so:
            self._connected.clear()
        else:
            self._connected.set()

    async def leadership(self) -> AsyncIterator[LeaderInfo]:
        shared = self._shared
        seen: LeaderInfo | None = None
        while True:
            async with shared.leader_changed:
                while shared.leader == seen:
                    await shared.leader_changed.wait()
                seen = shared.leader
            await self._connected.wait()
            yield seen

    async def publish_progress(self, node: str, durable_index: int, address: str) -> None:
        self._shared.progress[node] = Progress(durable_index, address)

    async def progress(self) -> Mapping[str, Progress]:
        return dict(self._shared.progress)

    async def health(self) -> Health:
        shared = self._shared
        return Health(True, shared.base + 1, shared.last, shared.bytes)


class MemoryMembers:
    """The members of an engine that there is not, as all nodes see them.

    Attributes:
        caught_up: The ids of learners that may be promoted.
        leader: The id of the one that leads.
    """

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._by_id = {
            f"{number:x}": EngineMember(f"{number:x}", name, address, False)
            for number, (name, address) in enumerate(sorted(addresses.items()), 1)
        }
        self._added = len(addresses)
        self.caught_up: set[str] = set()
        self.leader = min(self._by_id, default="")

    def start(self, member: str, name: str) -> None:
        """Let one start for the first time, beside a node of this name."""
        self._by_id[member] = self._by_id[member]._replace(name=name)

    async def all(self) -> list[EngineMember]:
        return list(self._by_id.values())

    async def add(self, address: str) -> EngineMember:
        for member in self._by_id.values():
            if member.address == address:
                return member
        if any(member.is_learner for member in self._by_id.values()):
            raise Conflict("Another node is joining already; promote or remove it first.")
        self._added += 1
        added = EngineMember(f"{self._added:x}", "", address, True)
        self._by_id[added.id] = added
        return added

    async def promote(self, member: str) -> None:
        there = self._by_id.get(member)
        if there is None:
            raise NotFound("The engine has no such member.")
        if there.is_learner and member not in self.caught_up:
            raise Conflict("The new node has not caught up yet; try again when it has.")
        self._by_id[member] = there._replace(is_learner=False)

    async def remove(self, member: str) -> None:
        self._by_id.pop(member, None)

    async def hand_over(self, member: str) -> bool:
        led, self.leader = self.leader != member, member
        return led
