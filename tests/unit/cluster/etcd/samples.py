"""A member as most tests want it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chronos.cluster.etcd.flags import EngineSettings, PeerTls

UUID = "7d4f8a10-0000-4000-8000-000000000001"
TLS = PeerTls(Path("/c/node.pem"), Path("/c/node.key"), Path("/c/ca.pem"))
THREE = {"n1": ("10.0.0.1", 2380), "n2": ("10.0.0.2", 2380), "n3": ("10.0.0.3", 2380)}


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
