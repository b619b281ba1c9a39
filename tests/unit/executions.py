"""An execution, for tests to which most of what it says does not matter."""

from __future__ import annotations

from typing import Any

from chronos.model.execution import Execution, Kind, Status, execution_id


def an_execution(job_id: str = "J1", instant: int = 0, status: Status = Status.SUCCESS, **facts: Any) -> Execution:
    """Return the execution of a scheduled instant (seconds) under the id it would have; `facts` say what differs."""
    plain: dict[str, Any] = {
        "id": execution_id(job_id, Kind.SCHEDULE, str(instant), instant),
        "job_name": job_id,
        "namespace": "default",
        "kind": Kind.SCHEDULE,
        "discriminator": str(instant),
        "scheduled_s": instant,
        "effective_us": instant * 1_000_000,
        "revision": 1,
        "priority": 5,
        "decided_at_us": 0,
    }
    return Execution(job_id=job_id, status=status, **(plain | facts))
