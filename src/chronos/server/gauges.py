"""Who says what, when somebody reads the metrics: numbers that lie ready, looked up and never counted along."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from chronos.store.tables import META, Meta

if TYPE_CHECKING:
    from chronos.scheduler.loop import Scheduler
    from chronos.scheduler.pulse import Pulse
    from chronos.server.clockwatch import ClockWatch
    from chronos.server.workers import Workers
    from chronos.store.commandlog import CommandLog
    from chronos.store.truncation import LogStanding
    from chronos.telemetry import Telemetry

MEMBERS = 1
"""A node alone leads itself, and is the whole cluster."""


def register_gauges(
    telemetry: Telemetry,
    commands: CommandLog,
    scheduler: Scheduler,
    workers: Workers,
    watch: ClockWatch,
    pulse: Pulse,
) -> None:
    """Register the core's gauges with `telemetry`."""

    def meta() -> Meta:
        return commands.view.get(META, "meta") or Meta()

    executor = workers.executor

    telemetry.gauge_from("raft_is_leader", lambda: 0 if commands.failed.is_set() else 1)
    telemetry.gauge_from("raft_peers", lambda: MEMBERS)
    telemetry.gauge_from("raft_commit_index", lambda: commands.durable)
    telemetry.gauge_from("raft_applied_index", lambda: commands.applied)
    telemetry.gauge_from("raft_last_contact", lambda: 0)
    telemetry.gauge_from("jobs_total", lambda: meta().jobs)
    telemetry.gauge_from("jobs_enabled", lambda: meta().jobs_enabled)
    telemetry.gauge_from("executions_in_flight", lambda: executor.running)
    telemetry.gauge_from("executions_ongoing", lambda: len(scheduler.long_runs))
    telemetry.gauge_from("queue_depth", lambda: commands.waiting, queue="log")
    telemetry.gauge_from("queue_depth", lambda: len(scheduler.line), queue="scheduler")
    telemetry.gauge_from("queue_depth", lambda: executor.in_flight() - executor.running, queue="executor")
    telemetry.gauge_from("workers", lambda: sum(state.is_up for state in workers.states()))
    for number in range(1, workers.count + 1):
        in_flight = partial(_in_flight, workers, number)
        telemetry.gauge_from("worker_in_flight", in_flight, worker=str(number))
    telemetry.gauge_from("clock_hold_seconds", lambda: watch.standing().hold_seconds)
    telemetry.gauge_from("scheduling", lambda: 0 if pulse.trouble() else 1)


def _in_flight(workers: Workers, number: int) -> float:
    return workers.states()[number - 1].in_flight


def register_log_gauges(telemetry: Telemetry, standing: LogStanding, holds: Iterable[str]) -> None:
    """Register how much the log weighs, and for whose sake."""
    telemetry.gauge_from("log_bytes", lambda: standing.bytes)
    telemetry.gauge_from("log_entries", lambda: standing.entries)
    for name in holds:
        telemetry.gauge_from("log_held_entries", partial(_held, standing, name), by=name)
        telemetry.gauge_from("log_cut_past", partial(_is_passed, standing, name), by=name)


def _held(standing: LogStanding, name: str) -> int:
    return standing.held.get(name, 0)


def _is_passed(standing: LogStanding, name: str) -> int:
    return int(name in standing.passed)
