"""Idempotency keys: the same request twice is done once and answered twice."""

from __future__ import annotations

from msgspec.structs import replace

from chronos.errors import IdempotencyKeyReused
from chronos.model.job import Job
from chronos.store.commands import Idem
from chronos.store.fold.draft import Draft, rejected
from chronos.store.fold.rings import ring_key
from chronos.store.port import Result
from chronos.store.tables import IDEM, IDEM_RING, IdemRecord, RingItem, idem_key

KEPT_US = 24 * 3600 * 1_000_000
KEPT_MAX = 100_000
FACT_MAX = 256


def recall(draft: Draft, idem: Idem) -> Result | None:
    """Return the verdict of an earlier request with this key, or None when there was none."""
    record = draft.get(IDEM, idem_key(idem))
    if record is None or draft.at.time_us - record.time_us > KEPT_US:
        return None
    if record.body_hash != idem.body_hash:
        return rejected(IdempotencyKeyReused, key=idem.key)
    return Result(
        error=record.error,
        message=record.message,
        facts={**record.facts, "resource": record.resource, "revision": record.revision},
        replayed=True,
    )


def remember(draft: Draft, idem: Idem, result: Result) -> None:
    """Keep a verdict; the oldest give way."""
    resource, revision = _resource(result)
    record = IdemRecord(
        idem.body_hash, result.error, result.message, resource, revision, draft.at.time_us, _facts(result)
    )
    draft.put(IDEM, idem_key(idem), record)
    _make_room(draft)
    meta = draft.meta()
    draft.put(IDEM_RING, ring_key(meta.idem_tail), RingItem(idem_key(idem), draft.at.time_us))
    draft.put_meta(replace(meta, idem_tail=meta.idem_tail + 1))


def _resource(result: Result) -> tuple[str, int]:
    value = result.value
    if isinstance(value, Job):
        return value.id, value.revision
    found = getattr(value, "id", None) or result.facts.get("resource") or result.facts.get("execution_id", "")
    return str(found), 0


def _facts(result: Result) -> dict[str, str]:
    """What a refusal names is said again with it."""
    if result.ok:
        return {}
    return {name: fact[:FACT_MAX] for name, fact in result.facts.items() if isinstance(fact, str)}


def _make_room(draft: Draft) -> None:
    # Two at most per write: the ring shrinks faster than it grows, and no write pays for all.
    for _ in range(2):
        meta = draft.meta()
        if meta.idem_head >= meta.idem_tail:
            return
        item = draft.get(IDEM_RING, ring_key(meta.idem_head))
        full = meta.idem_tail - meta.idem_head >= KEPT_MAX
        if item is not None and not full and draft.at.time_us - item.time_us <= KEPT_US:
            return
        draft.delete(IDEM_RING, ring_key(meta.idem_head))
        record = draft.get(IDEM, item.key) if item else None
        if item is not None and record is not None and record.time_us == item.time_us:
            draft.delete(IDEM, item.key)
        draft.put_meta(replace(meta, idem_head=meta.idem_head + 1))
