"""Jobs that run when other jobs have run: `dependencies: {depends_on, condition, timeout}`."""

from __future__ import annotations

from msgspec import Struct

from chronos.features.dependencies.model import Round
from chronos.features.dependencies.service import FOLLOWED, Follower
from chronos.plugin import Host, Place, Where


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing to set: a job says itself what it depends on."""


def install(host: Host, settings: Settings) -> None:
    """Follow executions on the leader, with a durable cursor: no finished run is overlooked by a crash."""
    if host.place is not Place.MAIN:
        return
    follower = Follower(host.jobs, host.collection("dependencies", Round))
    host.on(FOLLOWED, follower.note, where=Where.LEADER, durable="dependencies", wants=follower.wants)
