"""`chaos`: waits as irregular as the world's, drawn from a distribution that is known, and repeated by a seed."""

from __future__ import annotations

from typing import NamedTuple

from chronos.repeater.modes.bounds import need_inside, need_number, need_range, need_wait, shown_s
from chronos.repeater.port import Moment, Run
from chronos.timing.clock import Dice

INTENSITY_DEFAULT = 0.3
SHORTEST_SHARE = 0.1
LONGEST_SHARE = 5.0


class Chances(NamedTuple):
    """The distribution of a wait: steady, a rush or a lull, each uniform over a stretch of its own.

    Attributes:
        intensity: The probability of a rush and a lull together, half of it each; and how far a steady wait may be
            from the base interval, as a share of it.
    """

    base_s: float
    min_s: float
    max_s: float
    intensity: float

    @property
    def steady_s(self) -> tuple[float, float]:
        """From where to where a steady wait may be."""
        low, high = self.base_s * (1 - self.intensity), self.base_s * (1 + self.intensity)
        return max(self.min_s, low), min(self.max_s, high)


def wait_s(kind: float, place: float, chances: Chances) -> float:
    """Return a wait between the shortest and the longest.

    Args:
        kind: Uniform in [0, 1): below half the intensity it is a rush, below the intensity a lull, else steady.
        place: Uniform in [0, 1): where in the stretch. A rush lies in [min, base), a lull in [base, max).
    """
    if kind < chances.intensity / 2:
        low, high = chances.min_s, chances.base_s
    elif kind < chances.intensity:
        low, high = chances.base_s, chances.max_s
    else:
        low, high = chances.steady_s
    return min(chances.max_s, low + place * (high - low))


class Chaos:
    """Run 1 at once; each next one after a wait that is drawn, from the end of the one before."""

    def __init__(
        self,
        base_s: float,
        dice: Dice,
        *,
        intensity: float = INTENSITY_DEFAULT,
        min_s: float | None = None,
        max_s: float | None = None,
        immediate: bool = True,
    ) -> None:
        """Take the interval around which it goes.

        Args:
            intensity: From 0, an interval, to 1, only rushes and lulls.
            min_s, max_s: A tenth and five times `base_s` unless said otherwise.
            immediate: Whether run 1 is at once; otherwise it is one base interval later.

        Raises:
            ModeInvalid: The bounds do not ascend, `base_s` is outside of them, or the intensity not from 0 to 1.
        """
        need_wait("base-interval", base_s)
        min_s = base_s * SHORTEST_SHARE if min_s is None else min_s
        max_s = base_s * LONGEST_SHARE if max_s is None else max_s
        need_range(min_s, max_s)
        need_inside("base-interval", base_s, min_s, max_s)
        self.chances = Chances(base_s, min_s, max_s, need_number("intensity", intensity, least=0, most=1))
        self._dice = dice
        self._immediate = immediate

    def first_s(self, now: Moment) -> float:
        return now.monotonic_s if self._immediate else now.monotonic_s + self.chances.base_s

    def next_s(self, last: Run, now: Moment) -> float | None:
        return max(now.monotonic_s, last.ended_s + wait_s(self._dice.random(), self._dice.random(), self.chances))

    def describe(self) -> str:
        base_s, min_s, max_s, intensity = self.chances
        return (
            f"around {shown_s(base_s)}, ± {intensity:.0%}; {intensity:.0%} of the waits anything from "
            f"{shown_s(min_s)} to {shown_s(max_s)}"
        )
