"""Who belongs to the cluster: one joins at a time, and what was removed stays known for a while."""

from __future__ import annotations

from msgspec.structs import replace

from chronos.errors import Conflict, NotFound, VersionConflict
from chronos.model.events import EventType
from chronos.model.member import MemberRecord, MemberState
from chronos.store.commands import RecordMembers, SetMember
from chronos.store.fold.draft import Draft, accepted, rejected
from chronos.store.port import Result
from chronos.store.tables import MEMBERS, MemberRecords

MEMBERS_MAX = 9
REMOVED_MAX = 32
"""Of those that were removed so many are known; the oldest are forgotten first."""

_KEY = "members"


def record_members(draft: Draft, command: RecordMembers) -> Result:
    """Begin the list with those that the configuration names."""
    if draft.get(MEMBERS, _KEY) is not None:
        return rejected(Conflict, "The members of this cluster are in the log already.")
    draft.put(MEMBERS, _KEY, MemberRecords(tuple(command.members)))
    for member in command.members:
        draft.emit(EventType.MEMBER_CHANGED, key=member.name, note=member.state.value, by="chronos")
    return accepted()


def set_member(draft: Draft, command: SetMember) -> Result:
    """Change one member, as far as that follows from what it is."""
    kept = draft.get(MEMBERS, _KEY)
    if kept is None:
        return rejected(
            Conflict, "The log does not know the members of this cluster yet; ask again in a second or two."
        )
    new = command.member
    old = next((one for one in kept.members if one.name == new.name), None)
    if command.expect is not None and old != command.expect:
        return rejected(VersionConflict, f"What is known of `{new.name}` has changed meanwhile; ask again.")
    refusal = _refusal(kept.members, old, new)
    if refusal is not None:
        return refusal
    if old == new:
        return accepted(new)
    others = [one for one in kept.members if one.name != new.name]
    draft.put(MEMBERS, _KEY, MemberRecords(tuple(_bounded([*others, new]))))
    draft.emit(EventType.MEMBER_CHANGED, key=new.name, note=new.state.value, by=command.by)
    return accepted(new)


def _refusal(members: tuple[MemberRecord, ...], old: MemberRecord | None, new: MemberRecord) -> Result | None:
    if new.state is MemberState.JOINING:
        return _no_joining(members, old, new)
    if old is None:
        return rejected(NotFound, f"The cluster has no member `{new.name}`.")
    if new.state is MemberState.MEMBER:
        gone = old.state is MemberState.REMOVED
        return rejected(Conflict, f"`{new.name}` was removed from the cluster; add it again.") if gone else None
    left = [one for one in members if one.name != new.name and one.state is MemberState.MEMBER]
    return None if left else rejected(Conflict, f"`{new.name}` is the last member, and cannot be removed.")


def _no_joining(members: tuple[MemberRecord, ...], old: MemberRecord | None, new: MemberRecord) -> Result | None:
    here = [one for one in members if one.state is not MemberState.REMOVED and one.name != new.name]
    if old is not None and (why := _not_anew(old, new)):
        return rejected(Conflict, why)
    if other := next((one for one in here if one.state is MemberState.JOINING), None):
        return rejected(Conflict, f"`{other.name}` is joining already; one at a time.")
    if len(here) >= MEMBERS_MAX:
        return rejected(Conflict, f"A cluster has at most {MEMBERS_MAX} members.")
    for one in here:
        if taken := {one.peer, one.engine} & {new.peer, new.engine} - {""}:
            return rejected(Conflict, f"{min(taken)} is an address of `{one.name}` already.")
    return None


def _not_anew(old: MemberRecord, new: MemberRecord) -> str:
    """Return why somebody who is known cannot join like this; empty when it can."""
    if old.state is MemberState.MEMBER:
        return f"`{new.name}` is a member already; to replace it, remove it first."
    if old.state is MemberState.REMOVED and old.engine_id:
        return f"`{new.name}` is still being removed; add it again when its node has stopped."
    if old.state is MemberState.JOINING and replace(old, engine_id="") != replace(new, engine_id=""):
        return f"`{new.name}` is joining already, at {old.peer}; remove it first."
    return ""


def _bounded(members: list[MemberRecord]) -> list[MemberRecord]:
    """Return the members, and of those that were removed the last few; in the order in which they last changed."""
    removed = [one for one in members if one.state is MemberState.REMOVED]
    forgotten = {one.name for one in removed[: max(0, len(removed) - REMOVED_MAX)]}
    return [one for one in members if one.name not in forgotten]
