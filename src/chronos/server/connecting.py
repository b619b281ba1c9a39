"""What connects a member with the others, made of its configuration: its engine and the log on it, and its peers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import msgspec

from chronos.cluster.etcd import marker
from chronos.cluster.etcd.binary import find, identify
from chronos.cluster.etcd.client import EtcdTls
from chronos.cluster.etcd.flags import EngineSettings, PeerTls
from chronos.cluster.etcd.log import EtcdLog
from chronos.cluster.etcd.members import EtcdMembers, Members
from chronos.cluster.etcd.probe import EngineLook
from chronos.cluster.etcd.reaching import endpoint_of
from chronos.cluster.etcd.readiness import taking_part, wait_for_vote
from chronos.cluster.etcd.room import Room
from chronos.cluster.etcd.supervisor import EtcdSupervisor, State
from chronos.cluster.etcd.takeover import TakeoverSettings
from chronos.cluster.etcd.timing import EngineTiming, engine_timing
from chronos.cluster.peers.net import PeerNet
from chronos.cluster.peers.port import Peer
from chronos.cluster.peers.remote import RemotePeers, answer_with
from chronos.cluster.peers.roster import Address, Identity, Roster
from chronos.model.member import MemberRecord
from chronos.server.admission import Admission
from chronos.server.assemble import House
from chronos.server.clustered import Clustered
from chronos.server.config import split_address
from chronos.server.members.calls import RemoteColleagues
from chronos.server.members.directory import Follow
from chronos.server.members.firststart import JOIN_S, FirstStart
from chronos.server.membership import Wiring
from chronos.timing.clock import Chance, Clock

_ELSEWHERE = "etcd://"

Wired = Callable[[House], Wiring]


class OwnEngineLog(EtcdLog):
    """The cluster's log on an engine of this node's own, which runs while the log is entered."""

    def __init__(
        self,
        place: Clustered,
        engine: EngineSettings,
        environ: Mapping[str, str],
        clock: Clock,
        chance: Chance,
        *,
        base: int = 0,
    ) -> None:
        super().__init__(
            [endpoint_of(engine)],
            place.uuid,
            node=place.node,
            address=place.own.api,
            base=base,
            takeover=takeover_of(place, engine.timing),
            clock=clock,
            chance=chance,
        )
        self._place = place
        self._engine_settings = engine
        self._binary = place.engine_binary
        self._environ = environ
        self._ticking = clock
        self._drawing = chance
        self._engine_running = AsyncExitStack()
        self.supervisor: EtcdSupervisor | None = None
        self.room: Room | None = None

    async def __aenter__(self) -> OwnEngineLog:
        async with AsyncExitStack() as starting:
            engine = await identify(find(self._binary, self._environ))
            settings = await self._joined(self._engine_settings)
            supervisor = EtcdSupervisor(engine, settings, self._ticking, taking_part(self.client))
            await starting.enter_async_context(supervisor)
            await supervisor.wait_ready()
            await wait_for_vote(self.client, supervisor, JOIN_S)
            await super().__aenter__()
            self.supervisor = supervisor
            self.room = await starting.enter_async_context(self._looked_after(supervisor))
            self._engine_running = starting.pop_all()
        return self

    @asynccontextmanager
    async def _looked_after(self, supervisor: EtcdSupervisor) -> AsyncIterator[Room]:
        room = Room(self, Members(self.client), supervisor.metrics, self._ticking)
        keeping = asyncio.create_task(room.keep_for_ever(), name="engine's room")
        try:
            yield room
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    def look(self) -> EngineLook | None:
        """Return how the engine was a moment ago; None before anybody has looked."""
        return self.room.last if self.room is not None else None

    def trouble(self) -> str:
        """Return why the engine takes no part, or no writes, as a sentence; empty while it does."""
        if self.supervisor is None:
            return "The engine is not running yet."
        status, look = self.supervisor.status, self.look()
        if status.state is not State.READY:
            return status.reason or f"The engine is not ready ({status.state})."
        if look is not None and look.full:
            return "The engine is full and takes no writes; it is being given room, which takes up to a minute."
        return ""

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, exc, trace)
        await self._engine_running.aclose()

    async def failure(self) -> None:
        """Return never, unless the engine has ended for good; then raise `EngineFailed`, which says what to do."""
        assert self.supervisor is not None, "it is entered"
        await self.supervisor.failure()

    async def _joined(self, settings: EngineSettings) -> EngineSettings:
        """Return with what the engine is started: as one that joins, if that is what the others say.

        Where there is data, or was, nobody is asked: then the engine knows, or may not be started.
        """
        found = marker.read(settings.data_dir)
        if marker.has_data(settings) or (found is not None and found.stage is marker.Stage.MEMBER):
            return settings
        members = await FirstStart(self._place, settings.data_dir, self._ticking, self._drawing).engines()
        return settings if members is None else msgspec.structs.replace(settings, members=members, is_joining=True)


@dataclass(frozen=True)
class Connections:
    """What a member is connected by.

    Attributes:
        engine: What orders the log, for people.
        listen: Lets the others reach this node while it is entered, with what answers them.
        addresses: Where each member's API is, by its name, as far as somebody said.
        engines: Who agrees on the log; None where the engine is somebody else's.
    """

    engine: str
    log: EtcdLog
    peers: RemotePeers
    net: PeerNet
    listen: Callable[[Peer], AbstractAsyncContextManager[PeerNet]]
    addresses: Mapping[str, str]
    engines: EtcdMembers | None
    colleagues: RemoteColleagues
    follow: Follow


def connections(
    place: Clustered, data: Path, environ: Mapping[str, str], clock: Clock, chance: Chance, *, base: int = 0
) -> Connections:
    """Return what connects this node with the others; nothing is started before log and listener are entered.

    Args:
        data: The data folder.
        environ: May name the engine's program.
        base: What the log begins behind if this node is the one that makes it.

    Raises:
        ConfigInvalid: The certificate cannot be used, or the engine's timers.
    """
    roster = Roster(place.peers())
    net = PeerNet(Identity(place.uuid, place.node), place.listen, roster, place.tls, clock, chance)

    @asynccontextmanager
    async def listen(peer: Peer) -> AsyncIterator[PeerNet]:
        answer_with(peer, net)
        async with net:
            yield net

    addresses = {name: member.api for name, member in place.members.items() if member.api}
    shared = _log(place, data, environ, clock, chance, base)
    engines = EtcdMembers(shared.client) if isinstance(shared, OwnEngineLog) else None

    def follow(members: Mapping[str, MemberRecord]) -> None:
        roster.replace({place.node: place.own.peer, **{name: _peer_of(member) for name, member in members.items()}})

    colleagues = RemoteColleagues(net, engines)
    return Connections("etcd", shared, RemotePeers(net), net, listen, addresses, engines, colleagues, follow)


def wiring_of(place: Clustered, environ: Mapping[str, str], admission: Admission | None = None) -> Wired:
    """Return what wires a member once its house stands.

    Args:
        admission: How this node comes to its cluster; None when it only is looked at.
    """
    base = admission.base if admission is not None else 0

    def wired(house: House) -> Wiring:
        made = connections(place, house.folder, environ, house.clock, house.outside.chance, base=base)
        wiring = Wiring(
            made.engine,
            made.log,
            made.peers,
            made.listen,
            made.addresses,
            made.net,
            members=place.records(),
            engines=made.engines,
            colleagues=made.colleagues,
            follow=made.follow,
            failure=made.log.failure if isinstance(made.log, OwnEngineLog) else None,
        )
        if isinstance(made.log, OwnEngineLog):
            wiring = replace(wiring, look=made.log.look, engine_trouble=made.log.trouble)
        return wiring if admission is None else replace(wiring, entered=admission.entered)

    return wired


def _peer_of(member: MemberRecord) -> Address:
    return Address(*split_address(member.peer, f"cluster.members.{member.name}.peer"))


def engine_settings(place: Clustered, data: Path) -> EngineSettings:
    """Return what this node's own engine is started with."""
    members = {name: (at.host, at.port) for name, member in place.members.items() if (at := member.engine) is not None}
    own = place.own.engine
    assert own is not None, "checked: an engine of one's own has an address"
    return EngineSettings(
        node=place.node,
        cluster_uuid=place.uuid,
        data_dir=data.absolute(),
        listen=(place.listen.host, own.port),
        members=members,
        tls=PeerTls(place.tls.certificate.absolute(), place.tls.key.absolute(), place.tls.authority.absolute()),
        timing=engine_timing(place.election_s),
    )


def takeover_of(place: Clustered, timing: EngineTiming) -> TakeoverSettings:
    """Return when this node takes over from a leader that is silent: not all of them at once."""
    return TakeoverSettings(silence_s=timing.takeover_s, rank=sorted(place.members).index(place.node))


def _log(place: Clustered, data: Path, environ: Mapping[str, str], clock: Clock, chance: Chance, base: int) -> EtcdLog:
    if not place.engine.startswith(_ELSEWHERE):
        return OwnEngineLog(place, engine_settings(place, data), environ, clock, chance, base=base)
    # One that is there is shown the member's own certificate, and has to be of an authority that this one trusts.
    endpoints = [f"https://{one}" for one in place.engine.removeprefix(_ELSEWHERE).split(",") if one]
    tls = EtcdTls(*(path.read_bytes() for path in (place.tls.authority, place.tls.certificate, place.tls.key)))
    return EtcdLog(
        endpoints,
        place.uuid,
        node=place.node,
        address=place.own.api,
        base=base,
        tls=tls,
        takeover=takeover_of(place, engine_timing(place.election_s)),
        clock=clock,
        chance=chance,
    )
