"""A member of a cluster, as the log knows it."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class MemberState(StrEnum):
    """JOINING: it gets the log and has no vote yet. REMOVED: it was a member, and is let in no more."""

    JOINING = "joining"
    MEMBER = "member"
    REMOVED = "removed"


class MemberRecord(Struct, frozen=True, array_like=True):
    """A member of the cluster, as the log knows it.

    Attributes:
        peer: `host:port` of its peer listener; `engine` likewise, empty where the engine is somebody else's.
        api: Base address of its API; empty when nobody said.
        engine_id: What its engine is called among the engines; empty until that is known.
    """

    name: str
    peer: str
    engine: str = ""
    api: str = ""
    state: MemberState = MemberState.MEMBER
    engine_id: str = ""
