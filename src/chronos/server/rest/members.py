"""Who belongs to the cluster, and who leads it: see it, and change it while it runs."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from chronos.cluster.peers.roster import Address
from chronos.errors import Conflict, Invalid
from chronos.model.member import MemberRecord, MemberState
from chronos.plugin import Call, Endpoint, Reply
from chronos.server.config import split_address
from chronos.server.members.changes import Changed, MemberChanges
from chronos.server.rest.core import Core, reply
from chronos.server.settings import Name, PublicUrl

TAG = "cluster"

HostPort = Annotated[str, Meta(min_length=3, max_length=300)]


class NotInCluster(Conflict):
    """This server runs alone; it has no members to change."""


class MemberDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A member of the cluster.

    Attributes:
        state: `joining` until it has a vote, `member`, or `removed`.
        role: `leader`, `follower`, `joining`, `removed`, or `lost` when nothing was heard of it lately.
        peer: Where the other nodes reach it; `engine` and `api` likewise, empty when nobody said.
        engine_id: What its engine is called among the engines.
        note: What is still to happen; empty when nothing is.
    """

    name: str
    state: str
    role: str
    peer: str
    engine: str
    api: str
    engine_id: str
    note: str = ""


class MemberList(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every member of the cluster, and those that were removed from it."""

    members: list[MemberDocument]


class NewMember(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node that is to join.

    Attributes:
        peer: `host` or `host:port` at which the others reach it, port 7443 by itself; empty for the addresses that a
            removed member of this name had.
        engine: `host:port` of its engine; by itself the port behind `peer`.
        api: Base address of its API.
    """

    name: Name
    peer: Annotated[str, Meta(max_length=300)] = ""
    engine: HostPort | None = None
    api: PublicUrl | None = None


class Successor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is to lead; any other node when it says nothing."""

    to: Name | None = None


class Transferred(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who leads now.

    Attributes:
        engine: Whether the engine's lead went along.
    """

    leader: str
    engine: bool


class Membership:
    """The handlers."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "GET",
                "/api/v1/cluster/members",
                self.members,
                "cluster:read",
                "List the members of the cluster, and those that were removed from it.",
                answers=MemberList,
                errors=(409,),
                tag=TAG,
                operation="list_members",
            ),
            Endpoint(
                "POST",
                "/api/v1/cluster/members",
                self.add,
                "cluster:members",
                "Add a node: it gets the log, and a vote when it has caught up.",
                body=NewMember,
                answers=MemberDocument,
                status=201,
                errors=(409,),
                tag=TAG,
                operation="add_member",
            ),
            Endpoint(
                "DELETE",
                "/api/v1/cluster/members/{member}",
                self.remove,
                "cluster:members",
                "Remove a member, dead or alive, unless the others could not go on without it.",
                answers=MemberDocument,
                errors=(404, 409),
                tag=TAG,
                operation="remove_member",
            ),
            Endpoint(
                "POST",
                "/api/v1/cluster/members/{member}/promote",
                self.promote,
                "cluster:members",
                "Give a node that joins its vote, if it has caught up; by itself it gets it then, too.",
                answers=MemberDocument,
                errors=(404, 409),
                tag=TAG,
                operation="promote_member",
            ),
            Endpoint(
                "POST",
                "/api/v1/cluster/transfer-leadership",
                self.transfer,
                "cluster:lead",
                "Let another node lead.",
                body=Successor,
                answers=Transferred,
                errors=(404, 409),
                tag=TAG,
                operation="transfer_leadership",
            ),
        ]

    async def members(self, _: Call) -> Reply:
        members = self._changes().directory.all()
        return reply(MemberList(members=[self._document(members[name]) for name in sorted(members)]))

    async def add(self, call: Call) -> Reply:
        changes = self._changes()
        wanted: NewMember = call.body
        known = changes.directory.all().get(wanted.name)
        member = record_of(wanted, known, has_engine=self._core.seat().engine != "local" and self._own_engine())
        return self._changed(await changes.add(member, call.principal.id), 201)

    async def remove(self, call: Call) -> Reply:
        return self._changed(await self._changes().remove(call.path["member"], call.principal.id))

    async def promote(self, call: Call) -> Reply:
        return self._changed(await self._changes().promote(call.path["member"], call.principal.id))

    async def transfer(self, call: Call) -> Reply:
        body: Successor = call.body
        handed = await self._changes().transfer(body.to or "", call.principal.id)
        return reply(Transferred(leader=handed.leader, engine=handed.engine))

    def _changes(self) -> MemberChanges:
        if self._core.changes is None:
            raise NotInCluster
        return self._core.changes

    def _own_engine(self) -> bool:
        return self._core.settings.cluster.engine == "auto"

    def _changed(self, changed: Changed, status: int = 200) -> Reply:
        return reply(self._document(changed.member, changed.note), status=status)

    def _document(self, member: MemberRecord, note: str = "") -> MemberDocument:
        part = self._core.seat().members.get(member.name, "lost")
        return MemberDocument(
            name=member.name,
            state=member.state.value,
            role="removed" if member.state is MemberState.REMOVED else part,
            peer=member.peer,
            engine=member.engine,
            api=member.api,
            engine_id=member.engine_id,
            note=note,
        )


def record_of(wanted: NewMember, known: MemberRecord | None, *, has_engine: bool) -> MemberRecord:
    """Return the member that somebody wants to add.

    Args:
        known: What the log knows of one of this name.
        has_engine: Whether nodes have engines of their own here.

    Raises:
        Invalid: An address is none, or none was given and none is known.
    """
    if not wanted.peer:
        if known is None:
            raise Invalid(
                f"The cluster does not know where `{wanted.name}` is; say `{wanted.name}=HOST`.", field="peer"
            )
        return MemberRecord(wanted.name, known.peer, wanted.engine or known.engine, wanted.api or known.api)
    peer = _address(wanted.peer, "peer")
    engine = ""
    if has_engine:
        engine = str(_address(wanted.engine, "engine") if wanted.engine else Address(peer.host, peer.port + 1))
    return MemberRecord(wanted.name, str(peer), engine, wanted.api or "")


def _address(text: str, field: str) -> Address:
    bare = text.count(":") > 1 and not text.startswith("[")  # an IPv6 address without a port
    whole = f"[{text}]:7443" if bare else text if text.rpartition(":")[2].isdigit() and ":" in text else f"{text}:7443"
    address = Address(*split_address(whole, field))
    if not address.is_reachable:
        raise Invalid(f"`{field}`: `{text[:100]}` is no address at which others reach it.", field=field)
    return address
