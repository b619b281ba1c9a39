"""What connects a member with the others, made of its configuration: its engine and the log on it, and its peers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from chronos.cluster.etcd.binary import find, identify
from chronos.cluster.etcd.client import EtcdTls
from chronos.cluster.etcd.flags import EngineSettings, PeerTls
from chronos.cluster.etcd.log import EtcdLog
from chronos.cluster.etcd.reaching import endpoint_of
from chronos.cluster.etcd.readiness import taking_part
from chronos.cluster.etcd.supervisor import EtcdSupervisor
from chronos.cluster.etcd.takeover import TakeoverSettings
from chronos.cluster.etcd.timing import EngineTiming, engine_timing
from chronos.cluster.peers.net import PeerNet
from chronos.cluster.peers.port import Peer
from chronos.cluster.peers.remote import RemotePeers, answer_with
from chronos.cluster.peers.roster import Identity, Roster
from chronos.server.assemble import House
from chronos.server.clustered import Clustered
from chronos.server.membership import Wiring
from chronos.timing.clock import Chance, Clock

_ELSEWHERE = "etcd://"


class OwnEngineLog(EtcdLog):
    """The cluster's log on an engine of this node's own, which runs while the log is entered."""

    def __init__(
        self, place: Clustered, engine: EngineSettings, environ: Mapping[str, str], clock: Clock, chance: Chance
    ) -> None:
        super().__init__(
            [endpoint_of(engine)],
            place.uuid,
            node=place.node,
            address=place.own.api,
            takeover=takeover_of(place, engine.timing),
            clock=clock,
            chance=chance,
        )
        self._engine_settings = engine
        self._binary = place.engine_binary
        self._environ = environ
        self._ticking = clock
        self._engine_running = AsyncExitStack()
        self.supervisor: EtcdSupervisor | None = None

    async def __aenter__(self) -> OwnEngineLog:
        async with AsyncExitStack() as starting:
            engine = await identify(find(self._binary, self._environ))
            supervisor = EtcdSupervisor(engine, self._engine_settings, self._ticking, taking_part(self.client))
            await starting.enter_async_context(supervisor)
            await supervisor.wait_ready()
            await super().__aenter__()
            self.supervisor = supervisor
            self._engine_running = starting.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, exc, trace)
        await self._engine_running.aclose()


@dataclass(frozen=True)
class Connections:
    """What a member is connected by.

    Attributes:
        engine: What orders the log, for people.
        listen: Lets the others reach this node while it is entered, with what answers them.
        addresses: Where each member's API is, by its name, as far as somebody said.
    """

    engine: str
    log: EtcdLog
    peers: RemotePeers
    net: PeerNet
    listen: Callable[[Peer], AbstractAsyncContextManager[PeerNet]]
    addresses: Mapping[str, str]


def connections(place: Clustered, data: Path, environ: Mapping[str, str], clock: Clock, chance: Chance) -> Connections:
    """Return what connects this node with the others; nothing is started before log and listener are entered.

    Args:
        data: The data folder.
        environ: May name the engine's program.

    Raises:
        ConfigInvalid: The certificate cannot be used, or the engine's timers.
    """
    net = PeerNet(Identity(place.uuid, place.node), place.listen, Roster(place.peers()), place.tls, clock, chance)

    @asynccontextmanager
    async def listen(peer: Peer) -> AsyncIterator[PeerNet]:
        answer_with(peer, net)
        async with net:
            yield net

    addresses = {name: member.api for name, member in place.members.items() if member.api}
    shared = _log(place, data, environ, clock, chance)
    return Connections("etcd", shared, RemotePeers(net), net, listen, addresses)


def wiring_of(place: Clustered, environ: Mapping[str, str]) -> Callable[[House], Wiring]:
    """Return what wires a member once its house stands."""

    def wired(house: House) -> Wiring:
        made = connections(place, house.folder, environ, house.clock, house.outside.chance)
        return Wiring(made.engine, made.log, made.peers, made.listen, made.addresses)

    return wired


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


def _log(place: Clustered, data: Path, environ: Mapping[str, str], clock: Clock, chance: Chance) -> EtcdLog:
    if not place.engine.startswith(_ELSEWHERE):
        return OwnEngineLog(place, engine_settings(place, data), environ, clock, chance)
    # One that is there is shown the member's own certificate, and has to be of an authority that this one trusts.
    endpoints = [f"https://{one}" for one in place.engine.removeprefix(_ELSEWHERE).split(",") if one]
    tls = EtcdTls(*(path.read_bytes() for path in (place.tls.authority, place.tls.certificate, place.tls.key)))
    return EtcdLog(
        endpoints,
        place.uuid,
        node=place.node,
        address=place.own.api,
        tls=tls,
        takeover=takeover_of(place, engine_timing(place.election_s)),
        clock=clock,
        chance=chance,
    )
