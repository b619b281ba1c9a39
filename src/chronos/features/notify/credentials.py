"""Opens what the job service sealed, and looks up what it only names."""

from __future__ import annotations

from chronos.dispatch.references import SecretResolver
from chronos.model.sealing import Sealer


class HouseCredentials:
    """Implements `port.Credentials` with the house's key and its secrets."""

    def __init__(self, sealer: Sealer, resolver: SecretResolver) -> None:
        self._sealer = sealer
        self._resolver = resolver

    async def open(self, namespace: str, job_id: str, path: str, text: str) -> str:
        opened = self._sealer.open(text, f"{namespace}/{job_id}/{path}")
        resolved, _ = await self._resolver.resolve_text(opened)
        return resolved
