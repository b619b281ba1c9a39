"""Opens the credentials of a target at the last moment before it leaves."""

from __future__ import annotations

from msgspec.structs import replace

from chronos.dispatch.port import Around, AroundDispatch, Deliver, Delivery, Outcome, Refused
from chronos.model.sealing import SealBroken, Sealer
from chronos.model.secret import SEALED_PREFIX, map_credentials
from chronos.model.target import mentions


def unsealing(sealer: Sealer) -> AroundDispatch:
    """Return the wrapper that opens sealed credentials; one that cannot be opened refuses the delivery for good."""

    async def around(delivery: Delivery, deliver: Deliver) -> Outcome:
        place = f"{delivery.namespace}/{delivery.job_id}/target."
        try:
            target = map_credentials(delivery.target, lambda path, text: sealer.open(text, place + path))
        except SealBroken as error:
            return Refused(str(error), "secret", permanent=True)
        return await deliver(replace(delivery, target=target))

    return Around(around, lambda delivery: mentions(delivery.target, SEALED_PREFIX), by_target=True)
