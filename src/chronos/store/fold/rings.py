"""Bounded first-in-first-out lists in the state: a head, a tail, and a row for each place between."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from chronos.store.fold.draft import Draft
from chronos.store.tables import DELETED_RING, FORGOTTEN, LATE_RING, RingItem, Table


class Ring(NamedTuple):
    """A ring: its table, and the beginning of the names of its head and tail in `Meta`."""

    table: Table[RingItem]
    name: str


LATE_PLACES = Ring(LATE_RING, "late")
DELETED_PLACES = Ring(DELETED_RING, "deleted")
FORGOTTEN_PLACES = Ring(FORGOTTEN, "forgotten")


def ring_key(sequence: int) -> str:
    """Return a ring's key for a place; keys sort as their places do."""
    return f"{sequence:012d}"


def length(draft: Draft, ring: Ring) -> int:
    """Return how many places are taken."""
    head, tail = _ends(draft, ring)
    return tail - head


def append(draft: Draft, ring: Ring, key: str, seq: int = 0) -> RingItem:
    """Take the next place, as of now; return what stands there."""
    _, tail = _ends(draft, ring)
    item = RingItem(key, draft.at.time_us, seq)
    draft.put(ring.table, ring_key(tail), item)
    draft.put_meta(replace(draft.meta(), **{f"{ring.name}_tail": tail + 1}))
    return item


def oldest(draft: Draft, ring: Ring) -> RingItem | None:
    """Return what stands first, or None when nothing does."""
    head, tail = _ends(draft, ring)
    return draft.get(ring.table, ring_key(head)) if head < tail else None


def put_oldest(draft: Draft, ring: Ring, item: RingItem) -> None:
    """Replace what stands first."""
    draft.put(ring.table, ring_key(_ends(draft, ring)[0]), item)


def drop_oldest(draft: Draft, ring: Ring) -> None:
    """Free the first place. There must be one."""
    head, _ = _ends(draft, ring)
    draft.delete(ring.table, ring_key(head))
    draft.put_meta(replace(draft.meta(), **{f"{ring.name}_head": head + 1}))


def _ends(draft: Draft, ring: Ring) -> tuple[int, int]:
    meta = draft.meta()
    return getattr(meta, f"{ring.name}_head"), getattr(meta, f"{ring.name}_tail")
