"""Brings the engine's members to what the log says, a step at a time. The leader's caretaker does so without end.

    joining ─▶ added to the engine as a learner ─▶ has caught up ─▶ has a vote: member
    removed ─▶ its node has stopped, or is lost ─▶ out of the engine ─▶ may be added again

The log is written first and the engine follows: whoever dies in between leaves the rest to the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

import structlog
from msgspec.structs import replace

from chronos.cluster.port import EngineMember, EngineMembers
from chronos.errors import ChronosError, Conflict, Unavailable
from chronos.model.member import MemberRecord, MemberState
from chronos.server.members.directory import Directory
from chronos.store.commands import Command, RecordMembers, SetMember
from chronos.store.port import Result

log = structlog.get_logger("chronos.cluster")

BY = "chronos"
SOON_S, SELDOM_S = 1.0, 15.0
"""Between two looks: while something is owed, and while nothing is."""
ENGINE_S = 10.0
"""How long a look may take, the engine's answers included."""


class Act(StrEnum):
    """What is done with the engine's member, or with the record of it."""

    ADD = "add"
    NOTE = "note"
    PROMOTE = "promote"
    VOTE = "vote"
    REMOVE = "remove"
    FORGET = "forget"
    WAIT = "wait"


class Step(NamedTuple):
    """One step that is owed.

    Attributes:
        engine_id: Of the engine's member it is about; empty when there is none.
    """

    act: Act
    member: MemberRecord
    engine_id: str = ""


def owed(
    members: Mapping[str, MemberRecord], engines: Sequence[EngineMember], is_gone: Callable[[str], bool]
) -> list[Step]:
    """Return what is to be done so that the engine has the members that the log has. Those that leave come first.

    Args:
        is_gone: Whether nothing more is to be expected of a node of this name.
    """
    by_id = {engine.id: engine for engine in engines}
    known = {one.engine_id for one in members.values() if one.engine_id}
    free = {engine.address: engine for engine in engines if engine.id not in known}
    leaving = [one for one in members.values() if one.state is MemberState.REMOVED and one.engine_id]
    steps = [_out(one, by_id, is_gone) for one in leaving]
    for one in members.values():
        if one.state is MemberState.JOINING and one.engine_id:
            step = _further(one, by_id.get(one.engine_id))
        elif one.state is not MemberState.REMOVED and not one.engine_id:
            step = _in(one, free.get(one.engine))
        else:
            continue
        steps += [step] if step is not None else []
    return steps


def _out(one: MemberRecord, by_id: Mapping[str, EngineMember], is_gone: Callable[[str], bool]) -> Step:
    if one.engine_id not in by_id:
        return Step(Act.FORGET, one)
    return Step(Act.REMOVE if is_gone(one.name) else Act.WAIT, one, one.engine_id)


def _in(one: MemberRecord, engine: EngineMember | None) -> Step | None:
    if engine is not None:
        return Step(Act.NOTE, one, engine.id)
    return Step(Act.ADD, one) if one.state is MemberState.JOINING else None


def _further(one: MemberRecord, engine: EngineMember | None) -> Step | None:
    if engine is None:
        return None  # somebody took it out by hand; `remove` clears that up
    if not engine.is_learner:
        return Step(Act.VOTE, one, engine.id)
    return Step(Act.PROMOTE if engine.name else Act.WAIT, one, engine.id)


class MemberCommands(Protocol):
    """The command log, as the caretaker sees it."""

    async def propose(self, command: Command) -> Result: ...


class Caretaker:
    """Sees to the engine's members.

    Args:
        engines: None where the engine is somebody else's, who sees to it himself.
        is_gone: See `owed`.
    """

    def __init__(
        self,
        commands: MemberCommands,
        directory: Directory,
        engines: EngineMembers | None,
        is_gone: Callable[[str], bool],
    ) -> None:
        self._commands = commands
        self._directory = directory
        self._engines = engines
        self._is_gone = is_gone
        self._one_at_a_time = asyncio.Lock()
        self._wake = asyncio.Event()
        directory.wakes(self._wake)

    async def run(self) -> None:
        """Look after the members for as long as this node leads."""
        while True:
            self._wake.clear()
            is_done = False
            try:
                async with asyncio.timeout(ENGINE_S):
                    is_done = await self.turn()
            except Conflict as error:
                log.info("member_not_ready_yet", reason=str(error))
            except (ChronosError, TimeoutError) as error:
                log.warning("members_not_looked_after", reason=str(error) or "the engine did not answer in time")
            await self._rest(SELDOM_S if is_done else SOON_S)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def turn(self) -> bool:
        """Do what is owed now; return whether nothing is left, so that only time or people can change anything.

        Raises:
            Unavailable: The engine, or the leader, does not answer.
            Conflict: The engine is not ready for a step yet.
        """
        async with self._one_at_a_time:
            await self.begin()
            steps = await self.owed()
            for step in steps:
                await self._do(step)
            return not steps

    async def owed(self) -> list[Step]:
        """Return what is to be done."""
        members = self._directory.all()
        if self._engines is None:
            joining = [one for one in members.values() if one.state is MemberState.JOINING]
            return [Step(Act.VOTE, one) for one in joining]
        return owed(members, await self._engines.all(), self._is_gone)

    async def begin(self) -> None:
        """Have the log know whom the cluster began with; the configuration says that, as long as nobody did."""
        if self._directory.is_recorded() or not self._directory.configured:
            return
        try:
            await self._commands.propose(RecordMembers(self._directory.configured))
        except Conflict:
            return  # somebody else was quicker
        log.info("members_recorded", members=[one.name for one in self._directory.configured])

    async def _do(self, step: Step) -> None:
        one, engines = step.member, self._engines
        match step.act:
            case Act.WAIT:
                return
            case Act.ADD:
                assert engines is not None
                added = await engines.add(one.engine)
                await self._set(one, replace(one, engine_id=added.id))
            case Act.NOTE:
                await self._set(one, replace(one, engine_id=step.engine_id))
            case Act.PROMOTE:
                assert engines is not None
                await engines.promote(step.engine_id)
                await self._set(one, replace(one, state=MemberState.MEMBER))
            case Act.VOTE:
                await self._set(one, replace(one, state=MemberState.MEMBER))
            case Act.REMOVE:
                assert engines is not None
                await engines.remove(step.engine_id)
                await self._set(one, replace(one, engine_id=""))
            case Act.FORGET:
                await self._set(one, replace(one, engine_id=""))
        log.info("member_changed", member=one.name, step=step.act.value, engine=step.engine_id)

    async def _set(self, old: MemberRecord, new: MemberRecord) -> None:
        try:
            await self._commands.propose(SetMember(new, BY, old))
        except Conflict as error:  # somebody else was quicker, or people have changed their minds
            raise Unavailable(f"{error} It is tried again.") from error
