"""A telemetry sink that keeps what it is told."""

from __future__ import annotations

from collections.abc import Sequence


class Kept:
    """Every emission, in order, as (name, value, labels)."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float, dict[str, str]]] = []

    def count(self, name: str, value: float, labels: dict[str, str]) -> None:
        self.seen.append((name, value, labels))

    gauge = count

    def observe(self, name: str, values: Sequence[float], labels: dict[str, str]) -> None:
        self.seen += [(name, value, labels) for value in values]

    def of(self, name: str) -> list[float]:
        """Return the values of one name, in order."""
        return [value for seen, value, _ in self.seen if seen == name]
