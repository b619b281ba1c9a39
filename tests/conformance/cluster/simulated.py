"""The simulated etcd, for tests that run on real engines, too."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

from chronos.testing.simulation.engine.cluster import SimEngine
from chronos.testing.simulation.engine.net import Net
from chronos.testing.simulation.loop import SimLoop

__all__ = ["SimEngine", "as_it_is_played", "three_simulated"]

NAMES = ("n1", "n2", "n3")


def three_simulated(*, without: str = "") -> SimEngine:
    """Return three members that run; the last may have been `killed` or `stopped`."""
    draw = random.Random(1)
    engine = SimEngine(NAMES, Net(draw), draw)
    for name in NAMES:
        member = engine.start(name)
    if without == "killed":
        engine.crash(NAMES[-1])
    if without == "stopped":
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        loop.stop_owner(member)
    return engine


def as_it_is_played(main: Coroutine[Any, Any, None]) -> None:
    """Run a test in virtual time."""
    loop = SimLoop(1)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main)
    assert loop.unhandled == []
