"""Who the members of etcd are, and changing that one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from chronos.cluster.etcd import rpc_pb2 as pb
from chronos.cluster.etcd.client import (
    ALARM,
    DEFRAGMENT,
    MEMBER_ADD,
    MEMBER_LIST,
    MEMBER_PROMOTE,
    MEMBER_REMOVE,
    MEMBER_UPDATE,
    MOVE_LEADER,
    STATUS,
    A,
    Client,
    NoAnswer,
    Refused,
    translated,
    unanswered,
)
from chronos.cluster.port import EngineMember
from chronos.errors import ChronosError, Conflict, NotFound

CHANGE_S = 30.0
"""How long a change is tried: etcd refuses it while a member has only just started, or lags behind."""

DEFRAGMENT_S = 60.0


class EtcdMember(NamedTuple):
    """One member of etcd.

    Attributes:
        name: Empty until it has started for the first time.
        is_learner: It gets the log and has no vote yet.
    """

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool


class EtcdStatus(NamedTuple):
    """How one member does.

    Attributes:
        leader: The id of the member that leads; 0 while this one knows none.
        bytes: What its database takes on disk, and `bytes_used` of it.
        behind: How many changes it knows of and has not applied.
        alarms: What it has raised, in words of etcd.
    """

    id: int
    leader: int
    version: str
    bytes: int
    bytes_used: int
    behind: int
    is_learner: bool
    alarms: tuple[str, ...]


class Members:
    """The members, through a client of some of them. Every method may raise `Unavailable`."""

    def __init__(self, client: Client, change_s: float = CHANGE_S) -> None:
        self._client = client
        self._change_s = change_s

    async def all(self) -> list[EtcdMember]:
        """Return the members, as the majority knows them."""
        request = pb.MemberListRequest(linearizable=True)
        answer = await self._settled(lambda: self._client.ask(MEMBER_LIST, request))
        return [_member(member) for member in answer.members]

    async def add(self, peer_url: str) -> EtcdMember:
        """Let a member join that is reached there, and return it. It is a learner, whoever it was before.

        Adding it once more changes nothing.

        Raises:
            Conflict: Another learner has yet to be promoted, or removed.
        """
        request = pb.MemberAddRequest(peer_urls=[peer_url], is_learner=True)
        try:
            return _member((await self._changed(lambda: self._client.ask(MEMBER_ADD, request))).member)
        except Refused as exc:
            if exc.says("Peer URLs already exists") or exc.says("member ID already exist"):
                for member in await self.all():
                    if peer_url in member.peer_urls:
                        return member
            raise _why(exc) from exc

    async def promote(self, member: int) -> None:
        """Give a learner its vote, as soon as it has caught up; a member that has one keeps it.

        Raises:
            NotFound: There is no such member.
        """
        # etcd 3.4 does not answer when it is asked to promote a member that was removed.
        there = next((one for one in await self.all() if one.id == member), None)
        if there is None:
            raise NotFound("etcd has no such member.")
        if not there.is_learner:
            return
        request = pb.MemberRequest(id=member)
        try:
            await self._changed(lambda: self._client.ask(MEMBER_PROMOTE, request))
        except Refused as exc:
            if not exc.says("can only promote a learner member") or exc.says("in sync"):
                raise _why(exc) from exc

    async def remove(self, member: int) -> None:
        """Let a member go, for good: under this id it never comes back. No error when there is none."""
        request = pb.MemberRequest(id=member)
        try:
            await self._changed(lambda: self._client.ask(MEMBER_REMOVE, request))
        except Refused as exc:
            if not exc.says("member not found"):
                raise _why(exc) from exc

    async def update(self, member: int, peer_url: str) -> None:
        """Tell the others where a member will be reached; before it is started there.

        Raises:
            NotFound: There is no such member.
        """
        request = pb.MemberUpdateRequest(id=member, peer_urls=[peer_url])
        await self._settled(lambda: self._changed(lambda: self._client.ask(MEMBER_UPDATE, request)))

    async def move_leader(self, member: int) -> None:
        """Let another member lead etcd; that says nothing of who leads the log."""
        request = pb.MoveLeaderRequest(target_id=member)
        for at in range(len(self._client.endpoints)):
            status = await self.status(at)
            if status.leader == member:
                return
            if status.leader == status.id:
                await self._settled(partial(self._client.once, MOVE_LEADER, request, at=at))
                return
        raise Conflict("The member that leads etcd is none of those that are reached from here; ask on its node.")

    async def status(self, at: int = 0) -> EtcdStatus:
        """Return how the member does that is reached at this endpoint."""
        answer = await self._settled(lambda: self._client.once(STATUS, pb.StatusRequest(), at=at))
        return EtcdStatus(
            answer.header.member_id,
            answer.leader,
            answer.version,
            answer.db_size,
            answer.db_size_in_use or answer.db_size,
            max(0, answer.raft_index - answer.raft_applied_index),
            answer.is_learner,
            tuple(answer.errors),
        )

    async def defragment(self, at: int = 0) -> None:
        """Give back to the disk what the member at this endpoint no longer uses. It answers nobody meanwhile."""
        request = pb.DefragmentRequest()
        await self._settled(lambda: self._client.once(DEFRAGMENT, request, at=at, call_s=DEFRAGMENT_S))

    async def full(self) -> list[int]:
        """Return the ids of the members for which etcd has raised the alarm that there is no space."""
        listed = pb.AlarmRequest(action=pb.AlarmRequest.GET, alarm=pb.NOSPACE)
        answer = await self._settled(lambda: self._client.ask(ALARM, listed))
        return [alarm.member_id for alarm in answer.alarms]

    async def disarm(self, *members: int) -> int:
        """Take back the alarms that etcd has raised for lack of space, and return how many there were.

        It raises them again unless there is space by then: truncate and defragment first.

        Args:
            members: Whose alarms; by itself everybody's.
        """
        raised = [one for one in await self.full() if not members or one in members]
        for member in raised:
            undo = pb.AlarmRequest(action=pb.AlarmRequest.DEACTIVATE, member_id=member, alarm=pb.NOSPACE)
            await self._settled(partial(self._client.ask, ALARM, undo))
        return len(raised)

    async def _changed(self, ask: Callable[[], Awaitable[A]]) -> A:
        """Ask for a change until etcd takes it, or refuses it for a reason that does not pass by itself."""
        last: Exception = unanswered(self._change_s, "it is not ready for a change of its members yet")
        try:
            async with asyncio.timeout(self._change_s):
                while True:
                    try:
                        return await ask()
                    except Refused as exc:
                        if not exc.says("in sync with leader") and not exc.says("not enough started members"):
                            raise
                        last = exc
                    await self._client.pause()
        except TimeoutError:
            raise last from None

    async def _settled(self, ask: Callable[[], Awaitable[A]]) -> A:
        try:
            return await ask()
        except Refused as exc:
            raise _why(exc) from exc
        except NoAnswer as exc:
            raise unanswered(self._client.settings.call_s, str(exc)) from exc


class EtcdMembers:
    """`EngineMembers` on the etcds of a cluster, each beside a node of its own.

    Args:
        client: Of this node's own etcd.
        scheme: `https`, or `http` on one machine.
        change_s: How long a change is tried.
    """

    def __init__(self, client: Client, scheme: str = "https", change_s: float = 3.0) -> None:
        self._members = Members(client, change_s)
        self._scheme = scheme

    async def all(self) -> list[EngineMember]:
        return [self._plain(member) for member in await self._members.all()]

    async def add(self, address: str) -> EngineMember:
        return self._plain(await self._members.add(f"{self._scheme}://{address}"))

    async def promote(self, member: str) -> None:
        await self._members.promote(int(member, 16))

    async def remove(self, member: str) -> None:
        await self._members.remove(int(member, 16))

    async def hand_over(self, member: str) -> bool:
        own = await self._members.status()
        if own.leader != own.id:
            return False
        if own.id != int(member, 16):
            await self._members.move_leader(int(member, 16))
        return True

    @staticmethod
    def _plain(member: EtcdMember) -> EngineMember:
        url = member.peer_urls[0] if member.peer_urls else ""
        address, has_begun = url.partition("://")[2], bool(member.client_urls)
        return EngineMember(f"{member.id:x}", member.name, address, member.is_learner, has_begun)


def _member(member: pb.Member) -> EtcdMember:
    return EtcdMember(
        member.id, member.name, tuple(member.peer_urls), tuple(member.client_urls), bool(member.is_learner)
    )


def _why(refused: Refused) -> ChronosError:
    if refused.says("member not found"):
        return NotFound("etcd has no such member.")
    if refused.says("too many learner"):
        return Conflict("Another node is joining already; promote or remove it first.")
    if refused.says("in sync with leader"):
        return Conflict("The new node has not caught up yet; try again when it has.")
    if refused.says("not enough started members"):
        return Conflict("Too few members of etcd are running for this change; start the others first.")
    return translated(refused)
