"""How far long work has come, on stderr and only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from typing import TypeVar

T = TypeVar("T")

WORTH_SHOWING = 20


def progress(items: Collection[T], what: str) -> Iterator[T]:
    """Yield the items, with a bar on stderr when there are many and somebody is looking."""
    if len(items) < WORTH_SHOWING or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description=what, console=Console(stderr=True), transient=True)
