"""What the handlers have in common: the services they call, and the small rules every resource follows."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chronos.plugin import Action, Call, Reply
from chronos.store.commands import Idem
from chronos.timing.clock import Chance, Clock

if TYPE_CHECKING:
    from chronos.dispatch.port import Dispatcher
    from chronos.dispatch.workers.seat import WorkerState
    from chronos.model.job import JobSpec
    from chronos.model.principal import Principal
    from chronos.scheduler.jobs import JobService
    from chronos.scheduler.loop import Scheduler
    from chronos.scheduler.successes import Successes
    from chronos.server.backup.service import Backups
    from chronos.server.clockwatch import ClockWatch
    from chronos.server.kept import Keep
    from chronos.server.lastruns import LastRuns
    from chronos.server.live import Live
    from chronos.server.members.changes import MemberChanges
    from chronos.server.membership import Seat
    from chronos.server.settings import Settings
    from chronos.server.stats import Stats
    from chronos.server.workers import AllBreakers
    from chronos.store.commandlog import CommandLog
    from chronos.store.queries import Queries
    from chronos.store.truncation import LogStanding

PAGE = 50
PAGE_MAX = 200


@dataclass(frozen=True)
class Core:
    """The machine, as the handlers see it.

    Attributes:
        deliver: Delivers one request through the same guards as a job's, for `webhooks/test`.
        admit: Asks the features before a job is written.
        workers: Says how every worker process stands.
        running: Says how many attempts are under way.
        is_ready: An empty string when this node takes requests, else the reason why not.
        seat: How this node stands among the members of its cluster; alone it leads.
        notes: What a node that takes requests still cannot do, in sentences.
        changes: Changes who belongs to the cluster; None on a node that runs alone.
    """

    jobs: JobService
    log: CommandLog
    queries: Queries
    scheduler: Scheduler
    breakers: AllBreakers
    workers: Callable[[], list[WorkerState]]
    running: Callable[[], int]
    deliver: Dispatcher
    live: Live
    last_runs: LastRuns
    stats: Stats
    successes: Successes
    keep: Keep
    watch: ClockWatch
    backups: Backups
    log_standing: LogStanding
    settings: Settings
    clock: Clock
    chance: Chance
    node: str
    is_ready: Callable[[], str]
    seat: Callable[[], Seat]
    notes: Callable[[], list[str]]
    admit: Callable[[Action, JobSpec, Principal], Awaitable[None]]
    changes: MemberChanges | None = None


MakeIdem = Callable[[str], Idem | None]
"""Returns the idempotency record of a part of a request, given what the part is called."""


def idem(call: Call) -> Idem | None:
    """Return the idempotency record of a request, or None when it carries no key."""
    return idem_of(call)("")


def idem_of(call: Call) -> MakeIdem:
    """Return what makes the idempotency records of a request's parts: the body is hashed once for all of them.

    The hash covers the address and the body, so that a key used for another job is seen as what it is.
    """
    key = call.idempotency_key
    if key is None:
        return lambda _: None
    asked = hashlib.blake2b(digest_size=32)
    for text in (call.namespace, *(f"{k}={v}" for k, v in sorted(call.path.items())), repr(call.query)):
        asked.update(text.encode() + b"\0")
    asked.update(call.raw)
    scope = "\n".join((call.principal.tenant, call.principal.id, call.route))
    body_hash = asked.hexdigest()
    return lambda part: Idem(scope, key + part, body_hash)


def revision_of(call: Call) -> int | None:
    """Return the revision a write wants to see; None when it did not say, or said `*`."""
    return None if call.if_match in (None, -1) else call.if_match


def reply(
    value: Any, *, status: int | None = None, revision: int | None = None, headers: dict[str, str] | None = None
) -> Reply:
    """Return a reply with an ETag when there is a revision."""
    tag = {} if revision is None else {"ETag": f'"{revision}"'}
    return Reply(value=value, status=status, headers={**tag, **(headers or {})})
