"""An empty folder is never taken for a new one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.unit.cluster.etcd.samples import HEAD, UUID, a_member, with_data

from chronos.cluster.etcd.failures import EngineFailed
from chronos.cluster.etcd.marker import Stage, admit, path_of, read
from chronos.errors import ConfigInvalid


def test_a_new_member_is_written_down_before_it_starts(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    admit(a_member(tmp_path))
    marker = read(tmp_path)
    assert marker is not None
    assert (marker.node, marker.cluster_uuid, marker.stage) == ("n1", UUID, Stage.FOUNDING)
    assert path_of(tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_founder_that_died_before_it_wrote_anything_may_begin_again(tmp_path: Path) -> None:
    admit(a_member(tmp_path))
    assert admit(a_member(tmp_path)).stage is Stage.FOUNDING


def test_with_data_it_is_a_member_for_good(tmp_path: Path) -> None:
    admit(a_member(tmp_path))
    with_data(a_member(tmp_path))
    assert admit(a_member(tmp_path)).stage is Stage.MEMBER
    assert admit(a_member(tmp_path)).stage is Stage.MEMBER


@pytest.mark.parametrize("lost", ["", "member", "member/wal/0.wal", "member/snap/db"])
def test_a_member_whose_data_is_gone_is_not_started(tmp_path: Path, lost: str) -> None:
    member = a_member(tmp_path)
    with_data(member)
    admit(member)
    gone = member.engine_dir / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(EngineFailed, match=r"the folder of n1 back.*cluster remove n1.*move .* away.*cluster add n1"):
        admit(member)
    marker = read(tmp_path)
    assert marker is not None
    assert marker.stage is Stage.MEMBER, "asking does not change it"


def test_who_joins_counts_as_a_member_before_it_has_written_anything(tmp_path: Path) -> None:
    assert admit(a_member(tmp_path, is_joining=True)).stage is Stage.MEMBER
    with pytest.raises(EngineFailed, match="is gone or older"):
        admit(a_member(tmp_path, is_joining=True))


def test_data_without_a_marker_gets_one(tmp_path: Path) -> None:
    with_data(a_member(tmp_path))
    assert admit(a_member(tmp_path)).stage is Stage.MEMBER


def test_the_data_folder_of_another_member_is_refused(tmp_path: Path) -> None:
    admit(a_member(tmp_path))
    with pytest.raises(ConfigInvalid, match="belongs to the member n1, not to n2"):
        admit(a_member(tmp_path, node="n2"))
    with pytest.raises(ConfigInvalid, match="belongs to the cluster"):
        admit(a_member(tmp_path, cluster_uuid=UUID.replace("7", "8")))


def test_the_data_of_another_member_is_not_started(tmp_path: Path) -> None:
    member = a_member(tmp_path)
    with_data(member)
    (member.engine_dir / "member/wal/0.wal").write_bytes(HEAD)
    assert admit(member).member_id == "bdae9bbc11dd390d"
    (member.engine_dir / "member/wal/0.wal").write_bytes(HEAD.replace(b"\x8d\xf2", b"\x8e\xf2"))
    with pytest.raises(EngineFailed, match="is that of the member bdae9bbc11dd390e, and this one is bdae9bbc11dd390d"):
        admit(member)


@pytest.mark.parametrize("text", [b"", b"{", b'{"node": "n1"}', b"\xff"])
def test_a_marker_that_cannot_be_read_stops_the_node(tmp_path: Path, text: bytes) -> None:
    path_of(tmp_path).write_bytes(text)
    with pytest.raises(EngineFailed, match="cannot be read"):
        admit(a_member(tmp_path))
    assert path_of(tmp_path).read_bytes() == text


def test_a_marker_of_a_newer_release_stops_the_node(tmp_path: Path) -> None:
    admit(a_member(tmp_path))
    path_of(tmp_path).write_bytes(path_of(tmp_path).read_bytes().replace(b'"format":1', b'"format":2'))
    with pytest.raises(EngineFailed, match="newer Chronos"):
        admit(a_member(tmp_path))
