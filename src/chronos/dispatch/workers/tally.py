"""What a worker counts and measures, kept until the next frame takes it to main, where it is exported."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from chronos.telemetry import Telemetry

OBSERVED_MAX = 100_000
"""Measurements kept at most; frames leave twice a second at least, so that more means that nobody takes them."""

SERIES_MAX = 1_000

Labels = dict[str, str]


class Tally(Struct, frozen=True, array_like=True):
    """Counters' growth, and measurements in seconds."""

    counted: list[tuple[str, Labels, float]] = field(default_factory=list)
    observed: list[tuple[str, Labels, list[float]]] = field(default_factory=list)

    def tell(self, telemetry: Telemetry) -> None:
        """Emit all of it, as if it had happened here."""
        for name, labels, value in self.counted:
            telemetry.count(name, value, **labels)
        for name, labels, values in self.observed:
            telemetry.observe_all(name, values, **labels)


NOTHING = Tally()
_Key = tuple[str, tuple[tuple[str, str], ...]]


class TallySink:
    """A `telemetry.Sink` that keeps. Gauges are main's own: what a worker says of them is dropped."""

    def __init__(self) -> None:
        self._counted: dict[_Key, float] = {}
        self._observed: dict[_Key, list[float]] = {}
        self._room = OBSERVED_MAX

    def count(self, name: str, value: float, labels: Labels) -> None:
        key = _key(name, labels)
        if key in self._counted or len(self._counted) < SERIES_MAX:
            self._counted[key] = self._counted.get(key, 0.0) + value

    def gauge(self, name: str, value: float, labels: Labels) -> None:
        """Gauges are asked for where they are exported."""

    def observe(self, name: str, values: Sequence[float], labels: Labels) -> None:
        if self._room > 0:
            taken = values[: self._room]
            self._room -= len(taken)
            self._observed.setdefault(_key(name, labels), []).extend(taken)

    def take(self) -> Tally:
        """Return what came together since the last time."""
        if not self._counted and not self._observed:
            return NOTHING
        tally = Tally(
            [(name, dict(labels), value) for (name, labels), value in self._counted.items()],
            [(name, dict(labels), values) for (name, labels), values in self._observed.items()],
        )
        self._counted, self._observed, self._room = {}, {}, OBSERVED_MAX
        return tally


def _key(name: str, labels: Labels) -> _Key:
    return name, tuple(sorted(labels.items())) if labels else ()
