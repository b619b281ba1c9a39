"""Who asks for the right to send next: pending and retrying executions by the time they may start."""

from __future__ import annotations

import heapq


class Line:
    """Execution ids by the instant (microseconds) at which to propose their start."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, execution_id: str) -> bool:
        return execution_id in self._at

    def add(self, execution_id: str, at_us: int) -> None:
        """Propose it at `at_us`; a later call moves it."""
        if self._at.get(execution_id) != at_us:
            self._at[execution_id] = at_us
            heapq.heappush(self._heap, (at_us, execution_id))

    def remove(self, execution_id: str) -> None:
        self._at.pop(execution_id, None)

    def peek(self) -> int | None:
        """Return the earliest time, or None when nobody waits."""
        while self._heap:
            at_us, key = self._heap[0]
            if self._at.get(key) == at_us:
                return at_us
            heapq.heappop(self._heap)
        return None

    def due(self, now_us: int, most: int) -> list[str]:
        """Take out and return those due at `now_us`, earliest first, at most `most`."""
        found: list[str] = []
        heap, times = self._heap, self._at
        while heap and heap[0][0] <= now_us and len(found) < most:
            at_us, key = heapq.heappop(heap)
            if times.get(key) == at_us:  # it has not been moved, or removed
                del times[key]
                found.append(key)
        return found
