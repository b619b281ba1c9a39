"""Which event loop the server's processes run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

GC_THRESHOLDS = (10_000, 50, 100)
"""What an execution leaves behind has no cycles. Looking for some every 700 objects takes a third of the CPU, and
looking through 50,000 at a time takes 20 ms in which nothing leaves."""


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the fast loop; None, which is asyncio's own, where there is none."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
