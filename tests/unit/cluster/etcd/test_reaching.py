"""How a process reaches its engine, wherever the data folder lies."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
from tests.unit.cluster.etcd.samples import a_member

from chronos.cluster.etcd.reaching import PATH_BYTES_MAX, endpoint_of, socket_of
from chronos.errors import ConfigInvalid


def test_a_folder_with_a_short_path_has_the_socket_where_everybody_sees_it() -> None:
    assert endpoint_of(a_member(Path("/data"))) == "unix:/data/engine/run/client:0"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the path has to be short")
def test_a_long_path_is_reached_all_the_same(tmp_path: Path) -> None:
    member = a_member(tmp_path / ("x" * 100))
    path = socket_of(member)
    assert len(path) <= PATH_BYTES_MAX
    assert path == socket_of(member), "the folder is opened once"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen()
        client.connect(path)
    assert os.listdir(member.run_dir) == ["client:0"]
    assert member.run_dir.stat().st_mode & 0o777 == 0o700


def test_a_long_path_is_refused_where_there_is_no_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(ConfigInvalid, match="characters too long for the engine's socket"):
        socket_of(a_member(Path("/" + "x" * 100)))
