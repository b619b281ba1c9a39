"""Who uses the engine's folder and port, and who is left over from an earlier life."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from pathlib import Path

import pytest
from tests.unit.cluster.etcd.samples import a_member, with_data

from chronos.cluster.etcd import orphan
from chronos.cluster.etcd.failures import EngineFailed
from chronos.testing.virtual_time import virtual_time


def test_a_port_that_somebody_listens_on_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(EngineFailed, match=rf"Port {port} of 127\.0\.0\.1 is in use.*members\.n1\.engine"):
            orphan.check_unused(a_member(tmp_path, listen=("127.0.0.1", port)))
    orphan.check_unused(a_member(tmp_path, listen=("127.0.0.1", port)))


@virtual_time
async def test_what_is_let_go_of_a_moment_later_is_waited_for(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        member = a_member(tmp_path, listen=("127.0.0.1", other.getsockname()[1]))
        with pytest.raises(EngineFailed, match="is in use"):
            await orphan.wait_unused(member)
        asyncio.get_running_loop().call_later(1.0, other.close)
        await orphan.wait_unused(member)


def test_data_that_somebody_has_open_is_named(tmp_path: Path) -> None:
    member = a_member(tmp_path, listen=("127.0.0.1", 0))
    with_data(member)
    orphan.check_unused(member)
    with (member.engine_dir / "member/snap/db").open("rb") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        with pytest.raises(EngineFailed, match="has the engine's data open"):
            orphan.check_unused(member)
    orphan.check_unused(member)


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "1", str(1 << 40), "our own"])
def test_a_number_that_is_no_engine_of_ours_is_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text.replace("our own", str(os.getpid())))
    assert orphan.find_orphan(tmp_path / "pid", tmp_path / "engine") is None


def test_an_engine_on_another_folder_is_not_ours() -> None:
    command = ["/usr/bin/etcd", "--name=n1", "--data-dir=/a/engine/u"]
    assert orphan.is_ours(command, Path("/a/engine/u"))
    assert not orphan.is_ours(command, Path("/a/engine"))
    assert not orphan.is_ours(["vi", "/a/engine/u"], Path("/a/engine/u"))


def test_a_number_that_cannot_be_written_down_keeps_nothing_from_running(tmp_path: Path) -> None:
    orphan.note(tmp_path / "gone" / "pid", 1)
    orphan.forget(tmp_path / "gone" / "pid")


@pytest.mark.asyncio
async def test_without_an_orphan_nothing_is_ended(tmp_path: Path) -> None:
    orphan.note(tmp_path / "pid", os.getpid())
    assert await orphan.end_orphan(tmp_path / "pid", tmp_path) is None
    assert not (tmp_path / "pid").exists()
