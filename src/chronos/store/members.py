"""Who belongs to the cluster, as state has it."""

from __future__ import annotations

from collections.abc import Mapping

from chronos.model.member import MemberRecord, MemberState
from chronos.store.port import View
from chronos.store.tables import MEMBERS


def members_in(view: View) -> Mapping[str, MemberRecord]:
    """Return everybody the log knows by name, those that were removed too; empty before the first was recorded."""
    kept = view.get(MEMBERS, "members")
    return {member.name: member for member in kept.members} if kept is not None else {}


def present(members: Mapping[str, MemberRecord]) -> dict[str, MemberRecord]:
    """Return those that belong to the cluster now: its members, and whoever joins."""
    return {name: one for name, one in members.items() if one.state is not MemberState.REMOVED}
