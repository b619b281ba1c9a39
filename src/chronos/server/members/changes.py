"""What people change of a cluster's membership. Any node takes it, the log decides, the leader's caretaker ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import structlog
from msgspec.structs import replace

from chronos.errors import ChronosError, Conflict, NotFound, NotLeader, Unavailable
from chronos.model.member import MemberRecord, MemberState
from chronos.server.members.calls import Colleagues
from chronos.server.members.caretaker import Caretaker
from chronos.server.members.directory import Directory
from chronos.store.commands import Command, SetMember
from chronos.store.port import Result

log = structlog.get_logger("chronos.cluster")

T = TypeVar("T")

WRITE_S = 10.0
"""How long a change is tried while nobody leads."""
ENGINE_S = 10.0
"""How long the engine is waited for before the rest is left to the leader."""
PROMOTE_S = 30.0
HEARD_S = 2.0
"""Who lives is heard of at least so often."""
LEAD_S = 10.0
AGAIN_S = 0.25


class MemberUnknown(NotFound):
    """The cluster has no such member."""


class QuorumAtRisk(Conflict):
    """The cluster would lose its quorum."""


class Changed(NamedTuple):
    """What came of a change.

    Attributes:
        note: What is still to happen, as a sentence; empty when all is done.
    """

    member: MemberRecord
    note: str = ""


class Handed(NamedTuple):
    """Who leads now.

    Attributes:
        engine: Whether the engine's own lead has moved along, or was there already.
    """

    leader: str
    engine: bool


class ClusterCommands(Protocol):
    """The command log, as it is seen here."""

    @property
    def leader(self) -> str: ...

    async def until_led_by(self, node: str) -> None: ...

    async def propose(self, command: Command) -> Result: ...


def why_not_remove(members: Mapping[str, MemberRecord], living: set[str], name: str) -> str:
    """Return why a member cannot be removed, as sentences; empty when it can.

    Args:
        living: The names of those that were heard of just now.
    """
    voters = sorted(one.name for one in members.values() if one.state is MemberState.MEMBER)
    if name not in voters:
        return ""
    rest = [one for one in voters if one != name]
    if not rest:
        return f"`{name}` is the last member, and cannot be removed."
    up, needed = [one for one in rest if one in living], len(rest) // 2 + 1
    if len(up) >= needed:
        return ""
    down = [one for one in rest if one not in living]
    return (
        f"Without `{name}` the cluster would have {len(rest)} members, and {needed} of them have to run; only"
        f" {', '.join(up) or 'none'} would. Start {' and '.join(down)} first, or remove {down[0]} instead."
    )


class MemberChanges:
    """Changes who belongs to the cluster, and who leads it.

    Args:
        living: The nodes that were heard of just now.
        colleagues: None where nobody can be asked to hand over.
    """

    def __init__(
        self,
        commands: ClusterCommands,
        directory: Directory,
        caretaker: Caretaker,
        living: Callable[[], set[str]],
        colleagues: Colleagues | None,
    ) -> None:
        self._commands = commands
        self._directory = directory
        self._caretaker = caretaker
        self._living = living
        self._colleagues = colleagues

    @property
    def directory(self) -> Directory:
        """Who belongs to the cluster."""
        return self._directory

    async def add(self, member: MemberRecord, by: str) -> Changed:
        """Let a node join: it gets the log, and a vote by itself as soon as it has caught up.

        Raises:
            Conflict: It is there already, another one joins, or one of its addresses is taken.
            Unavailable: Nobody leads.
        """
        joining = replace(member, state=MemberState.JOINING, engine_id="")
        await self._written(SetMember(joining, by))
        log.warning("member_added", member=member.name, peer=member.peer, by=by)
        note = await self._carried_out()
        return Changed(self._record(member.name), note or _starts(member.name))

    async def remove(self, name: str, by: str) -> Changed:
        """Remove a member, dead or alive; one that leads hands over first.

        Raises:
            MemberUnknown: There is none of this name.
            QuorumAtRisk: The others could not go on without it.
            Unavailable: Nobody leads.
        """
        record = self._record(name)
        if record.state is MemberState.REMOVED:
            return Changed(record, await self._carried_out())
        if why := await _lasting(lambda: why_not_remove(self._directory.present(), self._living(), name)):
            raise QuorumAtRisk(why, member=name)
        if self._commands.leader == name:
            await self.transfer("", by)
        await self._written(SetMember(replace(record, state=MemberState.REMOVED), by, record))
        log.warning("member_removed", member=name, by=by)
        note = await self._carried_out()
        record = self._record(name)
        ends = f"`{name}` stops by itself if it runs; then its engine is let go." if record.engine_id else ""
        return Changed(record, note or ends)

    async def promote(self, name: str, by: str) -> Changed:
        """Give a node that joins its vote, and wait for a while until it has caught up.

        Raises:
            MemberUnknown: There is none of this name.
            Conflict: It has not caught up, does not run, or was removed.
            Unavailable: Nobody leads.
        """
        record = self._record(name)
        if record.state is MemberState.REMOVED:
            raise Conflict(f"`{name}` was removed from the cluster; add it again.")
        ends_s = asyncio.get_running_loop().time() + PROMOTE_S
        while record.state is MemberState.JOINING:
            try:
                await self._caretaker.turn()
                why = f"`{name}` does not run yet; start it."
            except Conflict as error:
                why = str(error)
            record = self._record(name)
            if record.state is MemberState.JOINING and asyncio.get_running_loop().time() > ends_s:
                raise Conflict(f"`{name}` has no vote yet: {why}")
            await asyncio.sleep(AGAIN_S)
        log.warning("member_promoted", member=name, by=by)
        return Changed(record)

    async def transfer(self, to: str, by: str) -> Handed:
        """Let another node lead, and its engine lead the engines. Empty takes any that lives.

        Raises:
            MemberUnknown: There is none of this name.
            Conflict: It has no vote, or was not heard of lately; or there is no other.
            Unavailable: It has not begun to lead in time.
        """
        leader = self._commands.leader
        if not leader:
            raise NotLeader("No node leads at the moment; ask again in a second or two.")
        to = to or self._another(leader)
        self._record(to)
        if why := await _lasting(lambda: self._why_not_lead(to)):
            raise Conflict(why)
        if leader != to:
            if self._colleagues is None:
                raise Unavailable("The others cannot be asked to hand over here.")
            await self._colleagues.hand_over(leader, to)
            await self._until_leads(to)
            log.warning("lead_transferred", was=leader, to=to, by=by)
        return Handed(to, await self._hand_over_engine(to))

    def _another(self, leader: str) -> str:
        others = [one for one in sorted(self._living()) if one != leader and self._has_vote(one)]
        if not others:
            raise Conflict("There is no other node that could lead.")
        return others[0]

    def _has_vote(self, name: str) -> bool:
        record = self._directory.present().get(name)
        return record is not None and record.state is MemberState.MEMBER

    def _why_not_lead(self, to: str) -> str:
        if not self._has_vote(to):
            return f"`{to}` has no vote, and cannot lead."
        return "" if to in self._living() else f"`{to}` was not heard of lately, and cannot lead."

    async def _until_leads(self, to: str) -> None:
        try:
            async with asyncio.timeout(LEAD_S):
                await self._commands.until_led_by(to)
        except TimeoutError:
            now = self._commands.leader
            raise Unavailable(f"`{to}` has not begun to lead within {LEAD_S:g} s; {now or 'nobody'} leads.") from None

    async def _hand_over_engine(self, to: str) -> bool:
        engine_id = self._directory.present()[to].engine_id
        if self._colleagues is None or not engine_id:
            return False
        asked = [self._moved(name, engine_id) for name in sorted(self._directory.present()) if self._has_vote(name)]
        return any(await asyncio.gather(*asked))

    async def _moved(self, name: str, engine_id: str) -> bool:
        assert self._colleagues is not None
        try:
            return await self._colleagues.hand_over_engine(name, engine_id)
        except ChronosError as error:
            log.info("engine_not_handed_over", node=name, reason=str(error))
            return False

    def _record(self, name: str) -> MemberRecord:
        record = self._directory.all().get(name)
        if record is None:
            raise MemberUnknown(f"The cluster has no member `{name}`.", member=name)
        return record

    async def _written(self, command: SetMember) -> None:
        """Write a change; the first one of a cluster whose members are not in the log yet writes those before."""
        await _until_led(self._caretaker.begin)
        await _until_led(partial(self._commands.propose, command))

    async def _carried_out(self) -> str:
        """Have the engine follow; return what was in the way, empty when nothing was: the leader tries on."""
        try:
            async with asyncio.timeout(ENGINE_S):
                await self._caretaker.turn()
        except (ChronosError, TimeoutError) as error:
            return (
                f"It is in the log, and the engine follows as soon as it can: {error or 'it did not answer in time.'}"
            )
        return ""


def _starts(name: str) -> str:
    return f"Start `{name}`; it gets its vote when it has caught up."


async def _lasting(ask: Callable[[], str]) -> str:
    """Return what is in the way, if it stays so: a node that has just begun has yet to hear of the others."""
    ends_s = asyncio.get_running_loop().time() + HEARD_S
    while why := ask():
        if asyncio.get_running_loop().time() > ends_s:
            break
        await asyncio.sleep(AGAIN_S)
    return why


async def _until_led(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until somebody leads; the log may be without a leader for a moment."""
    ends_s = asyncio.get_running_loop().time() + WRITE_S
    while True:
        try:
            return await ask()
        except NotLeader:
            if asyncio.get_running_loop().time() > ends_s:
                raise
            await asyncio.sleep(AGAIN_S)
