"""Signs what has no secret of its own with the server's."""

from __future__ import annotations

from msgspec.structs import replace

from chronos.dispatch.port import AroundDispatch, Deliver, Delivery, Outcome
from chronos.dispatch.references import references_in
from chronos.errors import ConfigInvalid
from chronos.model.signing import signing_keys
from chronos.model.target import HttpTarget


def signing_unsigned(secret: str) -> AroundDispatch:
    """Return the wrapper that lends `secret` to HTTP targets without a `signing_secret`. It may hold references.

    Raises:
        ConfigInvalid: It is neither a secret nor a reference to one.
    """
    if not references_in(secret):
        try:
            signing_keys(secret)
        except ValueError as wrong:
            raise ConfigInvalid(f"dispatcher.http.signing_secret {wrong}") from None

    async def around(delivery: Delivery, deliver: Deliver) -> Outcome:
        target = delivery.target
        if isinstance(target, HttpTarget) and not target.signing_secret:
            delivery = replace(delivery, target=replace(target, signing_secret=secret))
        return await deliver(delivery)

    return around
