"""Who may send, and who is considered lost. Pure: every question brings its boot time along.

A lease is a duration, never an instant. A node asks the leader once a second to say in the log that it lives; its
right lasts `LEASE_S` from the moment at which it *sent* the newest request that has come back. Everybody else counts
`LOST_S` from the moment at which they *saw* it in the log, which is later: so a node has stopped before anybody takes
its work for lost, whatever the clocks on the walls say. Every node counts, so a new leader need not begin anew.
"""

from __future__ import annotations

from collections.abc import Mapping

RENEW_S = 1.0
LEASE_S = 5.0
LOST_S = 5.2
LIVING_S = 1.6
"""Whoever was not heard of for so long is given nothing new: a node that dies holds up only what it has. A node that is
about to leave says so, with renewals whose numbers are negative."""
SENT_MAX = 64
"""Renewals that may be on their way; what comes back later than that is of no use any more."""


class OwnLease:
    """This node's right to send.

    Attributes:
        until_s: Up to when it lasts, by boot time; in the past before the first renewal has come back.
    """

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self.until_s = float("-inf")
        self._seq = 0
        self._sent: dict[int, float] = {}

    def renewing(self, now_s: float) -> int:
        """Note that a renewal is sent now; return its number."""
        self._seq += 1
        self._sent[self._seq] = now_s
        if len(self._sent) > SENT_MAX:
            del self._sent[next(iter(self._sent))]
        return self._seq

    def heard(self, alive: Mapping[str, int]) -> None:
        """Take in what an entry says of who lives."""
        sent_s = self._sent.get(abs(alive.get(self.incarnation, 0)))
        if sent_s is not None:
            self.until_s = max(self.until_s, sent_s + LEASE_S)

    def holds(self, now_s: float) -> bool:
        """Return whether this node may send."""
        return now_s < self.until_s


class Roll:
    """Who lives, as one node has it from the log.

    Args:
        since_s: Since when it listens without a gap. Of whom nothing was ever heard, nothing could be heard before.
    """

    def __init__(self, since_s: float) -> None:
        self._since_s = since_s
        self._heard: dict[str, float] = {}
        self._current: dict[str, str] = {}
        self._replaced: set[str] = set()
        self._leaving: set[str] = set()

    def heard(self, alive: Mapping[str, int], now_s: float) -> None:
        """Take in what an entry says of who lives. A node that began anew has ended its earlier life with that."""
        for incarnation, seq in alive.items():
            if seq < 0:
                self._leaving.add(incarnation)
            if incarnation in self._replaced:
                continue
            node = node_of(incarnation)
            before = self._current.get(node)
            if before is not None and before != incarnation:
                self._replaced.add(before)
                self._heard.pop(before, None)
                self._leaving.discard(before)
            self._current[node] = incarnation
            self._heard[incarnation] = now_s

    def living(self, now_s: float) -> list[str]:
        """Return the incarnations that may be given work, by name: those heard of lately."""
        lately = (one for one, at_s in self._heard.items() if now_s - at_s < LIVING_S)
        return sorted(one for one in lately if one not in self._leaving)

    def known(self) -> list[str]:
        """Return the nodes that were ever heard of, by name."""
        return sorted(self._current)

    def is_lost(self, incarnation: str, now_s: float, beyond_s: float = 0.0) -> bool:
        """Return whether it begins to send nothing any more, for sure, and has not for `beyond_s` seconds.

        An incarnation whose node has begun anew is lost at once: what it ran has ended with it.
        """
        if incarnation in self._replaced:
            return True
        current = self._current.get(node_of(incarnation))
        if current is not None and current != incarnation and incarnation not in self._heard:
            return True  # of a life before the first that was heard of
        return now_s - self._heard.get(incarnation, self._since_s) >= LOST_S + beyond_s

    def is_gone(self, node: str, now_s: float) -> bool:
        """Return whether nothing was heard of any life of a node for so long that it sends nothing any more."""
        current = self._current.get(node)
        heard_s = self._heard.get(current, self._since_s) if current is not None else self._since_s
        return now_s - heard_s >= LOST_S


def node_of(incarnation: str) -> str:
    """Return the node whose life it is."""
    return incarnation.partition("#")[0]
