"""Settings, the stored key, and what the routes take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Permission = Annotated[str, Meta(pattern=r"^(\*|[a-z][a-z-]{0,31}:(\*|[a-z][a-z-]{0,31}))$", max_length=65)]
KeyName = Annotated[str, Meta(min_length=1, max_length=100)]
UserName = Annotated[str, Meta(pattern=r"^[^:\x00-\x1f\x7f]{1,200}$")]
Role = Literal["admin", "operator", "developer", "viewer"]


class ConfiguredKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key written into the configuration: at least 32 characters, whatever they are."""

    name: KeyName
    key: Annotated[str, Meta(min_length=32, max_length=256)]
    roles: Annotated[list[Role], Meta(min_length=1, max_length=4)]

    def __repr__(self) -> str:
        return f"ConfiguredKey(name={self.name!r}, key='***', roles={self.roles!r})"


class ConfiguredUser(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user written into the configuration: the bcrypt hash of a password, and what it opens."""

    password: Annotated[str, Meta(max_length=100)]
    roles: Annotated[list[Role], Meta(min_length=1, max_length=4)] = field(default_factory=lambda: ["admin"])

    def __repr__(self) -> str:
        return f"ConfiguredUser(password='***', roles={self.roles!r})"


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may come in.

    Attributes:
        type: `none` lets everybody in and is for loopback; the default is `none` on loopback, else `api_key`.
            `basic` takes the passwords of `users`, and API keys as well.
        enabled: The older way to say `api_key`.
        users: By name, a bcrypt hash, or a hash and roles; without roles a user is an administrator.
        environment: Part of every key's text, so that a key shows where it belongs.
    """

    type: Literal["none", "basic", "api_key"] | None = None
    enabled: bool | None = None
    users: Annotated[dict[UserName, str | ConfiguredUser], Meta(max_length=1_000)] = field(default_factory=dict)
    api_keys: Annotated[list[ConfiguredKey], Meta(max_length=100)] = field(default_factory=list)
    environment: Annotated[str, Meta(pattern=r"^[a-z0-9]{1,12}$")] = "live"

    def __repr__(self) -> str:
        return f"Settings(type={self.type!r}, users={sorted(self.users)}, api_keys={self.api_keys!r})"


class ApiKeyRecord(Struct, frozen=True, kw_only=True):
    """A key as it is kept: without the key.

    Attributes:
        digest: Hex HMAC-SHA-256 of the whole key, under a pepper that is not in the log.
    """

    id: str
    name: str
    digest: str
    permissions: list[str]
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None = None


class ApiKeyAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to create. It gets at most what its creator may do, and lives a year at most.

    Attributes:
        permissions: Like `job:read`, `job:*` or `*`; empty means what a `viewer` may do.
        expires_at: A year from now when absent.
    """

    name: KeyName
    permissions: Annotated[list[Permission], Meta(max_length=100)] = field(default_factory=list)
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


class ApiKeyDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key as it is shown: without the key."""

    id: str
    name: str
    permissions: list[str]
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None = None


class ApiKeyCreated(ApiKeyDocument, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new key. This is the only time that `key` is shown."""

    key: str


class ApiKeyList(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every key, oldest first."""

    api_keys: list[ApiKeyDocument]


class ApiKeyRevoked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The key that no longer opens anything."""

    id: str
    name: str
