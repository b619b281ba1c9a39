"""A small genetic algorithm for one number between 0 and 1 whose worth is only seen through noise."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from chronos.timing.clock import Dice

POPULATION = 8
ELITE = 2
TRIALS_MAX = 512
TOURNAMENT = 3
STRETCH = 0.25  # how far beyond its parents a child may lie, as a share of their distance
MUTATION_FIRST = 0.15
MUTATION_LAST = 0.02
MUTATION_DECAY = 0.95
NEIGHBOURS_MIN = 16
NEIGHBOURS_SHARE = 0.12


class Trial(NamedTuple):
    """What one gene was worth once."""

    gene: float
    worth: float


class Population:
    """Genes that take turns; when each had its own, the next generation takes their place.

    One trial says little, so a gene is worth what the trials nearest to it were worth. Remembered are the last 512.
    """

    def __init__(self, dice: Dice, first: float) -> None:
        """Begin with `first`, and with genes spread over the rest."""
        self._dice = dice
        spread = [(place + dice.random()) / (POPULATION - 1) for place in range(POPULATION - 1)]
        self._genes = [first, *spread]
        self._turn = 0
        self._mutation = MUTATION_FIRST
        self._trials: deque[Trial] = deque(maxlen=TRIALS_MAX)

    @property
    def gene(self) -> float:
        """The gene whose turn it is."""
        return self._genes[self._turn]

    @property
    def best(self) -> float:
        """The mean of the better genes: nearer to the optimum than any of them alone."""
        better = self._ranked()[: max(ELITE, POPULATION // 3)]
        return sum(better) / len(better)

    def tried(self, gene: float, worth: float) -> None:
        """Take note of what a gene was worth, the one whose turn it was or thereabouts, and go on to the next."""
        self._trials.append(Trial(gene, worth))
        self._turn += 1
        if self._turn == POPULATION:
            self._genes = self._next_generation()
            self._turn = 0

    def _ranked(self) -> list[float]:
        """Return the genes, the best first."""
        trials = sorted(self._trials)
        return sorted(self._genes, key=lambda gene: (-estimated(gene, trials), gene))

    def _next_generation(self) -> list[float]:
        """Return the best genes as they are, one drawn from anywhere, lest a change go unseen, and children."""
        ranked = self._ranked()
        following = [*ranked[:ELITE], self._dice.random()]
        while len(following) < POPULATION:
            following.append(self._child(ranked))
        self._mutation = max(MUTATION_LAST, self._mutation * MUTATION_DECAY)
        return following

    def _child(self, ranked: Sequence[float]) -> float:
        one, other = self._parent(ranked), self._parent(ranked)
        share = self._dice.random() * (1 + 2 * STRETCH) - STRETCH
        return min(1.0, max(0.0, one + (other - one) * share + self._dice.gauss(0, self._mutation)))

    def _parent(self, ranked: Sequence[float]) -> float:
        """Return the best of a few that are drawn."""
        return ranked[min(int(self._dice.random() * POPULATION) for _ in range(TOURNAMENT))]


def estimated(gene: float, trials: Sequence[Trial]) -> float:
    """Return the mean worth of the trials nearest to `gene`, the nearer the weightier; 0 without trials.

    Args:
        trials: Ascending.

    Source:
        Cleveland, "Robust Locally Weighted Regression", JASA 74 (1979): tricube weights over nearest neighbours.
    """
    if not trials:
        return 0.0
    low = high = bisect_left(trials, (gene,))
    count = min(len(trials), NEIGHBOURS_MIN + int(NEIGHBOURS_SHARE * len(trials)))
    while high - low < count:
        is_left_nearer = low > 0 and (high == len(trials) or gene - trials[low - 1].gene <= trials[high].gene - gene)
        low, high = (low - 1, high) if is_left_nearer else (low, high + 1)
    near = trials[low:high]
    reach = 1.001 * max(abs(near[0].gene - gene), abs(near[-1].gene - gene), 1e-9)
    weights = [(1 - (abs(trial.gene - gene) / reach) ** 3) ** 3 for trial in near]
    return sum(weight * trial.worth for weight, trial in zip(weights, near, strict=True)) / sum(weights)
