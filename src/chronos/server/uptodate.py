"""Answers of a node that may be behind the others: none of them is wrong because of that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from chronos.errors import Conflict, NotFound, Unavailable

ReadBarrier = Callable[[], Awaitable[None]]
T = TypeVar("T")


async def up_to_date(ask: Callable[[], Awaitable[T]], barrier: ReadBarrier | None, *, reads: bool) -> T:
    """Return what `ask` returns, asked when this node has what was acknowledged anywhere before, if that matters.

    It does for a read. A write is decided by the log, whoever is asked; but what this node has not heard of yet it
    takes for missing or for something older, and refuses. Such a refusal is only given when it still holds with all
    that was acknowledged; nothing was changed by then, so that it can be asked again.

    Args:
        barrier: Returns when this node has what was acknowledged anywhere; None where it always does, or where nobody
            wants to wait for it.

    Raises:
        Unavailable: Nobody knows what was acknowledged: there is no quorum.
    """
    if barrier is None:
        return await ask()
    if reads:
        await barrier()
        return await ask()
    try:
        return await ask()
    except (NotFound, Conflict) as refusal:
        try:
            await barrier()
        except Unavailable:
            raise Unavailable(f"{_BEHIND} What it would answer: {refusal}") from None
        return await ask()


_BEHIND = (
    "This node would refuse the request, but may be behind the others, and they cannot be asked now. Send the request "
    "again in a second."
)
