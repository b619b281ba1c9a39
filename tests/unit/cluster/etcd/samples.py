"""A member as most tests want it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chronos.cluster.etcd.flags import EngineSettings, PeerTls

UUID = "7d4f8a10-0000-4000-8000-000000000001"
TLS = PeerTls(Path("/c/node.pem"), Path("/c/node.key"), Path("/c/ca.pem"))
THREE = {"n1": ("10.0.0.1", 2380), "n2": ("10.0.0.2", 2380), "n3": ("10.0.0.3", 2380)}


# The beginning of the log of a real etcd 3.6.16.
HEAD = bytes.fromhex(
    "040000000000008408041000000000001f00000000000081080110c0eee05a1a16088df2f48ec1f7a6d7bd0110aaf4e5"
    "f599f3ebe7d101000d00000000000083080510b6f7e4581a0408001000000000"
)


def a_member(data_dir: Path, **changes: Any) -> EngineSettings:
    given: dict[str, Any] = {
        "node": "n1", "cluster_uuid": UUID, "data_dir": data_dir, "listen": ("10.0.0.1", 2380), "members": THREE,
        "tls": TLS,
    }  # fmt: skip
    return EngineSettings(**given | changes)


def with_data(member: EngineSettings) -> None:
    """Leave what an engine leaves that has run."""
    for path in (member.engine_dir / "member/wal/0.wal", member.engine_dir / "member/snap/db"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
