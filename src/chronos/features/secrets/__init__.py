"""References to secrets, resolved at the last moment from the environment and from files, and kept out of answers."""

from __future__ import annotations

from chronos.dispatch.port import Around
from chronos.dispatch.references import SecretResolver
from chronos.features.secrets.model import Settings
from chronos.features.secrets.service import Secrets
from chronos.features.secrets.sources import EnvSource, FileSource
from chronos.plugin import Host

__all__ = ["Secrets", "Settings", "install"]

ORDER = 30
"""Inside of what opens sealed credentials: a sealed text may hold a reference."""


def install(host: Host, settings: Settings) -> None:
    """Wrap every delivery, and offer the same to other features as `SecretResolver`."""
    secrets = Secrets({"env": EnvSource(settings), "file": FileSource(settings)})
    host.provide(SecretResolver, secrets)  # type: ignore[type-abstract]  # capabilities are looked up by Protocol
    host.around_dispatch(Around(secrets.around, secrets.concerns, by_target=True), order=ORDER)
