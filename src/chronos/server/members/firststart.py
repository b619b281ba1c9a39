"""What a node without engine data is: one of those that found a cluster, one that joins, or one whose disk was wiped.

Its own files cannot say. A member that comes back empty and takes part as the one it was forgets writes that the
others count on, so those that run are asked before the engine is started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import structlog

from chronos.cluster.etcd.failures import EngineFailed
from chronos.cluster.etcd.flags import HostPort
from chronos.cluster.etcd.marker import wiped
from chronos.cluster.peers.caller import Caller
from chronos.cluster.peers.roster import Address, Identity, Roster
from chronos.cluster.peers.tls import Credentials
from chronos.cluster.peers.wire import NO_MEMBER
from chronos.cluster.port import EngineMember
from chronos.errors import ChronosError, PeerUnreachable, Unavailable
from chronos.server.clustered import Clustered
from chronos.server.config import split_address
from chronos.server.members.calls import ENGINES, AskEngines
from chronos.server.members.wording import adding
from chronos.timing.clock import Chance, Clock

log = structlog.get_logger("chronos.cluster")

JOIN_S = 600.0
"""How long a node that joins waits to be added, and then for its vote."""
AGAIN_S = 1.0
ASK_S = 3.0

Said = Sequence[EngineMember] | None
"""What another node says of the engine's members; None when it does not know this one."""


class Place(StrEnum):
    """What a node without data is, in the eyes of one that runs."""

    FOUNDS = "founds"
    JOINS = "joins"
    WIPED = "wiped"
    STRANGE = "strange"


def place_of(own: str, said: Said) -> Place:
    """Return what the node is whose engine is reached at `own`.

    An engine tells the others where it takes requests as soon as it has started: whoever has told and has no data has
    lost them. A name is no sign of that: those that found a cluster together have theirs before they start.
    """
    here = next((one for one in said or () if one.address == own), None)
    if here is None:
        return Place.STRANGE
    if here.name and here.has_begun:
        return Place.WIPED
    return Place.JOINS if here.is_learner else Place.FOUNDS


class FirstStart:
    """Asks the other nodes of a configuration what this one is."""

    def __init__(self, place: Clustered, data_dir: Path, clock: Clock, chance: Chance) -> None:
        self._place = place
        self._data_dir = data_dir
        own = Identity(place.uuid, place.node)
        self._others = [name for name in sorted(place.members) if name != place.node]
        credentials = Credentials(place.tls, own, clock)
        roster = Roster(place.peers())
        self._caller: Callable[[str], Caller] = lambda name: Caller(name, own, roster, credentials, chance)

    async def engines(self) -> Mapping[str, HostPort] | None:
        """Return where the engines are that this one joins; None when it founds a cluster with the others.

        Raises:
            EngineFailed: It is a member, and has lost its data.
            Unavailable: It was not added to the cluster, or nobody answers who could say so.
        """
        known = False
        loop = asyncio.get_running_loop()
        until_s = loop.time() + JOIN_S
        while True:
            answers = await self._ask_all()
            for said in answers:
                found = self._joined(said)
                if found is not None:
                    return found
            if any(place_of(self._engine, said) is Place.FOUNDS for said in answers):
                return None
            if not answers and not self._place.joins:
                return None
            reason = self._waits_for(was_heard=bool(answers))
            if loop.time() > until_s:
                raise Unavailable(reason)
            if not known:
                log.warning("waits_to_join", reason=reason, seconds=JOIN_S)
            known = True
            await asyncio.sleep(AGAIN_S)

    @property
    def _engine(self) -> str:
        return str(self._place.own.engine)

    def _joined(self, said: Said) -> Mapping[str, HostPort] | None:
        place = place_of(self._engine, said)
        if place is Place.WIPED:
            raise EngineFailed(wiped(self._place.node, self._data_dir))
        if place is not Place.JOINS:
            return None
        members = {one.name or one.id: _host_port(one.address) for one in said or () if one.address != self._engine}
        own = self._place.own.engine
        assert own is not None, "it has an engine"
        return {**members, self._place.node: (own.host, own.port)}

    def _waits_for(self, *, was_heard: bool) -> str:
        node = self._place.node
        if not was_heard:
            return (
                f"{node} is to join a cluster, and none of {', '.join(self._others)} answers. Are they up, and do their"
                " addresses in `cluster.members` still hold?"
            )
        own = self._place.own
        return (
            f"{node} is no member of the cluster. On a node that runs: `{adding(node, own.peer, own.engine, own.api)}`"
        )

    async def _ask_all(self) -> list[Said]:
        """Return what those say that answer."""
        said = await asyncio.gather(*(self._ask(name) for name in self._others))
        return [answer for is_there, answer in said if is_there]

    async def _ask(self, name: str) -> tuple[bool, Said]:
        try:
            async with asyncio.timeout(2 * ASK_S):
                return True, await self._caller(name).ask_once(ENGINES, AskEngines(), within_s=ASK_S)
        except PeerUnreachable as error:
            return NO_MEMBER in str(error), None
        except (ChronosError, TimeoutError):
            return False, None


def _host_port(address: str) -> HostPort:
    return Address(*split_address(address, "address"))
