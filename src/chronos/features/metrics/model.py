"""Every metric by name: what emits it, what it is, and how finely it is measured."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

DYNAMIC_NAMES_MAX = 200
"""How many names outside the table are taken in; what comes after is dropped with a warning."""

SERIES_MAX = 2_000
"""How many label combinations one metric keeps (a job's series are bounded by `max_jobs` instead)."""

OTHER = "other"
"""The label value that stands for everything above a bound."""


class Prometheus(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the metrics are served.

    Attributes:
        public: Whether anybody may read them; otherwise the caller needs `metrics:read`. Where authentication
            is off, everybody has it.
    """

    enabled: bool = True
    path: Annotated[str, Meta(pattern=r"^/[A-Za-z0-9._/-]{1,200}$")] = "/metrics"
    public: bool = False


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is measured.

    Attributes:
        max_jobs: How many jobs get series of their own; the others share `job_id="other"`.
    """

    prometheus: Prometheus = Prometheus()
    max_jobs: Annotated[int, Meta(ge=0, le=100_000)] = 1_000


class MetricKind(StrEnum):
    """How a number behaves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(Struct, frozen=True):
    """One metric.

    Attributes:
        name: Without the `chronos_` prefix; counters end in `_total`.
        buckets: Upper bounds, ascending; for histograms only.
    """

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def doubling(first: float, count: int) -> tuple[float, ...]:
    """Return `count` bounds, each twice the one before."""
    return tuple(first * 2**k for k in range(count))


WEB = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# What one file system call takes, up to what a disk in trouble does.
QUICK = doubling(0.0001, 15)
# From a target beside the server to one that uses up its timeout.
ANSWER = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0, 50_000.0)
# Fine around the promises: 5 ms, 100 ms and 1 s.
LATENESS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)

EXECUTIONS = Metric(
    "executions_total",
    MetricKind.COUNTER,
    "Executions that came to their end.",
    ("job_id", "job_name", "status"),
)
DURATION = Metric(
    "execution_duration_seconds",
    MetricKind.HISTOGRAM,
    "From the first attempt's start to the end, waits between attempts included.",
    ("job_id", "job_name"),
    doubling(0.1, 15),
)
ATTEMPTS = Metric(
    "execution_attempts",
    MetricKind.HISTOGRAM,
    "Attempts an execution took.",
    buckets=(1, 2, 3, 4, 5, 7, 10, 20, 50, 100),
)

BY_EVENTS: tuple[Metric, ...] = (EXECUTIONS, DURATION, ATTEMPTS)
"""Taken from what the fold says, on the leader."""

LAST_SUCCESS = Metric(
    "job_last_success_age_seconds",
    MetricKind.GAUGE,
    "Since a run of the job last ended well; since it was made, if none has.",
    ("job_id", "job_name"),
)
OVERDUE = Metric(
    "job_success_overdue_seconds",
    MetricKind.GAUGE,
    "Since the first instant that came due after the job's last success; 0 while none has.",
    ("job_id", "job_name"),
)
BY_JOB: tuple[Metric, ...] = (LAST_SUCCESS, OVERDUE)
"""Looked up when the page is read, for jobs that are not paused."""

_C, _G, _H = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM

BY_TELEMETRY: tuple[Metric, ...] = (
    Metric("scheduled_runs_total", _C, "Due instants decided to run."),
    Metric("missed_runs_total", _C, "Due instants that nobody could run in time."),
    Metric("http_requests_total", _C, "API requests answered.", ("method", "path", "status")),
    Metric("callbacks_total", _C, "Reports of targets on long jobs.", ("outcome",)),
    Metric("events_dropped_total", _C, "Events that found a feature's queue full."),
    Metric("notifications_total", _C, "Notices by what became of them.", ("channel", "event", "outcome")),
    Metric("heartbeats_total", _C, "Pings of the heartbeat, by what became of them.", ("outcome",)),
    Metric("api_process_restarts_total", _C, "API processes that were replaced.", ("process",)),
    Metric("worker_restarts_total", _C, "Worker processes that were replaced.", ("worker",)),
    Metric("scheduler_tick_duration_seconds", _H, "One turn of the scheduling loop.", buckets=doubling(0.0001, 15)),
    Metric("http_request_duration_seconds", _H, "Answering an API request.", ("method", "path"), WEB),
    Metric("start_lateness_seconds", _H, "From the due instant to the first byte.", buckets=LATENESS),
    Metric("decision_lateness_seconds", _H, "From the due instant to its decision's entry.", buckets=LATENESS),
    Metric("start_grant_seconds", _H, "From an execution's decision to the right to start.", buckets=LATENESS),
    Metric("attempt_answer_seconds", _H, "From an attempt's start to its answer.", buckets=ANSWER),
    Metric("outcome_commit_seconds", _H, "From an attempt's answer to its durable outcome.", buckets=LATENESS),
    Metric("log_commit_seconds", _H, "From proposing an entry to its being durable.", buckets=QUICK),
    Metric("log_entry_commands", _H, "Commands in an entry of the log.", buckets=SIZES),
    Metric("log_fold_seconds", _H, "Folding an entry and telling of its events.", buckets=QUICK),
    Metric("state_flush_seconds", _H, "Writing history and state to their files.", buckets=QUICK),
    Metric("state_flush_rows", _H, "Changes that a flush of state took in.", buckets=SIZES),
    Metric("raft_is_leader", _G, "Whether this node leads: 1 or 0."),
    Metric("raft_peers", _G, "Members of the cluster that were heard of lately, this node included."),
    Metric("raft_commit_index", _G, "The last log entry known to be durable."),
    Metric("raft_applied_index", _G, "The last log entry folded into this node's state."),
    Metric("raft_last_contact", _G, "Seconds since this node heard from its leader; 0 on the leader."),
    Metric("raft_term", _G, "How often a leader has begun."),
    Metric("cluster_members_lost", _G, "Members that were not heard of lately."),
    Metric("cluster_taking_part", _G, "Whether this member takes part: 1 or 0."),
    Metric("node_lease_seconds", _G, "For how long this node may send still."),
    Metric("engine_up", _G, "Whether the engine answers, has a leader and takes writes: 1 or 0."),
    Metric("engine_is_leader", _G, "Whether this member's engine leads the engines: 1 or 0."),
    Metric("engine_leader_changes", _G, "Leaders that this engine has seen since it started."),
    Metric("engine_db_bytes", _G, "What the engine's file weighs."),
    Metric("engine_db_in_use_bytes", _G, "How much of the engine's file holds something."),
    Metric("engine_quota_bytes", _G, "At which weight of its file the engine takes no more writes."),
    Metric("engine_fsync_seconds", _G, "What 99 of 100 of the engine's last writes to disk kept to."),
    Metric("engine_behind_entries", _G, "Changes that the engine knows of and has not applied."),
    Metric("engine_pending_writes", _G, "Writes that wait for the engines to agree on them."),
    Metric("engine_alarms", _G, "Alarms that the engines have raised.", ("alarm",)),
    Metric("jobs_total", _G, "Jobs."),
    Metric("jobs_enabled", _G, "Jobs that are not paused."),
    Metric("executions_in_flight", _G, "Attempts under way on this node."),
    Metric("executions_ongoing", _G, "Runs whose target has answered 202 and has yet to report the result."),
    Metric("queue_depth", _G, "What waits, by where.", ("queue",)),
    Metric("workers", _G, "Worker processes that take deliveries; 0 where the main process delivers itself."),
    Metric("worker_in_flight", _G, "Attempts given to a worker process, or waiting for it.", ("worker",)),
    Metric("scheduling", _G, "Whether planning goes on: 1 or 0."),
    Metric("log_bytes", _G, "What the entries of the log weigh."),
    Metric("log_entries", _G, "Entries of the log."),
    Metric("log_held_entries", _G, "Entries of the log that are kept for somebody's sake.", ("by",)),
    Metric("log_cut_past", _G, "Whether entries were let go that somebody still needed: 1 or 0.", ("by",)),
    Metric("backup_age_seconds", _G, "Seconds since the last backup of this node was taken; -1 before the first."),
    Metric("clock_hold_seconds", _G, "How far the clock and planning are apart while either is held; else 0."),
)
"""Told by name through `chronos.telemetry`. A gauge shows up when somebody says its value: 0 would be a claim."""

TABLE: dict[str, Metric] = {metric.name: metric for metric in BY_EVENTS + BY_TELEMETRY + BY_JOB}
