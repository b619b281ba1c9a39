"""What the configuration says of a cluster, read and checked: whoever wires a member together starts here."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from chronos.cluster.peers.roster import Address
from chronos.cluster.peers.tls import TlsFiles
from chronos.errors import ConfigInvalid
from chronos.model.member import MemberRecord
from chronos.server.config import Config, split_address
from chronos.server.settings import Cluster, Member
from chronos.timing.duration import parse_duration


class MemberAt(Struct, frozen=True):
    """Where a member is reached; `api` is empty when nobody said."""

    peer: Address
    engine: Address | None
    api: str


class Clustered(Struct, frozen=True, kw_only=True):
    """A node's place in its cluster.

    Attributes:
        node: Its own name, one of `members`.
        uuid: The cluster's; `name` is for people.
        listen: Where the peer listener listens.
        engine: `auto`, or `etcd://host:port,…`.
        election_s: How long the engine waits for its leader, in seconds.
        keys: The folder with the keys that all members share; None when every data folder has them already.
        joins: Whether it was made for a cluster that runs already.
    """

    node: str
    name: str
    uuid: str
    members: dict[str, MemberAt]
    listen: Address
    tls: TlsFiles
    engine: str
    engine_binary: Path | None
    election_s: float
    keys: Path | None
    joins: bool = False

    @property
    def own(self) -> MemberAt:
        """Where this node itself is reached."""
        return self.members[self.node]

    def records(self) -> dict[str, MemberRecord]:
        """Return the members as the log has them."""
        return {
            name: MemberRecord(name, str(at.peer), str(at.engine) if at.engine else "", at.api)
            for name, at in self.members.items()
        }

    def peers(self) -> dict[str, Address]:
        """Return where the peer listener of every member is."""
        return {name: member.peer for name, member in self.members.items()}


def clustered(config: Config) -> Clustered | None:
    """Return the node's place in its cluster; None when it is alone. The configuration has been checked."""
    cluster = config.settings.cluster
    if not cluster.members:
        return None
    folder = config.source.parent if config.source is not None else Path()
    tls = cluster.tls
    assert cluster.uuid is not None, "checked"
    assert tls.cert_file is not None, "checked"
    assert tls.key_file is not None, "checked"
    assert tls.ca_file is not None, "checked"
    members = {name: _at(name, member) for name, member in cluster.members.items()}
    return Clustered(
        node=cluster.node_id,
        name=cluster.name or cluster.uuid,
        uuid=cluster.uuid,
        members=members,
        listen=_listen(cluster, members[cluster.node_id].peer),
        tls=TlsFiles(folder / tls.cert_file, folder / tls.key_file, folder / tls.ca_file),
        engine=cluster.engine,
        engine_binary=folder / cluster.engine_binary if cluster.engine_binary else None,
        election_s=parse_duration(cluster.raft.election_timeout) / 1e6,
        keys=folder / cluster.keys_dir if cluster.keys_dir else None,
        joins=cluster.joins,
    )


def check_cluster(cluster: Cluster) -> None:
    """See to it that what was configured can be a cluster, or is none at all.

    Raises:
        ConfigInvalid: It is half of one, or its parts do not fit.
    """
    if not cluster.members:
        _check_alone(cluster)
        return
    if cluster.node_id not in cluster.members:
        raise _wrong(
            "node_id", f"`{cluster.node_id}` is none of `cluster.members`: {', '.join(sorted(cluster.members))}."
        )
    tls = cluster.tls
    needed = {
        "uuid": cluster.uuid,
        "tls.cert_file": tls.cert_file,
        "tls.key_file": tls.key_file,
        "tls.ca_file": tls.ca_file,
    }
    for key, value in needed.items():
        if not value:
            raise _wrong(key, "is missing, and a cluster has it; `chronos cluster init` writes a whole configuration.")
    taken: dict[Address, str] = {}
    for name, member in cluster.members.items():
        for kind, address in _addresses(name, member, with_engine=cluster.engine == "auto"):
            if other := taken.get(address):
                raise _wrong(f"members.{name}.{kind}", f"{address} is {other} already.")
            taken[address] = f"`cluster.members.{name}.{kind}`"
    _listen(cluster, _at(cluster.node_id, cluster.members[cluster.node_id]).peer)


def _check_alone(cluster: Cluster) -> None:
    """Whoever has half of a cluster's keys wanted a cluster: alone, it would run every job that the others run, too."""
    said = {
        "name": cluster.name,
        "uuid": cluster.uuid,
        "peer_address": cluster.peer_address,
        "keys_dir": cluster.keys_dir,
        "tls": cluster.tls.cert_file or cluster.tls.key_file or cluster.tls.ca_file,
        "engine": cluster.engine != "auto",
        "joins": cluster.joins,
    }
    if given := [key for key, value in said.items() if value]:
        raise _wrong(given[0], "is set, and `cluster.members` is not; a node without members is alone.")


def _addresses(name: str, member: Member, *, with_engine: bool) -> list[tuple[str, Address]]:
    at = _at(name, member)
    if with_engine and at.engine is None:
        raise _wrong(f"members.{name}.engine", "is missing; without it `cluster.engine` has to be `etcd://…`.")
    return [("peer", at.peer), *([("engine", at.engine)] if at.engine else [])]


def _at(name: str, member: Member) -> MemberAt:
    key = f"cluster.members.{name}"
    engine = _reachable(member.engine, f"{key}.engine") if member.engine else None
    return MemberAt(_reachable(member.peer, f"{key}.peer"), engine, member.api or "")


def _reachable(text: str, key: str) -> Address:
    address = Address(*split_address(text, key))
    if not address.is_reachable:
        raise ConfigInvalid(f"`{key}`: `{text}` is no address at which others reach it.", field=key)
    return address


def _listen(cluster: Cluster, own: Address) -> Address:
    if cluster.peer_address is not None:
        return Address(*split_address(cluster.peer_address, "cluster.peer_address"))
    return own.to_listen()


def _wrong(key: str, what: str) -> ConfigInvalid:
    return ConfigInvalid(f"`cluster.{key}`: {what}", field=f"cluster.{key}")
