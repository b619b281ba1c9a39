"""Which nodes hold back what goes to which hosts, by their own word in the log; and who is asked instead. Pure.

What one node does not reach others may: its circuit breaker is its own. So an attempt that it holds back is handed
back, and what is to be sent goes to nodes that have not said so of that host.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

from chronos.model.execution import Attempt, AttemptStatus, Execution

HOSTS_MAX = 10_000
"""Hosts remembered; the one of which nothing was said for longest is forgotten, and costs a question more."""

Host = tuple[str, str]
"""A namespace, and a host and port: what breakers count by."""


class Elsewhere:
    """What nodes have said of hosts. Instants are microseconds since the epoch; nodes are incarnations."""

    def __init__(self) -> None:
        self._held: OrderedDict[Host, dict[str, int]] = OrderedDict()
        self._last_us = 0

    def note(self, host: Host, node: str, until_us: int, now_us: int) -> None:
        """Take in that a node sends nothing to a host up to then."""
        held = {one: until for one, until in self._held.get(host, {}).items() if until > now_us}
        held[node] = until_us
        self._last_us = max(self._last_us, until_us)
        self._held[host] = held
        self._held.move_to_end(host)
        while len(self._held) > HOSTS_MAX:
            self._held.popitem(last=False)

    def is_quiet(self, now_us: int) -> bool:
        """Return whether nobody holds anything back: nearly always, and the quickest to ask."""
        return self._last_us <= now_us

    def is_open(self, host: Host | None, now_us: int) -> bool:
        """Return whether nobody holds back what goes there."""
        held = self._held.get(host) if host is not None else None
        return not held or all(until <= now_us for until in held.values())

    def asked_us(self, host: Host, others: Iterable[str], now_us: int) -> int | None:
        """Return from when on it makes sense to ask one of these nodes; None when there are none."""
        held = self._held.get(host, {})
        return min((max(now_us, held.get(node, 0)) for node in others), default=None)

    def senders(self, host: Host | None, execution: Execution, nodes: Sequence[str], now_us: int) -> Sequence[str]:
        """Return those of `nodes`, in their order and never none, that the next attempt of an execution may go to.

        They are those that do not hold it back, and if all do, the one that does so for the shortest time; of those
        the ones that have tried it least without an answer, so that no retry goes back to where it was lost.
        """
        held = self._held.get(host) if host is not None else None
        able = nodes
        if held:
            able = [node for node in nodes if held.get(node, 0) <= now_us]
            able = able or [min(nodes, key=lambda node: held.get(node, 0))]
        if not execution.attempts:
            return able
        unanswered = Counter(one.node for one in execution.attempts if _is_unanswered(one))
        least = min(unanswered[node] for node in able)
        return [node for node in able if unanswered[node] == least]


def _is_unanswered(attempt: Attempt) -> bool:
    return attempt.status is _FAILED and attempt.status_code is None


_FAILED = AttemptStatus.FAILED  # an enum's member is looked up slowly
