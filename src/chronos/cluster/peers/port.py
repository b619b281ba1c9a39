"""How the nodes of a cluster talk to one another, apart from the log. Bytes and ids only, as everywhere in this room.

One protocol for both ends: `Peers.at(node)` is the far end, and each node hands its own `Peer` to the transport that
listens for the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class Placed(NamedTuple):
    """Where forwarded commands stand in the log.

    Attributes:
        entry: The index of their entry.
        place: How many commands of that entry stand before them.
    """

    entry: int
    place: int


class Peer(Protocol):
    """One node, as the others see it.

    Everything may raise `Unavailable`: the far end cannot be reached, or did not answer in time. For `forward` that
    means that nobody can say whether it was done. An error of Chronos' own that the far end raises arrives as itself,
    by its slug, with message and facts. The deadline is the caller's: it cancels.
    """

    async def forward(self, commands: Sequence[bytes]) -> Placed:
        """Have commands written together, in one entry; return where they stand once they are durable.

        Whoever forwards folds that entry himself, and has the verdicts from there.

        Args:
            commands: Encoded one by one; a mebibyte together at most.

        Raises:
            NotLeader: That node does not lead; nothing was written.
            Overloaded: Too much waits there; nothing was written.
            StorageFull: There is no room; nothing was written.
            Draining: That node is about to leave; nothing was written.
            Invalid: The commands cannot be read, or are too big; nothing was written.
        """
        ...

    async def renew(self, incarnation: str, seq: int) -> None:
        """Ask the leader to say in the log that `incarnation` lives; returns when it will.

        Args:
            seq: Counts up with each renewal, so that the asker knows which one came back; negative (-7 after -6) once
                the asker is about to leave, and takes nothing new.

        Raises:
            NotLeader: That node does not lead.
        """
        ...

    async def recall(self, execution_ids: Sequence[str], *, entry: int) -> Mapping[str, str]:
        """Take back attempts that wait on that node, once it has folded up to `entry`.

        What was dropped that node has written itself, so nothing is lost with the answer.

        Returns:
            For each id `dropped` (no byte left, and none will), `sent`, or `unknown` (it never had it).
        """
        ...


class Peers(Protocol):
    """The other nodes, by their names."""

    def at(self, node: str) -> Peer:
        """Return the far end `node`. Nothing is connected before it is asked something; an unknown one is not there."""
        ...

    def refused_s(self, node: str) -> float:
        """Return for how many seconds the host of `node` has said, without a break, that nobody listens there.

        That is what a host says whose process has ended. Silence is something else: it says nothing of the process.
        0 when nothing of the kind is known.
        """
        ...
