"""What a member says of itself, of the others and of its engine, when somebody reads the metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from chronos.cluster.etcd.probe import EngineLook
from chronos.store.tables import META, Meta

if TYPE_CHECKING:
    from chronos.server.membership import Membership
    from chronos.telemetry import Telemetry

OLD_S = 10.0
"""A look at the engine that is older than this says nothing any more."""


def register_member_gauges(telemetry: Telemetry, member: Membership) -> None:
    """Register a member's gauges with `telemetry`, in place of those that a node alone has."""
    commands, company, clock = member.commands, member.company, member.clock

    def meta() -> Meta:
        return commands.view.get(META, "meta") or Meta()

    def silent_s() -> float:
        return 0.0 if commands.leads else max(0.0, clock.boottime() - commands.heard_s)

    def living() -> int:
        return len(member.living())

    telemetry.gauge_from("raft_is_leader", lambda: int(commands.leads))
    telemetry.gauge_from("raft_peers", living)
    telemetry.gauge_from("raft_last_contact", silent_s)
    telemetry.gauge_from("raft_term", lambda: meta().term)
    telemetry.gauge_from("cluster_members_lost", lambda: len(member.names()) - living())
    telemetry.gauge_from("cluster_taking_part", lambda: int(not member.seat().trouble))
    telemetry.gauge_from("node_lease_seconds", lambda: max(0.0, company.lease.until_s - clock.boottime()))
    if member.wiring.look is not None:
        _register_engine(telemetry, member, member.wiring.look)


def _register_engine(telemetry: Telemetry, member: Membership, look: Callable[[], EngineLook | None]) -> None:
    clock, trouble = member.clock, member.wiring.engine_trouble

    def gauge(name: str, of: Callable[[EngineLook], float], **labels: str) -> None:
        def value() -> float:
            last = look()
            return of(last) if last is not None else 0.0

        telemetry.gauge_from(name, value, **labels)

    def is_fresh(last: EngineLook) -> bool:
        return clock.boottime() - last.at_s < OLD_S

    gauge("engine_up", lambda last: int(is_fresh(last) and last.metrics.has_leader and not trouble()))
    gauge("engine_is_leader", lambda last: int(last.metrics.is_leader))
    gauge("engine_leader_changes", lambda last: last.metrics.leader_changes)
    gauge("engine_db_bytes", lambda last: last.metrics.db_bytes)
    gauge("engine_db_in_use_bytes", lambda last: last.metrics.in_use_bytes)
    gauge("engine_quota_bytes", lambda last: last.metrics.quota_bytes)
    gauge("engine_fsync_seconds", lambda last: last.fsync_s)
    gauge("engine_behind_entries", lambda last: last.behind)
    gauge("engine_pending_writes", lambda last: last.metrics.pending)
    gauge("engine_alarms", lambda last: len(last.full), alarm="nospace")
    gauge("engine_alarms", lambda last: sum("CORRUPT" in said for said in last.alarms), alarm="corrupt")
