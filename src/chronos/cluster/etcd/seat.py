"""What lies in the leader's key."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from chronos.cluster.etcd import rpc_pb2 as pb
from chronos.cluster.port import LeaderInfo


class Seat(Struct, frozen=True, omit_defaults=True):
    """Who leads.

    Attributes:
        node: Empty while nobody does.
        to: Whom a leader that has resigned would like to follow it.
        nonce: Tells one campaign of a node from another, when nobody knows whether it was won.
    """

    node: str = ""
    address: str = ""
    to: str = ""
    nonce: bytes = b""

    def packed(self) -> bytes:
        """Return it as it lies in the key."""
        return msgspec.json.encode(self)


def leader_in(kv: pb.KeyValue | None) -> LeaderInfo:
    """Return who leads, by the leader's key; epoch 0 when there is no such key yet."""
    if kv is None:
        return LeaderInfo("", "", 0)
    try:
        seat = msgspec.json.decode(kv.value, type=Seat)
    except msgspec.DecodeError:  # written by hand, or by a release to come: nobody we know leads
        seat = Seat()
    return LeaderInfo(seat.node, seat.address, kv.mod_revision, seat.to)
