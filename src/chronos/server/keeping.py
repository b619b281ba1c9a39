"""Who keeps history: what seals it when it is whole, and removes it when it is old."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from chronos.errors import ConfigInvalid
from chronos.model.job import RETENTION_US_MAX
from chronos.server.bodies import Bodies
from chronos.server.outputs import Outputs
from chronos.server.settings import History
from chronos.store.archive import Archive
from chronos.store.commandlog import CommandLog
from chronos.store.commands import KeepingRule
from chronos.store.queries import Queries
from chronos.store.retention import Retention, RetentionSettings
from chronos.store.sealing import Sealing
from chronos.store.state import KEEPS
from chronos.timing.duration import parse_duration


@dataclass(frozen=True)
class Keeping:
    """The two of them; each has a `run` for as long as the server lives."""

    sealing: Sealing
    retention: Retention


def keeping_of(
    archive: Archive, commands: CommandLog, queries: Queries, history: History, bodies: Bodies, outputs: Outputs
) -> Keeping:
    """Return who keeps the history in `archive`, and with it what is kept beside it.

    Raises:
        ConfigInvalid: A namespace wants to keep it longer than there are classes.
    """

    async def expire(before_s: int) -> None:
        await asyncio.to_thread(bodies.expire, before_s)
        await outputs.expire(before_s)

    settings = retention_of(history)
    # Where nothing is said for all, only those are looked at that say something for themselves.
    jobs = queries.all_jobs if settings.max_count else partial(queries.jobs_with, KEEPS)
    return Keeping(Sealing(archive, commands), Retention(archive, commands, jobs, settings, also=expire))


def retention_of(history: History) -> RetentionSettings:
    """Return what the configuration says of history.

    Raises:
        ConfigInvalid: As `keeping_of`.
    """
    for name, rule in history.namespaces.items():
        if rule.retention and parse_duration(rule.retention) > RETENTION_US_MAX:
            field = f"history.namespaces.{name}.retention"
            raise ConfigInvalid(f"`{field}` is at most 365d.", field=field)
    return RetentionSettings(
        default_us=parse_duration(history.retention),
        max_count=history.max_count or 0,
        namespaces={
            name: KeepingRule(rule.retention or "", rule.max_count or 0) for name, rule in history.namespaces.items()
        },
    )
