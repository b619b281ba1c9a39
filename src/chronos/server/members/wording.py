"""The commands that people are told to give."""

from __future__ import annotations

from chronos.cluster.peers.roster import Address


def adding(name: str, peer: Address, engine: Address | None, api: str) -> str:
    """Return the command that adds a node to a cluster; what its address says already is left out."""
    words = ["chronosctl", "cluster", "add", f"{name}={peer}"]
    if engine is not None and engine != Address(peer.host, peer.port + 1):
        words += ["--engine", str(engine)]
    return " ".join([*words, *(["--api", api] if api else [])])
