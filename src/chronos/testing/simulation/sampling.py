"""How full the queues of a node are, looked at from outside."""

from __future__ import annotations

from chronos.testing.simulation.evidence import Sample
from chronos.testing.simulation.node import SimLife


def sample_of(life: SimLife) -> Sample:
    """Return how a node stands at this moment."""
    node = life.node
    assert node is not None
    scheduler = node.drive.scheduler
    return Sample(
        at=life.sim.world.seconds,
        waiting_commands=node.truth.commands.waiting,
        held=node.drive.executor.in_flight(),
        line=len(scheduler.line),
        open=len(node.truth.queries.open_executions()),
        hwm_s=scheduler.shard.hwm_s,
        clock=node.house.clock.time(),
        wall=life.sim.clock.time(),
    )
