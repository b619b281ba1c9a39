"""The jobs a cluster has while things go wrong: about thirty executions a second, most of which have to arrive."""

from __future__ import annotations

from typing import Any, NamedTuple

RETRY = {"max_attempts": 6, "initial_interval": "100ms", "max_interval": "300ms"}
ALL = {"missed_run_policy": "execute_all", "max_catchup": 1_000, "max_concurrent": 200, "concurrency": "allow"}


class Group(NamedTuple):
    """Jobs of one kind.

    Attributes:
        every_s: They are due whenever the seconds since the epoch can be divided by this.
        delay_ms: How long the target takes, least and most.
        first: What the target says to an execution's first attempt.
        every_instant: Whether each instant has to arrive; if not, it may be skipped because another one runs.
        alone: Whether two runs of a job may never overlap.
    """

    name: str
    jobs: int
    every_s: int
    delay_ms: tuple[int, int]
    settings: dict[str, Any]
    first: int = 200
    every_instant: bool = True
    alone: bool = False


GROUPS = (
    Group("each", 20, 1, (5, 60), ALL),
    Group("even", 6, 2, (5, 60), ALL),
    Group("retry", 4, 1, (5, 40), ALL, first=503),
    Group("forbid", 4, 1, (200, 1_700), {"concurrency": "forbid"}, every_instant=False, alone=True),
)


def jobs(target: str) -> list[dict[str, Any]]:
    """Return the jobs, as the API takes them, for a target at `HOST:PORT`."""
    return [job(group, number, target) for group in GROUPS for number in range(group.jobs)]


def job(group: Group, number: int, target: str) -> dict[str, Any]:
    """Return one job of a group."""
    name = f"{group.name}-{number:02d}"
    least, most = group.delay_ms
    return {
        "name": name,
        "schedule": f"*/{group.every_s} * * * * *" if group.every_s > 1 else "* * * * * *",
        "webhook": {"url": f"http://{target}/{name}?delay={least}-{most}&first={group.first}"},
        "retry_policy": RETRY,
        "timeout": "4s",
        **group.settings,
    }


def group_of(job_name: str) -> Group:
    """Return the group that a job belongs to."""
    return next(group for group in GROUPS if group.name == job_name.rpartition("-")[0])
