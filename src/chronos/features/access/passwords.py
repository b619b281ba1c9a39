"""Basic authentication: names and bcrypt hashes from the configuration, checked at a bounded cost.

A hash costs a quarter of a second on purpose. So it is computed in a thread, for a few requests at a time; a
password that was right is remembered for a minute, and somebody who keeps guessing is told to wait.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import re
from collections import OrderedDict, deque
from collections.abc import Mapping

import bcrypt
import structlog

from chronos.errors import RateLimited, Unauthenticated
from chronos.features.access.model import ConfiguredUser
from chronos.features.access.rules import ROLES
from chronos.model.principal import Principal
from chronos.timing.clock import Clock

log = structlog.get_logger("chronos.access")

FAILURES_MAX = 10
FAILURES_S = 60.0
BUCKETS = 1_024
REMEMBERED_MAX = 1_000
REMEMBERED_S = 60.0
AT_ONCE = 2
WAITING_MAX = 32
PASSWORD_BYTES_MAX = 72  # bcrypt looks at no more of it
COST_MAX = 15

_HASH = re.compile(r"^\$2[aby]\$(?P<cost>0[4-9]|1[0-9])\$[./A-Za-z0-9]{53}$")


class Passwords:
    """Knows the users of the configuration.

    Args:
        pepper: What remembered passwords are keyed with, so that memory holds none of them.
    """

    def __init__(self, users: Mapping[str, str | ConfiguredUser], pepper: bytes, clock: Clock) -> None:
        self._users = {name: user for name, one in users.items() if (user := _user(name, one)) is not None}
        self._pepper = pepper
        self._clock = clock
        self._remembered: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._failures: dict[int, deque[float]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        # What a name that nobody has is checked against: it takes as long as the slowest one there is.
        costs = [int(known[4:6]) for known, _ in self._users.values()]
        self._decoy = b"$2b$%02d$" % max(costs, default=12) + b"." * 53

    async def recognise(self, credentials: str) -> Principal:
        """Return who a `Basic` credential (base64 of `name:password`) belongs to.

        Raises:
            Unauthenticated: To nobody; whether it was the name or the password is not said.
            RateLimited: There were too many wrong ones, or too many are being checked.
        """
        name, password = _parsed(credentials)
        token = hmac.digest(self._pepper, name.encode() + b"\0" + password, "sha256")
        if self._is_remembered(token):
            return self._users[name][1]
        # Names share buckets whether anybody has them or not: patience must not tell who exists.
        bucket = int.from_bytes(hmac.digest(self._pepper, name.encode(), "sha256")[:4], "big") % BUCKETS
        self._check_patience(bucket)
        known, principal = self._users.get(name, (self._decoy, None))
        is_right = await self._matches(password, known)
        if principal is None or not is_right:
            self._failures.setdefault(bucket, deque(maxlen=FAILURES_MAX)).append(self._clock.boottime())
            log.info("login_failed", user=name if name in self._users else "unknown")
            raise Unauthenticated("User name or password is wrong.")
        self._remember(token, name)
        return principal

    async def _matches(self, password: bytes, known: bytes) -> bool:
        if self._waiting >= WAITING_MAX:
            raise RateLimited("Too many passwords are being checked; try again in a moment.", retry_after=2)
        self._waiting += 1
        try:
            async with self._room:
                return await asyncio.to_thread(_checked, password, known)
        finally:
            self._waiting -= 1

    def _check_patience(self, bucket: int) -> None:
        failures = self._failures.get(bucket)
        if failures is None or len(failures) < FAILURES_MAX:
            return
        wait_s = failures[0] + FAILURES_S - self._clock.boottime()
        if wait_s > 0:
            raise RateLimited("Too many wrong passwords; wait before trying again.", retry_after=int(wait_s) + 1)

    def _is_remembered(self, token: bytes) -> bool:
        _, until = self._remembered.get(token, ("", 0.0))
        return until > self._clock.boottime()

    def _remember(self, token: bytes, name: str) -> None:
        self._remembered[token] = (name, self._clock.boottime() + REMEMBERED_S)
        self._remembered.move_to_end(token)
        while len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)


def _user(name: str, one: str | ConfiguredUser) -> tuple[bytes, Principal] | None:
    known, roles = (one, ["admin"]) if isinstance(one, str) else (one.password, list(one.roles))
    match = _HASH.match(known)
    if match is None or int(match["cost"]) > COST_MAX or known.endswith("\n"):
        log.warning("auth_user_unusable", user=name, reason=f"not a bcrypt hash of cost 4 to {COST_MAX}")
        return None
    rights = frozenset[str]().union(*(ROLES[role] for role in roles))
    return known.encode(), Principal(id=f"user:{name}", name=name, permissions=rights)


def _parsed(credentials: str) -> tuple[str, bytes]:
    try:
        raw = base64.b64decode(credentials, validate=True)
        name, colon, password = raw.decode().partition(":")
    except (binascii.Error, ValueError):
        colon, name, password = "", "", ""
    if not colon:
        raise Unauthenticated("`Authorization: Basic` is the base64 of `name:password`.")
    return name[:200], password.encode()


def _checked(password: bytes, known: bytes) -> bool:
    is_right = bcrypt.checkpw(password[:PASSWORD_BYTES_MAX].replace(b"\0", b"\xff"), known)
    # Longer passwords and NUL are beyond bcrypt: checked, so that they take as long, and never right.
    return is_right and len(password) <= PASSWORD_BYTES_MAX and b"\0" not in password
