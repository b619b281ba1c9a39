"""The nodes that a node shares its work with: who is given some, who is lost, and who takes it back.

A node that stands alone has no company, and pays for none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Protocol

import structlog

from chronos.cluster.leases import LEASE_S, LOST_S, RENEW_S, OwnLease, Roll, node_of
from chronos.cluster.peers.port import Peers, Placed
from chronos.dispatch.right import RightToSend
from chronos.errors import ChronosError, Unavailable
from chronos.scheduler.elsewhere import Elsewhere, Host
from chronos.timing.clock import Clock

log = structlog.get_logger(__name__)

RENEWAL_S = 1.0
"""How long one renewal may take; another follows."""
DEAF_S = 2.0
"""A node to which no entry has come for so long says no more that it lives. It could not send what it is given, and
whoever leads writes four times a second."""
RECALL_AGAIN_S = 0.25
LOOK_S = 0.1
LEAVE_S = 3.0
GONE_S = 1.0
"""So long a host says that nobody listens where a node was, until that node's process is taken to have ended."""
ALONE_US = 5_000_000
"""A node that lives alone looks so often whether another has come that may reach what it does not reach itself."""
BEGIN_S = 1.0
"""How long a new leader waits for its own right to send before it plans."""


class ClusterCommands(Protocol):
    """The command log, as those see it who deal with other nodes (`store.clusterlog.ClusterLog`)."""

    @property
    def leader(self) -> str: ...
    @property
    def leads(self) -> bool: ...
    @property
    def applied(self) -> int: ...
    @property
    def heard_s(self) -> float: ...

    async def reach(self, index: int) -> None: ...
    async def write_for(self, commands: Sequence[bytes]) -> tuple[int, int]: ...
    def renew(self, incarnation: str, seq: int) -> None: ...


class Company:
    """One node's view of the others.

    Args:
        incarnation: This node's; what stands before the `#` is its name.
        right: What whoever sends here asks; told of every renewal that has come back.

    Attributes:
        roll: Who lives.
        lease: This node's own right to send.
        elsewhere: Which nodes hold back what goes to which hosts.
    """

    def __init__(
        self,
        incarnation: str,
        commands: ClusterCommands,
        peers: Peers,
        clock: Clock,
        *,
        right: RightToSend | None = None,
    ) -> None:
        self.incarnation = incarnation
        self.node = node_of(incarnation)
        self.lease = OwnLease(incarnation)
        self._right = right
        self.roll = Roll(clock.boottime())
        self._commands = commands
        self._peers = peers
        self._clock = clock
        self.elsewhere = Elsewhere()
        self._turns = count()
        self._wake, self._heard = asyncio.Event(), asyncio.Event()
        self._leaving = False
        self._left = asyncio.Event()

    # What the log says.

    def on_alive(self, alive: Mapping[str, int]) -> None:
        """Take in what an entry says of who lives."""
        self.lease.heard(alive)
        if self._right is not None:
            self._right.until_s = self.lease.until_s
        if alive.get(self.incarnation, 0) < 0:
            self._left.set()
        self.roll.heard(alive, self._clock.boottime())
        self._heard.set()

    def on_leader(self) -> None:
        """Somebody else leads: whoever it is has to hear of this node soon."""
        self._wake.set()

    # What the scheduler asks.

    @property
    def may_send(self) -> bool:
        """Whether this node may send and run."""
        return self.lease.holds(self._clock.boottime())

    def share(self) -> list[str]:
        """Return the incarnations to spread work over, each time beginning with the next one."""
        heard = self.roll.living(self._clock.boottime())
        living = [one for one in heard if self._refused_s(one) == 0] or [self.incarnation]
        first = next(self._turns) % len(living)
        return [*living[first:], *living[:first]]

    def others_us(self, host: Host, now_us: int) -> int:
        """Return from when on another node may be asked to send something to a host.

        Where nobody else lives, it is worth another look soon: when a cluster starts, the others are about to come.
        """
        others = [one for one in self.share() if one != self.incarnation]
        asked_us = self.elsewhere.asked_us(host, others, now_us)
        return now_us + ALONE_US if asked_us is None else asked_us

    def is_lost(self, incarnation: str, beyond_s: float = 0.0) -> bool:
        """Return whether an incarnation begins nothing any more, for sure; see `Roll.is_lost`."""
        if incarnation == self.incarnation:
            return False
        return self.roll.is_lost(incarnation, self._clock.boottime(), beyond_s)

    def is_gone(self, incarnation: str) -> bool:
        """Return whether an incarnation sends nothing any more by all appearances: its host says that it has ended.

        A firewall that refuses in its place looks the same, so that only who may run twice at a time goes by this.
        """
        return self.is_lost(incarnation) or self._refused_s(incarnation) >= GONE_S

    def _refused_s(self, incarnation: str) -> float:
        return 0.0 if incarnation == self.incarnation else self._peers.refused_s(node_of(incarnation))

    async def recall(self, incarnation: str, execution_ids: Sequence[str]) -> list[str]:
        """Take back attempts that another node holds; return the ids of those that may have left.

        Whoever cannot be asked is waited for until it is lost: what it had may have left by then.
        """
        entry = self._commands.applied
        try:
            async with asyncio.timeout(LOST_S + RENEW_S):
                while not self.is_lost(incarnation):
                    try:
                        answers = await self._peers.at(node_of(incarnation)).recall(execution_ids, entry=entry)
                    except Unavailable:
                        await asyncio.sleep(RECALL_AGAIN_S)
                    else:
                        return [key for key in execution_ids if answers.get(key) == "sent"]
        except TimeoutError:
            log.warning("a node does not answer a recall", node=node_of(incarnation), attempts=len(execution_ids))
        return list(execution_ids)

    # The turns.

    async def renew_for_ever(self) -> None:
        """Ask the leader, once a second, to say that this node lives."""
        while True:
            self._wake.clear()
            await self._renew()
            try:
                async with asyncio.timeout(RENEW_S):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _renew(self) -> None:
        leader = self._commands.leader
        if not leader or (leader != self.node and self._clock.boottime() - self._commands.heard_s > DEAF_S):
            return
        seq = self.lease.renewing(self._clock.boottime())
        seq = -seq if self._leaving else seq
        try:
            if leader == self.node:
                self._commands.renew(self.incarnation, seq)
            else:
                async with asyncio.timeout(RENEWAL_S):
                    await self._peers.at(leader).renew(self.incarnation, seq)
        except (ChronosError, TimeoutError):
            pass  # there is another one in a second, and the lease lasts for five

    async def leave(self) -> None:
        """Have it said that this node is about to leave, and return when everything is here that it was given before.

        Gives up after `LEAVE_S`: what it is given then is handed back, or taken from it when its right is over.
        """
        self._leaving = True
        self._wake.set()
        try:
            async with asyncio.timeout(LEAVE_S):
                await self._left.wait()
        except TimeoutError:
            log.warning("the others do not know yet that this node leaves")

    async def begin_term(self) -> None:
        """Having begun to lead, wait for a moment until this node may send, and the others have been heard of."""
        self._wake.set()
        try:
            async with asyncio.timeout(BEGIN_S):
                while not self.may_send:
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            log.warning("this node's right to send is not in the log yet")

    async def watch_isolation(self) -> None:
        """Say so whenever the right to send runs out. Whoever sends asks for it, and stops by itself."""
        held = False
        while True:
            holds = self.may_send
            if held and not holds:
                log.error("cut off: nothing is sent", lease_s=LEASE_S)
            elif holds and not held:
                log.info("this node may send")
            held = holds
            left_s = self.lease.until_s - self._clock.boottime() if holds else LOOK_S
            await asyncio.sleep(min(max(left_s, 0.001), RENEW_S))


class Home:
    """This node, as the others see it: what a transport that listens is handed (`cluster.peers.port.Peer`).

    Args:
        recall: Takes attempts back that wait here, and says what became of each.
    """

    def __init__(self, commands: ClusterCommands, recall: Recall) -> None:
        self._commands = commands
        self._recall = recall

    async def forward(self, commands: Sequence[bytes]) -> Placed:
        """See `Peer.forward`."""
        return Placed(*await self._commands.write_for(commands))

    async def renew(self, incarnation: str, seq: int) -> None:
        """See `Peer.renew`."""
        self._commands.renew(incarnation, seq)

    async def recall(self, execution_ids: Sequence[str], *, entry: int) -> Mapping[str, str]:
        """See `Peer.recall`."""
        await self._commands.reach(entry)
        return await self._recall(list(execution_ids))


class Recall(Protocol):
    """`Scheduler.recall_here`."""

    async def __call__(self, execution_ids: list[str], /) -> Mapping[str, str]: ...
