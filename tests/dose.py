"""How much of a costly test is done: a sample in `make test`, all of it in `make proof`, which CI runs too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

PROOF = os.environ.get("CHRONOS_PROOF") == "1"


def dose(everything: Sequence[T], sample: int) -> list[T]:
    """Return all of it for the proof, or else `sample` of it (at least one, at most all), spread evenly."""
    if PROOF or sample >= len(everything):
        return list(everything)
    return [everything[n * len(everything) // sample] for n in range(sample)]
