"""The jobs under which servers die: more than 200 executions a second, retries, long jobs, every overlap policy."""

from __future__ import annotations

from typing import Any, NamedTuple


class Group(NamedTuple):
    """Jobs of one kind.

    Attributes:
        delay_ms: How long the target takes, least and most.
        first: What the target says to an execution's first attempt.
        every_instant: Whether each instant that was due has to arrive.
        alone: Whether two runs of a job may never overlap.
        report_ms: When the target reports the result, after it has answered 202; never for other jobs.
    """

    name: str
    jobs: int
    delay_ms: tuple[int, int]
    settings: dict[str, Any]
    first: int = 200
    every_instant: bool = False
    alone: bool = False
    report_ms: tuple[int, int] | None = None


HEARTBEAT_S = 3
RETRY = {"max_attempts": 6, "initial_interval": "100ms", "max_interval": "300ms"}
ALL = {"missed_run_policy": "execute_all", "max_catchup": 1_000, "max_concurrent": 200, "concurrency": "allow"}

GROUPS = (
    Group("allow", 80, (5, 60), {**ALL, "retry_policy": RETRY}, every_instant=True),
    Group("spread", 80, (5, 60), {**ALL, "retry_policy": RETRY, "jitter": "900ms"}, every_instant=True),
    Group("retry", 20, (5, 40), {**ALL, "retry_policy": RETRY}, first=503, every_instant=True),
    Group("forbid", 6, (200, 1_700), {"concurrency": "forbid", "retry_policy": RETRY}, alone=True),
    Group("long", 12, (5, 40), {**ALL, "retry_policy": RETRY}, every_instant=True, report_ms=(100, 1_800)),
    Group("hold", 6, (5, 40), {"concurrency": "forbid", "retry_policy": RETRY}, alone=True, report_ms=(100, 1_800)),
    Group("queue", 6, (200, 1_100), {"concurrency": "queue", "queue_limit": 3, "retry_policy": RETRY}, alone=True),
    Group("replace", 6, (200, 1_700), {"concurrency": "replace", "retry_policy": RETRY}, alone=True),
)


LONG = {"completion": "callback", "deadline": "60s", "heartbeat": f"{HEARTBEAT_S}s"}


def jobs(port: int) -> list[dict[str, Any]]:
    """Return the jobs, as the API takes them, for a target on `port`."""
    return [
        {
            "name": f"{group.name}-{number:02d}",
            "schedule": "* * * * * *",
            "webhook": {"url": _url(port, group, number), **(LONG if group.report_ms else {})},
            **group.settings,
        }
        for group in GROUPS
        for number in range(group.jobs)
    ]


def _url(port: int, group: Group, number: int) -> str:
    least, most = group.delay_ms
    url = f"http://127.0.0.1:{port}/{group.name}-{number:02d}?delay={least}-{most}&first={group.first}"
    return url + ("&report={}-{}".format(*group.report_ms) if group.report_ms else "")


def group_of(job_name: str) -> Group:
    """Return the group that a job belongs to."""
    return next(group for group in GROUPS if group.name == job_name.rpartition("-")[0])
