"""What an API key looks like, and who may do what. Pure."""

from __future__ import annotations

import hmac
import re
import zlib
from collections.abc import Iterable, Set
from datetime import datetime, timedelta
from difflib import get_close_matches

from chronos.errors import Denied, Unprocessable
from chronos.model.principal import Principal

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LIFETIME_MAX = timedelta(days=365)
ID_CHARS = 8
SECRET_CHARS = 32
CHECK_CHARS = 6

_SHAPE = re.compile(r"^chr_[a-z0-9]{1,12}_(?P<id>[A-Za-z0-9]{8})_[A-Za-z0-9]{32}_(?P<check>[A-Za-z0-9]{6})$")

VIEWER = frozenset(
    {
        "job:read",
        "execution:read",
        "schedule:read",
        "calendar:read",
        "cluster:read",
        "coordination:read",
        "metrics:read",
        "self:read",
    }
)
DEVELOPER = VIEWER | {
    "job:create",
    "job:update",
    "job:delete",
    "job:trigger",
    "job:enable",
    "job:disable",
    "job:pause",
    "job:resume",
    "job:backfill",
    "job:rollback",
    "execution:cancel",
    "execution:replay",
    "execution:redrive",
    "webhook:test",
    "coordination:lease",
}
OPERATOR = DEVELOPER | {"job:force", "calendar:*", "breaker:*"}
ROLES: dict[str, frozenset[str]] = {
    "admin": frozenset({"*"}),
    "operator": OPERATOR,
    "developer": DEVELOPER,
    "viewer": VIEWER,
}


def format_key(environment: str, raw: bytes) -> tuple[str, str]:
    """Return (id, key) made of `raw`, at least 40 random bytes.

    The key ends in a checksum, so that a mistyped one is known before anything is looked up.
    """
    letters = base62(int.from_bytes(raw, "big"), ID_CHARS + SECRET_CHARS)
    key_id, secret = letters[:ID_CHARS], letters[ID_CHARS:]
    body = f"chr_{environment}_{key_id}_{secret}"
    return key_id, f"{body}_{_check(body)}"


def id_of(key: str) -> str | None:
    """Return the id inside a key; None when it is not a key, or was mistyped."""
    match = _SHAPE.match(key)
    if match is None or key.endswith("\n") or _check(key.rpartition("_")[0]) != match["check"]:
        return None
    return match["id"]


def digest(pepper: bytes, key: str) -> str:
    """Return what is kept of a key. The key is random, so a fast hash is the right one."""
    return hmac.digest(pepper, key.encode(), "sha256").hex()


def base62(value: int, length: int) -> str:
    """Return the last `length` base-62 digits of `value`."""
    digits = []
    for _ in range(length):
        value, rest = divmod(value, 62)
        digits.append(ALPHABET[rest])
    return "".join(reversed(digits))


def key_from(headers: dict[str, str]) -> str | None:
    """Return the key a request carries, or None. An `Authorization` of another kind counts as no key."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    return headers.get("x-api-key")


def check_known(asked: Iterable[str], known: Set[str]) -> None:
    """Refuse a permission that nobody ever asks for: a key that was to open a door would stay shut.

    Args:
        known: All there are; `family:*` stands for those of a family, `*` for all.

    Raises:
        Unprocessable: With the nearest one, if there is any.
    """
    everything = {"*", *known, *(f"{one.partition(':')[0]}:*" for one in known)}
    for one in asked:
        if one not in everything:
            near = get_close_matches(one, sorted(everything), n=1)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            raise Unprocessable(f"There is no permission `{one}`.{hint}", field="permissions", permission=one)


def grant(principal: Principal, asked: list[str]) -> list[str]:
    """Return the permissions a new key gets.

    Raises:
        Denied: It would get more than its creator has.
    """
    wanted = sorted(set(asked)) or sorted(VIEWER)
    lacking = [one for one in wanted if not _may_grant(principal, one)]
    if lacking:
        raise Denied(f"`{principal.id}` cannot grant what it lacks: {', '.join(lacking[:5])}.", permissions=lacking)
    return wanted


def lifetime(now: datetime, asked: datetime | None) -> datetime:
    """Return when a key made `now` ends.

    Raises:
        Unprocessable: In the past, or more than a year away.
    """
    ends = asked or now + LIFETIME_MAX
    if not now < ends <= now + LIFETIME_MAX:
        raise Unprocessable("`expires_at` has to lie in the future, at most a year away.", field="expires_at")
    return ends


def _may_grant(principal: Principal, permission: str) -> bool:
    if permission == "*" or permission.endswith(":*"):
        return bool({"*", permission} & principal.permissions)
    return principal.may(permission)


def _check(body: str) -> str:
    return base62(zlib.crc32(body.encode()), CHECK_CHARS)
