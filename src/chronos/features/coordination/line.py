"""Who is next. Pure: it is told what time it is, on the clock that runs on while the machine sleeps."""

from __future__ import annotations

from dataclasses import dataclass

AGAIN_MS = 100
AGAIN_MS_MAX = 2_000
SILENT_S = 6.0
"""Who has not asked for so long has left the line; three times what the last in it is told to wait."""


@dataclass
class _Waiting:
    request: str
    priority: int
    number: int
    seen_s: float


class Line:
    """The nodes that wait for one resource, each with one request."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}
        self._number = 0

    def join(self, node: str, request: str, priority: int, now_s: float) -> int:
        """Return the node's place, from 1. With the same request it keeps it."""
        self._drop_silent(now_s)
        known = self._waiting.get(node)
        if known is None or known.request != request:
            self._number += 1
            known = self._waiting[node] = _Waiting(request, priority, self._number, now_s)
        known.priority, known.seen_s = priority, now_s
        return self.nodes(now_s).index(node) + 1

    def leave(self, node: str) -> None:
        """Forget the node. One that does not wait is no error."""
        self._waiting.pop(node, None)

    def nodes(self, now_s: float) -> list[str]:
        """Return who waits, first in line first."""
        self._drop_silent(now_s)
        return sorted(self._waiting, key=lambda node: (-self._waiting[node].priority, self._waiting[node].number))

    def _drop_silent(self, now_s: float) -> None:
        for node in [node for node, one in self._waiting.items() if now_s - one.seen_s > SILENT_S]:
            del self._waiting[node]


def ask_again_ms(place: int, ends_in_ms: int) -> int:
    """Return after how long to ask again: who is further back asks less often, and nobody after the lease's end."""
    patience = min(AGAIN_MS * place, AGAIN_MS_MAX)
    return max(1, min(patience, ends_in_ms)) if ends_in_ms else patience
