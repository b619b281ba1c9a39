"""A node on the other end of a wire, as a test of transports needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chronos.cluster.peers.port import Placed
from chronos.errors import NotLeader


class Played:
    """A node that notes what it is asked."""

    def __init__(self, *, leads: bool = True) -> None:
        self.leads = leads
        self.asked: list[object] = []

    async def forward(self, commands: Sequence[bytes]) -> Placed:
        if not self.leads:
            raise NotLeader(leader="n3")
        self.asked.append(list(commands))
        return Placed(7, 2)

    async def renew(self, incarnation: str, seq: int) -> None:
        self.asked.append((incarnation, seq))

    async def recall(self, execution_ids: Sequence[str], *, entry: int) -> Mapping[str, str]:
        self.asked.append(entry)
        return dict.fromkeys(execution_ids, "dropped")
