"""Handing out a backup of the server that runs: of a node that stands alone, or of a member of a cluster."""

from __future__ import annotations

from chronos.plugin import Call, Endpoint, Reply
from chronos.server.rest.core import Core

CONTENT_TYPE = "application/vnd.chronos.backup"


class BackupHandlers:
    """What `chronos backup --server` and `chronosctl cluster snapshot` ask. They are answered with the same."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "POST",
                "/api/v1/backups",
                self.take,
                "cluster:backup",
                "Take a backup, and answer with it. The keys are not in it: no caller is shown those.",
                content_type=CONTENT_TYPE,
                errors=(503, 507),
                tag="server",
                operation="take_backup",
            ),
            Endpoint(
                "POST",
                "/api/v1/cluster/snapshot",
                self.take,
                "cluster:backup",
                "Take a snapshot of this node, and answer with it: a backup of what it has, without its keys.",
                content_type=CONTENT_TYPE,
                errors=(503, 507),
                tag="cluster",
                operation="take_snapshot",
            ),
        ]

    async def take(self, _: Call) -> Reply:
        return Reply(stream=await self._core.backups.stream(), content_type=CONTENT_TYPE)
