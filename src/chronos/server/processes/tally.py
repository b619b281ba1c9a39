"""Counts in an API process, and tells main once a second, where Prometheus reads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from chronos.server.processes.link import Link
from chronos.server.processes.messages import Counted

EVERY_S = 1.0
VALUES_MAX = 20_000
"""Measurements kept between two reports; what comes on top is left out of the histograms, and counted all the same."""

Key = tuple[str, tuple[tuple[str, str], ...]]


class Tally:
    """A `telemetry.Sink`."""

    def __init__(self) -> None:
        self._counts: dict[Key, float] = {}
        self._observed: dict[Key, list[float]] = {}
        self._values = 0

    def count(self, name: str, value: float, labels: dict[str, str]) -> None:
        key = (name, tuple(labels.items()))
        self._counts[key] = self._counts.get(key, 0.0) + value

    def gauge(self, name: str, value: float, labels: dict[str, str]) -> None:
        """A gauge is main's to say."""

    def observe(self, name: str, values: Sequence[float], labels: dict[str, str]) -> None:
        if self._values < VALUES_MAX:
            taken = values[: VALUES_MAX - self._values]
            self._values += len(taken)
            self._observed.setdefault((name, tuple(labels.items())), []).extend(taken)

    def take(self) -> Counted | None:
        """Return what has come in since the last time, or None."""
        if not self._counts and not self._observed:
            return None
        counted = Counted(
            [(name, dict(labels), value) for (name, labels), value in self._counts.items()],
            [(name, dict(labels), values) for (name, labels), values in self._observed.items()],
        )
        self._counts, self._observed, self._values = {}, {}, 0
        return counted

    async def report(self, link: Link) -> None:
        """Tell main what was counted, once a second; until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            self.tell(link)

    def tell(self, link: Link) -> None:
        """Tell main what has come in since the last time."""
        counted = self.take()
        if counted is not None:
            link.say_counted(counted)
