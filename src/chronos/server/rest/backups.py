"""Handing out a backup of the server that runs."""

from __future__ import annotations

from chronos.plugin import Call, Endpoint, Reply
from chronos.server.rest.core import Core

CONTENT_TYPE = "application/vnd.chronos.backup"


class BackupHandlers:
    """The handler that `chronos backup --server` asks."""

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
        ]

    async def take(self, _: Call) -> Reply:
        return Reply(stream=await self._core.backups.stream(), content_type=CONTENT_TYPE)
