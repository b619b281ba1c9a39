"""All members of the simulated etcd: their disks, the network between them, and what can be done to them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

from chronos.cluster.etcd.client import EtcdTls
from chronos.testing.simulation.engine.channel import SimChannel
from chronos.testing.simulation.engine.member import Member, MemberDisk
from chronos.testing.simulation.engine.messages import RaftMessage
from chronos.testing.simulation.engine.net import Net
from chronos.testing.simulation.engine.store import MemberInfo

SCHEME = "simulated:"


class SimEngine:
    """A cluster of simulated members, one for each name. It outlives every process.

    Args:
        names: One machine each; what lies between them is `net`.
        quota: What a member's database may weigh, in bytes; 0 for no limit.

    Attributes:
        running: By name, the processes that run.
        panics: What members have said before they ended themselves.
        watch_loss: The part of all messages of watches that is lost, as releases before 3.5.13 lose some.
        on_crash: Called with the name of a member whose process has ended by itself.
    """

    def __init__(self, names: Sequence[str], net: Net, draw: random.Random, *, quota: int = 0) -> None:
        self.net = net
        self.draw = draw
        self.running: dict[str, Member] = {}
        self.panics: list[str] = []
        self.watch_loss = 0.0
        self.on_crash: Callable[[str], None] = lambda name: None
        self._quota = quota
        self._numbers = count(1)
        self._ids = count(0x10)
        founding = [MemberInfo(next(self._ids), name, url_of(name), False) for name in names]
        self._founding = founding
        self.disks = {one.name: MemberDisk(one, founding, quota) for one in founding}

    # Processes.

    def start(self, name: str) -> Member:
        """Start the member of this machine on what its disk has; one that runs goes on."""
        if name not in self.running:
            self.running[name] = Member(self, name, self.disks[name])
        return self.running[name]

    def crash(self, name: str) -> None:
        """End the member of this machine, as kill -9 and a power cut do: what was not synced is gone."""
        member = self.running.pop(name, None)
        if member is not None:
            member.dead = True
            member.disk.raft.crash()
            for hang_up in list(member.connected.values()):
                hang_up()

    def panicked(self, member: Member, why: str) -> None:
        """End a member that has found that it cannot go on."""
        self.panics.append(f"{member.name}: {why}")
        if self.running.get(member.name) is member:
            self.crash(member.name)
            self.on_crash(member.name)

    # Disks.

    def wipe(self, name: str) -> None:
        """Lose a disk, and come back under the old name, as nothing in etcd forbids: its member forgets its votes."""
        assert name not in self.running, "a disk is lost with the process on it"
        self.disks[name] = MemberDisk(self.disks[name].member, self._founding, self._quota)

    def replace(self, name: str, member: int) -> None:
        """Give a machine an empty disk, for a member that was added with this id."""
        there = self._seen().disk.store.members
        self.disks[name] = MemberDisk(there[member], list(there.values()), self._quota)

    # What members need of each other.

    def number(self) -> int:
        """Return a number that no other request has."""
        return next(self._numbers)

    def named_at(self, peer_url: str) -> MemberInfo:
        """Return a new member, a learner, at this address."""
        return MemberInfo(next(self._ids), peer_url.rpartition("/")[2], peer_url, True)

    def loses_an_event(self) -> bool:
        """Draw whether a watch's next message is lost."""
        return bool(self.watch_loss) and self.draw.random() < self.watch_loss

    def carry(self, frm: Member, to: int, message: RaftMessage) -> None:
        """Carry a message from one member to another; whoever runs there by then takes it."""
        info = frm.disk.store.members.get(to)
        member = self.running.get(info.name) if info is not None else None
        if info is None or member is None or member.disk.member.id != to:
            return
        arrive = partial(_arrive, member, frm.disk.member.id, message)
        self.net.carry(frm.name, info.name, arrive, member.context)

    def lag_of(self, member: int) -> int | None:
        """Return how many entries a member lacks, as the one that leads has it; None when nobody can say."""
        for one in self.running.values():
            if one.raft.leads:
                return one.raft.lag().get(member)
        return None

    # For those who look from outside.

    def leader(self) -> str:
        """Return the name of the member that leads in the newest term; empty when none does."""
        leading = [one for one in self.running.values() if one.raft.leads]
        return max(leading, key=lambda one: one.disk.raft.term).name if leading else ""

    def _seen(self) -> Member:
        return max(self.running.values(), key=lambda one: one.disk.raft.applied)

    # The door.

    def endpoint(self, name: str) -> str:
        """Return what a client connects to to reach this machine's member."""
        return f"{SCHEME}{name}"

    def channel(self, endpoint: str, tls: EtcdTls | None = None) -> SimChannel:
        """Return a channel to a member."""
        return SimChannel(self, endpoint.removeprefix(SCHEME))


def _arrive(member: Member, frm: int, message: RaftMessage) -> None:
    if not member.dead:
        member.raft.take(frm, message)


def url_of(name: str) -> str:
    """Return where the others reach a machine's member."""
    return f"http://{name}"
