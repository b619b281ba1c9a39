"""Counters and timings: emitted here, exported by features. Knows no exporter.

Sinks are called on the event loop and must return at once; with none registered an emission costs one
attribute look-up and an empty loop. A gauge that somebody can simply look up is not emitted at all: whoever
knows the number registers a source, and it is asked when somebody reads.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Protocol

GaugeSource = Callable[[], float]
"""Returns a gauge's value now. Called on the event loop; must return at once, and must not raise."""

SORTED_FROM = 16
"""Of so many values those between two bounds are counted together; of fewer, one by one is quicker."""


def count_into(counts: list[int], bounds: Sequence[float], values: Sequence[float]) -> None:
    """Add to `counts` how many of `values` fall into each bucket.

    Args:
        counts: One for each of `bounds`, for values up to it and above the one before; the last for what is above all.
        bounds: Ascending.
    """
    if len(values) < SORTED_FROM:
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        return
    ordered = sorted(values)
    place, end, above = 0, len(ordered), len(bounds)
    while place < end:
        bucket = bisect_left(bounds, ordered[place])
        upto = end if bucket == above else bisect_right(ordered, bounds[bucket], place)
        counts[bucket] += upto - place
        place = upto


class Sink(Protocol):
    """Somebody who collects."""

    def count(self, name: str, value: float, labels: dict[str, str]) -> None: ...
    def gauge(self, name: str, value: float, labels: dict[str, str]) -> None: ...
    def observe(self, name: str, values: Sequence[float], labels: dict[str, str]) -> None: ...


class Telemetry:
    """Hands every emission to every sink. Names are Prometheus names without the `chronos_` prefix."""

    def __init__(self) -> None:
        self._sinks: list[Sink] = []
        self._sources: dict[tuple[str, tuple[tuple[str, str], ...]], GaugeSource] = {}

    def add_sink(self, sink: Sink) -> None:
        self._sinks.append(sink)

    def count(self, name: str, value: float = 1.0, **labels: str) -> None:
        """Add `value` to a counter."""
        for sink in self._sinks:
            sink.count(name, value, labels)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        for sink in self._sinks:
            sink.gauge(name, value, labels)

    def gauge_from(self, name: str, source: GaugeSource, **labels: str) -> None:
        """Let `source` say a gauge's value whenever somebody reads; a second one for the same labels replaces it."""
        self._sources[name, tuple(sorted(labels.items()))] = source

    def sample(self) -> None:
        """Ask every source once and set its gauge. For whoever is about to be read."""
        for (name, labels), source in self._sources.items():
            self.gauge(name, source(), **dict(labels))

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add one measurement to a histogram; its name says the unit last."""
        self.observe_all(name, (value,), **labels)

    def observe_all(self, name: str, values: Sequence[float], **labels: str) -> None:
        """Add the measurements of a batch to a histogram: what is done thousands of times a second is told together."""
        for sink in self._sinks:
            sink.observe(name, values, labels)
