"""Who belongs to the cluster, as this node knows it: from the log, and before the log says anything from its files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from chronos.model.member import MemberRecord, MemberState
from chronos.store.members import members_in, present
from chronos.store.port import View

Follow = Callable[[Mapping[str, MemberRecord]], None]
"""Is told everybody who may speak with the others now."""


class Directory:
    """The members of the cluster.

    Args:
        configured: Those that this node's configuration names.
        follow: Told at once whenever they change.

    Attributes:
        removed: Set as soon as this node itself was removed.
    """

    def __init__(self, node: str, configured: Mapping[str, MemberRecord], view: View, follow: Follow) -> None:
        self._node = node
        self._configured = dict(configured)
        self._view = view
        self._follow = follow
        self._wakers: list[asyncio.Event] = []
        self.removed = asyncio.Event()

    @property
    def configured(self) -> list[MemberRecord]:
        """Those that the configuration names."""
        return list(self._configured.values())

    def all(self) -> Mapping[str, MemberRecord]:
        """Return everybody who is known, those that were removed too, by name."""
        return members_in(self._view) or self._configured

    def present(self) -> dict[str, MemberRecord]:
        """Return those that belong to the cluster now, by name."""
        return present(self.all())

    def is_recorded(self) -> bool:
        """Whether the log knows the members."""
        return bool(members_in(self._view))

    def refresh(self) -> None:
        """Look who is there now, and tell. Whoever was removed is spoken with until its engine is out, too."""
        known = self.all()
        self._follow(
            {name: one for name, one in known.items() if one.state is not MemberState.REMOVED or one.engine_id}
        )
        own = known.get(self._node)
        if own is not None and own.state is MemberState.REMOVED:
            self.removed.set()
        for wake in self._wakers:
            wake.set()

    def wakes(self, event: asyncio.Event) -> None:
        """Have an event set after every change."""
        self._wakers.append(event)
