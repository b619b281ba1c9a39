"""How far long work has come, on stderr and only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

T = TypeVar("T")

WORTH_SHOWING = 20
STEP_BYTES = 16 << 20


def progress(items: Collection[T], what: str) -> Iterator[T]:
    """Yield the items, with a bar on stderr when there are many and somebody is looking."""
    if len(items) < WORTH_SHOWING or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description=what, console=Console(stderr=True), transient=True)


def bytes_told(word: str) -> Callable[[int], None]:
    """Return what tells a person at a terminal how many bytes there are so far; nobody else is told."""
    if not sys.stderr.isatty():
        return lambda _: None
    told = 0

    def tell(total: int) -> None:
        nonlocal told
        if total - told >= STEP_BYTES:
            told = total
            print(f"\r{size_of(total)} {word}", end="", file=sys.stderr, flush=True)

    return tell


def size_of(count: int) -> str:
    """Return a number of bytes for people."""
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"
