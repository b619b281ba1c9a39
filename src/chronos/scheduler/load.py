"""How much comes due in the next minute, second by second: looked up in the index of next runs, in bounded steps."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from chronos.scheduler.book import Book

LOOKED_AT = 20_000
"""Jobs whose first instant is looked up, at most; of more than these a share stands for all."""

PLANNED = 200
"""Jobs whose further instants are worked out, at most; they stand for the others."""

AT_ONCE = 10
"""So many are worked out before others have their turn: at most a millisecond."""


class Load(NamedTuple):
    """Instants that come due in each second from `from_s` on, before jitter.

    Attributes:
        estimated: Whether a part of the jobs was taken to stand for the others.
    """

    from_s: int
    by_second: list[int]
    estimated: bool


async def load_ahead(book: Book, from_s: int, seconds: int = 60) -> Load:
    """Return what comes due in the `seconds` from `from_s` on."""
    due, each = book.within(from_s + seconds - 1, LOOKED_AT)
    counts = [0.0] * seconds
    for instant, _ in due:
        if instant >= from_s:
            counts[instant - from_s] += each
    step = -(-len(due) // PLANNED) or 1
    for number, (instant, job_id) in enumerate(due[::step]):
        if number % AT_ONCE == AT_ONCE - 1:
            await asyncio.sleep(0)
        plan = book.get(job_id)
        following = plan.next_s(max(instant, from_s - 1)) if plan is not None else None
        while plan is not None and following is not None and following < from_s + seconds:
            counts[following - from_s] += each * step
            following = plan.next_s(following)
    return Load(from_s, [round(count) for count in counts], estimated=each > 1 or step > 1)
