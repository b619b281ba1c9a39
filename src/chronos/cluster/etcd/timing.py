"""How fast the engine notices that its leader is gone, and how fast a node then takes over."""

from __future__ import annotations

from msgspec import Struct

from chronos.errors import ConfigInvalid

ELECTION_S_MIN = 0.5
ELECTION_S_MAX = 50.0
"""etcd refuses more."""
HEARTBEATS = 10
TAKEOVERS = 3
NOOP_S = 0.25


class EngineTiming(Struct, frozen=True):
    """The timers of one cluster; the same on all of its nodes.

    Attributes:
        heartbeat_ms: How often the engine's leader is heard.
        election_ms: After how long a silence the engine elects another leader.
        takeover_s: After how long without an entry a node takes over from the one that leads, and the latter stops.
        noop_s: How often a leader appends when there is nothing to append.
    """

    heartbeat_ms: int = 50
    election_ms: int = 500
    takeover_s: float = 1.5
    noop_s: float = NOOP_S


def engine_timing(election_s: float) -> EngineTiming:
    """Return the timers for a network on which `election_s` is enough to tell silence from slowness.

    Below half a second everything is as with half a second: an election takes a few fsyncs. Entries come at least six
    times within `takeover_s`, and heartbeats ten times within an election (etcd wants five).

    Args:
        election_s: `cluster.raft.election_timeout`; ten round trips between the most distant nodes, or more.

    Raises:
        ConfigInvalid: etcd cannot wait that long, or it is no duration.
    """
    if not 0 < election_s <= ELECTION_S_MAX:
        key = "cluster.raft.election_timeout"
        raise ConfigInvalid(
            f"`{key}`: {election_s:g} s is outside of what an election can take, 0 to {ELECTION_S_MAX:g} s.", field=key
        )
    election_ms = round(max(election_s, ELECTION_S_MIN) * 1_000)
    return EngineTiming(election_ms // HEARTBEATS, election_ms, TAKEOVERS * election_ms / 1_000, NOOP_S)
