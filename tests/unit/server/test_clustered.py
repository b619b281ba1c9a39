"""What of `cluster` makes a cluster, and what is refused as half of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronos.errors import ConfigInvalid
from chronos.server import manifest
from chronos.server.clustered import clustered
from chronos.server.config import Config, load

UUID = "6e6f6465-0000-4000-8000-000000000001"
TLS = "tls: {cert_file: node.crt, key_file: /etc/chronos/node.key, ca_file: ca.crt}"
MEMBERS = "{n1: {peer: '10.0.0.1:7443', engine: '10.0.0.1:7444'}, n2: {peer: 'h2:7443', engine: 'h2:7444'}}"


def configured(tmp_path: Path, cluster: str, **flags: str) -> Config:
    path = tmp_path / "chronos.yaml"
    path.write_text(f"cluster: {{{cluster}}}\n")
    return load(path, environ={}, flags=flags, feature_types=manifest.sections())


def whole(**changed: str) -> str:
    parts = {"node_id": "node_id: n1", "uuid": f"uuid: {UUID}", "members": f"members: {MEMBERS}", "tls": TLS} | changed
    return ", ".join(part for part in parts.values() if part)


def test_without_members_a_node_is_alone(tmp_path: Path) -> None:
    assert clustered(configured(tmp_path, "node_id: n1")) is None


def test_paths_begin_where_the_file_lies(tmp_path: Path) -> None:
    found = clustered(configured(tmp_path, whole(keys="keys_dir: keys")))
    assert found is not None
    assert found.tls.certificate == tmp_path / "node.crt"
    assert found.tls.key == Path("/etc/chronos/node.key")
    assert found.keys == tmp_path / "keys"
    assert found.name == UUID


def test_a_node_listens_at_its_own_address_or_where_it_is_told_to(tmp_path: Path) -> None:
    def listens(cluster: str) -> str:
        found = clustered(configured(tmp_path, cluster))
        assert found is not None
        return str(found.listen)

    assert listens(whole()) == "10.0.0.1:7443"
    assert listens(whole(node_id="node_id: n2")) == "0.0.0.0:7443"
    assert listens(whole(at="peer_address: '0.0.0.0:9'")) == "0.0.0.0:9"


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        (f"uuid: {UUID}", "`cluster.members` is not"),
        ("peer_address: '10.0.0.1:7443'", "`cluster.members` is not"),
        (TLS, "`cluster.members` is not"),
        ("engine: 'etcd://h:2379'", "`cluster.members` is not"),
        (whole(uuid=""), "`cluster.uuid`: is missing"),
        (whole(tls="tls: {cert_file: a, key_file: b}"), "`cluster.tls.ca_file`: is missing"),
        (whole(node_id="node_id: n3"), "`n3` is none of `cluster.members`: n1, n2"),
        (whole(members="members: {n1: {peer: 'h:7443'}}"), "`cluster.members.n1.engine`: is missing"),
        (whole(members="members: {n1: {peer: 'h', engine: 'h:1'}}"), "`cluster.members.n1.peer`: `h` is not"),
        (whole(members="members: {n1: {peer: ':7', engine: 'h:1'}}"), "no address at which others reach it"),
        (whole(members="members: {n1: {peer: '0.0.0.0:7', engine: 'h:1'}}"), "no address at which others reach it"),
        (whole(members="members: {n1: {peer: 'h:7', engine: 'h:7'}}"), "h:7 is `cluster.members.n1.peer` already"),
        (whole(uuid="uuid: nonsense"), "uuid"),
        (whole(at="peer_address: nowhere"), "`cluster.peer_address`"),
        (whole(engine="engine: 'http://h'"), "engine"),
    ],
)
def test_half_a_cluster_is_refused_and_never_started_alone(tmp_path: Path, cluster: str, said: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        configured(tmp_path, cluster)
    assert said in str(caught.value)


def test_an_engine_elsewhere_needs_no_address_of_its_own(tmp_path: Path) -> None:
    members = "members: {n1: {peer: 'h:7443'}}"
    found = clustered(configured(tmp_path, whole(members=members, engine="engine: 'etcd://e1:2379,e2:2379'")))
    assert found is not None
    assert found.own.engine is None


def test_in_a_cluster_every_key_of_the_original_without_effect_says_so_once(tmp_path: Path) -> None:
    raft = (
        "raft: {address: '10.0.0.1:7000', peers: [h2], heartbeat_timeout: 1s, election_timeout: 2s, "
        "snapshot_interval: 30s, snapshot_threshold: 9, bootstrap: true, tls: {cert_file: a}}"
    )
    config = configured(tmp_path, whole(raft=raft))
    keys = [note.split("`")[1] for note in config.notes]
    others = ("address", "peers", "heartbeat_timeout", "snapshot_interval", "snapshot_threshold", "bootstrap", "tls")
    assert keys == [f"cluster.raft.{key}" for key in others]
    assert config.settings.cluster.raft.election_timeout == "2s"


def test_alone_none_of_them_has_one(tmp_path: Path) -> None:
    [note] = configured(tmp_path, "raft: {election_timeout: 2s}").notes
    assert note.startswith("`cluster.raft` has no effect in a single node")
