"""Who may come in: the admin key of the first start, API keys, and nobody at all on loopback without them."""

from __future__ import annotations

from chronos.features.access.model import ApiKeyRecord, Settings
from chronos.features.access.routes import ApiKeys
from chronos.features.access.service import Access
from chronos.model.premises import Authenticator, Premises
from chronos.plugin import Host, Place

__all__ = ["Settings", "install"]


def install(host: Host, settings: Settings) -> None:
    """Offer the authenticator and serve the key routes.

    Raises:
        ConfigInvalid: Anybody on the network could come in, and nobody has said `--insecure`.
    """
    if host.place is Place.WORKER:
        return
    premises = host.require(Premises)  # type: ignore[type-abstract]  # capabilities are looked up by Protocol
    keys = host.collection("api-keys", ApiKeyRecord)
    access = Access(settings, premises, keys, clock=host.clock, chance=host.chance, declared=host.permissions)
    host.provide(Authenticator, access)  # type: ignore[type-abstract]
    for endpoint in ApiKeys(access).endpoints():
        host.endpoint(endpoint)
