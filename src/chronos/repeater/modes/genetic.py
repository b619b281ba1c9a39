"""`genetic`: an interval that evolves towards runs that succeed, are quick, often, and easy on the host."""

from __future__ import annotations

import math

from chronos.repeater.modes.bounds import need_inside, need_range, need_wait, shown_s
from chronos.repeater.modes.evolution import Population
from chronos.repeater.port import LoadSource, Moment, Run
from chronos.timing.clock import Dice

RANGE = 10.0
OFTEN, QUICK, EASY = 0.5, 0.3, 0.2  # what a success can earn; together 1


def fitness(*, ok: bool, interval_s: float, took_s: float, cpu: float, min_s: float, max_s: float) -> float:
    """Return what one run is worth, from 0 to 1; nothing when it failed.

    Args:
        interval_s: How long was waited before it, from `min_s` to `max_s`.
        cpu: The share of the host's CPU that was in use since the run before, from 0 to 1.
    """
    if not ok:
        return 0.0
    often = 1 - gene_of(interval_s, min_s, max_s)
    return OFTEN * often + QUICK * interval_s / (interval_s + took_s) + EASY * (1 - cpu)


def gene_of(interval_s: float, min_s: float, max_s: float) -> float:
    """Return where an interval lies between the shortest (0) and the longest (1), by its logarithm."""
    return math.log(interval_s / min_s) / math.log(max_s / min_s)


def interval_of(gene: float, min_s: float, max_s: float) -> float:
    """Return the interval at `gene`; the inverse of `gene_of`."""
    return min(max_s, max(min_s, min_s * math.exp(gene * math.log(max_s / min_s))))


class Genetic:
    """Run 1 at once; each next one after an interval that is on trial, from the end of the one before."""

    def __init__(
        self,
        base_s: float,
        dice: Dice,
        *,
        min_s: float | None = None,
        max_s: float | None = None,
        source: LoadSource | None = None,
        immediate: bool = True,
    ) -> None:
        """Take the interval to begin with.

        Args:
            min_s, max_s: A tenth and ten times `base_s` unless said otherwise.
            source: Where the load is read, once a run; without one the host counts as idle.
            immediate: Whether run 1 is at once; otherwise it is one base interval later.

        Raises:
            ModeInvalid: The bounds do not ascend, or `base_s` is outside of them.
        """
        self._base_s = need_wait("base-interval", base_s)
        self._min_s = base_s / RANGE if min_s is None else min_s
        self._max_s = base_s * RANGE if max_s is None else max_s
        need_range(self._min_s, self._max_s)
        need_inside("base-interval", base_s, self._min_s, self._max_s)
        self._source = source
        self._immediate = immediate
        self._population = Population(dice, gene_of(base_s, self._min_s, self._max_s))
        self._before: Run | None = None

    @property
    def interval_s(self) -> float:
        """The interval on trial."""
        return interval_of(self._population.gene, self._min_s, self._max_s)

    @property
    def best_s(self) -> float:
        """The interval that is thought best by now."""
        return interval_of(self._population.best, self._min_s, self._max_s)

    def first_s(self, now: Moment) -> float:
        self._cpu()
        return now.monotonic_s if self._immediate else now.monotonic_s + self._base_s

    def next_s(self, last: Run, now: Moment) -> float | None:
        cpu = self._cpu()
        # Nothing was waited for before the first run, so it says nothing about an interval.
        if self._before:
            self._learn(last.started_s - self._before.ended_s, last, cpu)
        self._before = last
        return max(now.monotonic_s, last.ended_s + self.interval_s)

    def describe(self) -> str:
        low, high = shown_s(self._min_s), shown_s(self._max_s)
        return f"evolves between {low} and {high} for runs that succeed, are quick, often, and easy on the host"

    def _learn(self, waited_s: float, run: Run, cpu: float) -> None:
        """Take note of a run, as one after the wait there really was: something else may have moved its start."""
        interval_s = min(self._max_s, max(self._min_s, waited_s))
        worth = fitness(
            ok=run.ok,
            interval_s=interval_s,
            took_s=max(0.0, run.ended_s - run.started_s),
            cpu=cpu,
            min_s=self._min_s,
            max_s=self._max_s,
        )
        self._population.tried(gene_of(interval_s, self._min_s, self._max_s), worth)

    def _cpu(self) -> float:
        percent = self._source.read().cpu_percent if self._source else None
        return 0.0 if percent is None else min(1.0, percent / 100)
