"""A node as a member of a cluster: what it is wired to, and how it stands among the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from msgspec import Struct

from chronos.cluster.etcd.probe import EngineLook
from chronos.cluster.leadership import Leadership
from chronos.cluster.peers.net import PeerNet
from chronos.cluster.peers.port import Peer, Peers
from chronos.cluster.port import EngineMembers, ReplicatedLog
from chronos.errors import ChronosError, Unavailable
from chronos.model.member import MemberRecord, MemberState
from chronos.scheduler.company import Company, Home
from chronos.server.members.calls import Colleagues
from chronos.server.members.caretaker import Caretaker
from chronos.server.members.changes import MemberChanges
from chronos.server.members.directory import Directory, Follow
from chronos.server.snapshots.offering import Offers
from chronos.store.clusterlog import ClusterLog
from chronos.store.state import State
from chronos.store.truncation import Hold, LogStanding, Truncation, TruncationSettings
from chronos.timing.clock import Clock

log = structlog.get_logger("chronos.cluster")

SILENT_S = 3.0
"""A leader writes four times a second. Whoever hears nothing for so long is cut off, or there is none."""
BARRIER_S = 2.0
PUBLISH_S = 10.0


class EnteredLog(ReplicatedLog, AbstractAsyncContextManager[Any], Protocol):
    """The cluster's log, entered while the node runs."""


async def _nothing(_: ReplicatedLog) -> None:
    """Nothing is to be done."""


@dataclass(frozen=True)
class Wiring:
    """What connects a node with the others.

    Attributes:
        engine: What orders the log, for people.
        peers: The far ends of the others.
        listen: Lets the others reach this node while it is entered.
        addresses: Where each member's API is, by its name, as far as somebody said.
        net: What else is asked of the others; None when there is nobody to ask.
        look: How the engine beside this node was a moment ago; None where there is none of its own.
        engine_trouble: Why that one takes no part, or no writes; empty while it does.
        entered: Called when the log is entered, before anything is read from it or written to it.
        members: Those that the configuration names; none where they never change.
        engines: Who agrees on the log; None where that is somebody else's business.
        colleagues: The members, asked to hand over; None where they cannot be.
        follow: Told at once who may speak with this node.
        failure: Returns never, unless the engine has ended for good; then it raises why.
    """

    engine: str
    log: EnteredLog
    peers: Peers
    listen: Callable[[Peer], AbstractAsyncContextManager[Any]]
    addresses: Mapping[str, str] = field(default_factory=dict)
    net: PeerNet | None = None
    entered: Callable[[ReplicatedLog], Awaitable[None]] = _nothing
    members: Mapping[str, MemberRecord] = field(default_factory=dict)
    engines: EngineMembers | None = None
    colleagues: Colleagues | None = None
    follow: Follow = lambda members: None
    failure: Callable[[], Coroutine[Any, Any, None]] | None = None
    look: Callable[[], EngineLook | None] | None = None
    engine_trouble: Callable[[], str] = str


class Seat(Struct, frozen=True, kw_only=True):
    """How a node stands among the others at a moment.

    Attributes:
        trouble: Why it cannot take part, as a sentence; empty while it does.
        members: By name: `leader`, `follower`, `joining`, or `lost` for whoever was not heard of.
    """

    engine: str = "local"
    leads: bool = True
    leader: str = ""
    leader_address: str = ""
    trouble: str = ""
    members: dict[str, str] = {}
    addresses: Mapping[str, str] = {}


class Barrier:
    """Lets reads be linearizable: one question to the quorum answers for all who came before it was asked."""

    def __init__(self, commands: ClusterLog) -> None:
        self._commands = commands
        self._next: asyncio.Future[None] | None = None
        self._running = False

    async def __call__(self) -> None:
        """Return when this node has folded everything that was acknowledged anywhere before.

        Raises:
            Unavailable: There is no quorum; the message says how to read all the same.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            if not self._running:
                self._running = True
                self._task = asyncio.create_task(self._ask_all(), name="read barrier")
        await asyncio.shield(self._next)

    async def _ask_all(self) -> None:
        while (waiting := self._next) is not None:
            self._next = None
            try:
                async with asyncio.timeout(BARRIER_S):
                    await self._commands.barrier()
            except (ChronosError, TimeoutError) as error:
                waiting.set_exception(_unread(error))
                waiting.exception()
            else:
                waiting.set_result(None)
        self._running = False


def _unread(error: Exception) -> Unavailable:
    why = str(error) or "the others did not answer in time"
    return Unavailable(
        f"What the cluster has agreed on cannot be read now: {why} Add `?consistency=local` to read what this node "
        "has; `Chronos-Applied-Index` says how new that is."
    )


@dataclass
class Membership:
    """A member, put together. `leadership` is entered last and left first.

    Attributes:
        offers: This node's snapshots for the others; None when there is nobody to ask for them.
    """

    wiring: Wiring
    commands: ClusterLog
    company: Company
    home: Home
    leadership: Leadership
    barrier: Barrier
    pruning: Pruning
    clock: Clock
    directory: Directory
    caretaker: Caretaker
    changes: MemberChanges
    offers: Offers | None = None

    def seat(self) -> Seat:
        """Return how this node stands now."""
        commands, now_s = self.commands, self.clock.boottime()
        present, living = self.directory.present(), self.living()
        addresses = {name: one.api for name, one in present.items() if one.api} if present else self.wiring.addresses
        names = self.names()
        return Seat(
            engine=self.wiring.engine,
            leads=commands.leads,
            leader=commands.leader,
            leader_address=addresses.get(commands.leader, ""),
            trouble=self._trouble(now_s),
            members={name: self._part(name, living, present.get(name)) for name in sorted(names)},
            addresses=addresses,
        )

    def living(self) -> set[str]:
        """Return the members that were heard of lately, by name."""
        return {one.partition("#")[0] for one in self.company.roll.living(self.clock.boottime())} & self.names()

    def names(self) -> set[str]:
        """Return every member: those that the log knows, and before it does, those that were named or heard of."""
        return set(self.directory.present()) or {*self.wiring.addresses, *self.company.roll.known()}

    def _part(self, name: str, living: set[str], record: MemberRecord | None) -> str:
        if name == self.commands.leader:
            return "leader"
        if record is not None and record.state is MemberState.JOINING:
            return "joining"
        return "follower" if name in living else "lost"

    def _trouble(self, now_s: float) -> str:
        if engine := self.wiring.engine_trouble():
            return engine
        silent_s = now_s - self.commands.heard_s
        if silent_s > SILENT_S:
            return (
                f"Nothing was heard of the cluster for {silent_s:.0f} s: this node is cut off, or there is no quorum."
            )
        return "" if self.commands.leader else "No node leads at the moment."


class Pruning:
    """Forgets what every member has on disk; entered while this node leads. Whoever is lost is not waited for long.

    Args:
        holds: Who else is waited for.
        belongs: Whether a node is a member still; what others have published is nobody's business any more.
    """

    def __init__(
        self,
        node: str,
        shared: ReplicatedLog,
        state: State,
        settings: TruncationSettings,
        standing: LogStanding,
        *,
        quiet: asyncio.Lock,
        holds: Sequence[Hold],
        belongs: Callable[[str], bool] = lambda node: True,
    ) -> None:
        self._belongs = belongs
        self._node = node
        self._log = shared
        self._state = state
        self._settings = settings
        self._standing = standing
        self._quiet = quiet
        self._holds = holds
        self._needs: dict[str, int] = {}

    async def publish_for_ever(self, address: str) -> None:
        """Tell the others, now and then, what this node has on disk."""
        while True:
            await asyncio.sleep(PUBLISH_S)
            try:
                await self._log.publish_progress(self._node, await self._state.checkpoint(patiently=True), address)
            except Unavailable as error:
                log.info("progress_not_published", reason=str(error))

    async def run(self, epoch: Any) -> None:
        """Cut the log now and then, as long as this node leads in `epoch`."""
        truncation = Truncation(
            self._log,
            self._state,
            epoch,
            self._settings,
            quiet=self._quiet,
            holds=[*self._holds, Hold("members", self._first_needed)],
            standing=self._standing,
        )
        while True:
            await asyncio.sleep(self._settings.every_s)
            try:
                progress = await self._log.progress()
                there = ((node, one) for node, one in progress.items() if self._belongs(node))
                self._needs = {node: one.durable_index + 1 for node, one in there}
                await truncation.turn()
            except Unavailable as error:
                log.info("log_not_cut", reason=str(error))

    def _first_needed(self) -> int | None:
        return min(self._needs.values(), default=None)
