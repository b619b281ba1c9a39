"""Whether the engine takes part: it knows who leads, and agrees on a read with the others. Over the log's client."""

from __future__ import annotations

from chronos.cluster.etcd import rpc_pb2 as pb
from chronos.cluster.etcd.client import RANGE, STATUS, Client, NoAnswer, Refused
from chronos.cluster.etcd.supervisor import Ready

_KEY = b"/chronos/ready"
"""Nobody writes it: what is asked is whether there is an answer."""


def taking_part(client: Client, at: int = 0) -> Ready:
    """Return what asks the engine at place `at` of the client whether it is ready.

    One that is still learning may not be read for certain, and is ready when it hears a leader.
    """

    async def ready() -> bool:
        try:
            status = await client.once(STATUS, pb.StatusRequest(), at=at)
            if status.leader and not status.is_learner:
                await client.once(RANGE, pb.RangeRequest(key=_KEY, count_only=True), at=at)
        except (NoAnswer, Refused):
            return False
        return bool(status.leader)

    return ready
