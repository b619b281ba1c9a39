"""Is it alive, does it take requests, who am I."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from chronos import __version__
from chronos.plugin import Call, Endpoint, Reply
from chronos.server.rest.core import Core, reply
from chronos.store.tables import META, Meta

TAG = "server"


class Health(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The process answers."""

    status: Literal["healthy"]
    version: str


class Ready(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The node takes requests; if not, `reason` says why, and the status is 503.

    Attributes:
        notes: What it cannot do all the same, and what to do about it: a full disk, a held clock.
        role: Its part in the cluster; one node alone leads.
        leader: Who leads, as far as this node knows; empty when nobody does.
        term: Counts up whenever a leader begins.
        applied_index: The last entry of the log that this node has taken in.
    """

    ready: bool
    reason: str = ""
    notes: list[str] = []
    role: Literal["leader", "follower"] = "leader"
    leader: str = ""
    term: int = 0
    applied_index: int = 0


class Whoami(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who the server thinks is asking."""

    id: str
    name: str
    tenant: str
    permissions: list[str]


class HealthChecks:
    """The handlers of the public routes, and `whoami`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def endpoints(self) -> list[Endpoint]:
        health = [
            Endpoint(
                "GET",
                path,
                self.health,
                "public",
                "Say whether the process answers.",
                answers=Health,
                tag=TAG,
                operation=name,
            )
            for path, name in (("/health", "get_health"), ("/healthz", "get_healthz"))
        ]
        ready = [
            Endpoint(
                "GET",
                path,
                self.ready,
                "public",
                "Say whether this node takes requests.",
                answers=Ready,
                errors=(503,),
                tag=TAG,
                operation=name,
            )
            for path, name in (("/ready", "get_ready"), ("/readyz", "get_readyz"))
        ]
        whoami = Endpoint(
            "GET",
            "/api/v1/whoami",
            self.whoami,
            "self:read",
            "Say who is asking.",
            answers=Whoami,
            tag=TAG,
            operation="whoami",
        )
        return [*health, *ready, whoami]

    async def health(self, _: Call) -> Reply:
        return reply(Health(status="healthy", version=__version__))

    async def ready(self, _: Call) -> Reply:
        reason = self._core.is_ready()
        headers = {"Retry-After": "1"} if reason else {}
        seat, log = self._core.seat(), self._core.log
        standing = Ready(
            ready=not reason,
            reason=reason,
            notes=[] if reason else self._core.notes(),
            role="leader" if seat.leads else "follower",
            leader=seat.leader,
            term=(log.view.get(META, "meta") or Meta()).term,
            applied_index=log.applied,
        )
        return reply(standing, status=503 if reason else 200, headers=headers)

    async def whoami(self, call: Call) -> Reply:
        who = call.principal
        return reply(Whoami(id=who.id, name=who.name, tenant=who.tenant, permissions=sorted(who.permissions)))
