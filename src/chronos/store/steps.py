"""Work in steps: what takes long is stopped now and then, so that others have their turn."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Step = Generator[None, None, T]
"""Work that comes to a T; it goes on when it is asked to."""

STEP = 300
"""Executions dealt with in one step: a millisecond or two."""


def in_one_go(steps: Step[T]) -> T:
    """Take all steps, and return what they come to."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found
