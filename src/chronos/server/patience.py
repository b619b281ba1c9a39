"""How long an answer may take."""

from __future__ import annotations

import asyncio

from chronos.errors import Overloaded
from chronos.plugin import Call, Endpoint, Reply

READ_S_MAX = 20.0
"""Less than clients wait, so that they are told why."""

RETRY_AFTER_S = 5


async def answered(endpoint: Endpoint, call: Call) -> Reply:
    """Return what the handler of `endpoint` answers.

    A read is given up after `READ_S_MAX`, whatever it waits for. A write is not: it waits in the log's queue, which is
    bounded, and who broke it off could not say whether it was done.

    Raises:
        Overloaded: A read took too long.
    """
    if endpoint.method != "GET":
        return await endpoint.handler(call)
    bound = asyncio.timeout(READ_S_MAX)
    try:
        async with bound:
            return await endpoint.handler(call)
    except TimeoutError:
        if not bound.expired():
            raise
        raise Overloaded(
            f"This could not be read within {READ_S_MAX:g} s: the server has too much to do. Ask again later, or for "
            "less: for one job, or with `since` and `until` closer together.",
            retry_after=RETRY_AFTER_S,
        ) from None
