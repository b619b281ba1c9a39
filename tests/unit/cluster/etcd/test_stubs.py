"""What is spoken with etcd."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.architecture.source import PACKAGE

from chronos.cluster.etcd import rpc_pb2

PROTO = "chronos/cluster/etcd/rpc.proto"


def test_the_stubs_are_what_is_made_from_their_source(tmp_path: Path) -> None:
    made = [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I", ".", *made, PROTO], cwd=PACKAGE.parent, check=True)
    folder = tmp_path / "chronos/cluster/etcd"
    for name in ("rpc_pb2.py", "rpc_pb2.pyi"):
        assert (folder / name).read_text() == (PACKAGE / "cluster/etcd" / name).read_text(), "`make stubs` writes it"


def test_names_of_messages_are_our_own_so_that_another_client_of_etcd_may_be_loaded_too() -> None:
    assert rpc_pb2.DESCRIPTOR.package == "chronos.etcd"
