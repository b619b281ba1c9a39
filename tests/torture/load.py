"""The jobs under which servers die: more than 200 executions a second, retries, and every overlap policy."""

from __future__ import annotations

from typing import Any, NamedTuple


class Group(NamedTuple):
    """Jobs of one kind.

    Attributes:
        delay_ms: How long the target takes, least and most.
        first: What the target says to an execution's first attempt.
        every_instant: Whether each instant that was due has to arrive.
        alone: Whether two runs of a job may never overlap.
    """

    name: str
    jobs: int
    delay_ms: tuple[int, int]
    settings: dict[str, Any]
    first: int = 200
    every_instant: bool = False
    alone: bool = False


RETRY = {"max_attempts": 6, "initial_interval": "100ms", "max_interval": "300ms"}
ALL = {"missed_run_policy": "execute_all", "max_catchup": 1_000, "max_concurrent": 200, "concurrency": "allow"}

GROUPS = (
    Group("allow", 90, (5, 60), {**ALL, "retry_policy": RETRY}, every_instant=True),
    Group("spread", 80, (5, 60), {**ALL, "retry_policy": RETRY, "jitter": "900ms"}, every_instant=True),
    Group("retry", 20, (5, 40), {**ALL, "retry_policy": RETRY}, first=503, every_instant=True),
    Group("forbid", 6, (200, 1_700), {"concurrency": "forbid", "retry_policy": RETRY}, alone=True),
    Group("queue", 6, (200, 1_100), {"concurrency": "queue", "queue_limit": 3, "retry_policy": RETRY}, alone=True),
    Group("replace", 6, (200, 1_700), {"concurrency": "replace", "retry_policy": RETRY}, alone=True),
)


def jobs(port: int) -> list[dict[str, Any]]:
    """Return the jobs, as the API takes them, for a target on `port`."""
    return [
        {
            "name": f"{group.name}-{number:02d}",
            "schedule": "* * * * * *",
            "webhook": {"url": _url(port, group, number)},
            **group.settings,
        }
        for group in GROUPS
        for number in range(group.jobs)
    ]


def _url(port: int, group: Group, number: int) -> str:
    least, most = group.delay_ms
    return f"http://127.0.0.1:{port}/{group.name}-{number:02d}?delay={least}-{most}&first={group.first}"


def group_of(job_name: str) -> Group:
    """Return the group that a job belongs to."""
    return next(group for group in GROUPS if group.name == job_name.rpartition("-")[0])
