"""Who belongs to the cluster, and where each of them listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import NamedTuple

_EVERYWHERE, _EVERYWHERE_SIX = "0.0.0.0", "::"  # noqa: S104  # what is listened on; whoever comes has to say who it is


class Address(NamedTuple):
    """Where somebody listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_reachable(self) -> bool:
        """Whether others can reach somebody there: it says one host and one port."""
        return bool(self.host) and self.host not in (_EVERYWHERE, _EVERYWHERE_SIX) and self.port > 0

    def to_listen(self) -> Address:
        """Return what the host itself listens on to be reached there: a name may mean another address on it."""
        try:
            ip_address(self.host)
        except ValueError:
            return Address(_EVERYWHERE, self.port)
        return self


class Identity(NamedTuple):
    """A node of a cluster: its cluster's uuid, and its own name."""

    cluster: str
    node: str


class Roster:
    """The members there are now. Changes are told at once to whoever asked for it.

    Args:
        members: Name → where its peer listener is; this node among them.
    """

    def __init__(self, members: Mapping[str, Address]) -> None:
        self._members = dict(members)
        self._told: list[Callable[[], None]] = []

    def knows(self, node: str) -> bool:
        """Whether a node of this name is a member."""
        return node in self._members

    def address_of(self, node: str) -> Address | None:
        """Return where a member's listener is; None for who is none."""
        return self._members.get(node)

    def names(self) -> list[str]:
        """Return all members, this node included, in the order of their names."""
        return sorted(self._members)

    def replace(self, members: Mapping[str, Address]) -> None:
        """From now on these are the members."""
        if dict(members) != self._members:
            self._members = dict(members)
            for tell in list(self._told):
                tell()

    def on_change(self, tell: Callable[[], None]) -> None:
        """Have `tell` called after every change."""
        self._told.append(tell)
