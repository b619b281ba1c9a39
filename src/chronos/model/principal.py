"""Who is asking."""

from __future__ import annotations

from msgspec import Struct


class Principal(Struct, frozen=True, kw_only=True):
    """Somebody the server has recognised.

    Attributes:
        id: Stable and unique: `key:<id>`, `admin`, `anonymous`.
        permissions: What it may do, as `job:read`; `*` is everything, `job:*` everything about jobs.
    """

    id: str
    name: str = ""
    tenant: str = "default"
    permissions: frozenset[str] = frozenset()

    def may(self, permission: str) -> bool:
        """Whether this principal has `permission`."""
        family = permission.partition(":")[0]
        return not self.permissions.isdisjoint({"*", permission, f"{family}:*"})


ANONYMOUS = Principal(id="anonymous")
"""Somebody we do not know; only `auth.type: none` gives it rights."""
