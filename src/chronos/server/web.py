"""The application: a gate, and behind it the endpoints and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chronos.plugin import Endpoint
from chronos.server.answering import Answering
from chronos.server.gate import Asgi, Authenticate, Gate, host_of
from chronos.server.routing import BODY_BYTES_MAX, Routes
from chronos.server.uptodate import ReadBarrier
from chronos.telemetry import Telemetry
from chronos.timing.clock import Chance, Clock


def build(
    endpoints: Sequence[Endpoint],
    *,
    authenticate: Authenticate,
    allowed_hosts: Sequence[str],
    address: str,
    clock: Clock,
    chance: Chance,
    telemetry: Telemetry,
    is_draining: Callable[[], bool] = lambda: False,
    applied: Callable[[], int] = lambda: 0,
    barrier: ReadBarrier | None = None,
    body_bytes_max: int = BODY_BYTES_MAX,
) -> Asgi:
    """Return the application that serves `endpoints` and nothing else.

    Args:
        applied: The index of the last log entry this node has taken in; every answer to a read says it.
    """
    routes = Routes(endpoints)
    return Gate(
        Answering(routes, applied=applied, barrier=barrier, body_bytes_max=body_bytes_max),
        authenticate=authenticate,
        is_public=routes.is_public,
        allowed_methods=routes.methods,
        content_type=routes.content_type,
        hosts=frozenset(name.lower() for name in (*allowed_hosts, host_of(address)) if name),
        clock=clock,
        chance=chance,
        telemetry=telemetry,
        is_draining=is_draining,
    )
