"""When the engine needs room, and what gives it some. Pure: whoever leads asks, and does it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from msgspec import Struct

TRUNCATE_AT = 0.25
"""The part of the quota from which on the log is cut, whoever is absent."""
FREE_BYTES_MAX = 512 << 20
"""More than this may not lie free in the file: etcd never gives any back by itself."""


class Step(Enum):
    """What is to be done.

    TRUNCATE: forget entries that a snapshot has, and compact.
    DEFRAGMENT: let one member after the other write its file anew; each stands still meanwhile.
    RECOVER: all of it, then lift the alarm: until then the engine refuses every write.
    """

    NOTHING = "nothing"
    TRUNCATE = "truncate"
    DEFRAGMENT = "defragment"
    RECOVER = "recover"


class Space(Struct, frozen=True):
    """How full a member's engine is.

    Attributes:
        db_bytes: What its file weighs; never less than before, unless it is defragmented.
        in_use_bytes: How much of that holds something.
        quota_bytes: At which weight of the file the engine stops taking writes.
        is_full: Whether it has (the alarm NOSPACE), on this member or another.
    """

    db_bytes: int
    in_use_bytes: int
    quota_bytes: int
    is_full: bool = False


def needed(space: Space) -> Step:
    """Return what a member's engine needs."""
    if space.is_full:
        return Step.RECOVER
    if space.in_use_bytes >= TRUNCATE_AT * space.quota_bytes:
        return Step.TRUNCATE
    free = space.db_bytes - space.in_use_bytes
    # A small quota has to be kept, too: what is free counts against it all the same.
    if free > min(FREE_BYTES_MAX, space.quota_bytes // 2):
        return Step.DEFRAGMENT
    return Step.NOTHING


def is_turn(wall_s: float, rank: int, count: int, slot_s: float) -> bool:
    """Return whether it is this member's turn: each has a slot of the wall clock, and begins in its first half.

    So nobody has to be asked, which matters when nothing can be written; clocks may differ by half a slot.
    """
    slot, into_s = divmod(wall_s, slot_s)
    return int(slot) % count == rank and into_s < slot_s / 2


def in_order(members: Iterable[str], leader: str) -> list[str]:
    """Return the members in the order in which they are defragmented: the engine's leader last."""
    return sorted(members, key=lambda member: (member == leader, member))
