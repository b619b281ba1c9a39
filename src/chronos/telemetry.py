"""Counters and timings: emitted here, exported by features. Knows no exporter.

Sinks are called on the event loop and must return at once; with none registered an emission costs one
attribute look-up and an empty loop.
"""

from __future__ import annotations

from typing import Protocol


class Sink(Protocol):
    """Somebody who collects."""

    def count(self, name: str, value: float, labels: dict[str, str]) -> None: ...
    def gauge(self, name: str, value: float, labels: dict[str, str]) -> None: ...
    def observe(self, name: str, value: float, labels: dict[str, str]) -> None: ...


class Telemetry:
    """Hands every emission to every sink. Names are Prometheus names without the `chronos_` prefix."""

    def __init__(self) -> None:
        self._sinks: list[Sink] = []

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

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Add one measurement, in seconds, to a histogram."""
        for sink in self._sinks:
            sink.observe(name, seconds, labels)
