"""Recognises callers, and makes and revokes their keys."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog
from msgspec.structs import replace

from chronos.errors import ConfigInvalid, Invalid, NotFound, QuotaExceeded, Unauthenticated, Unavailable
from chronos.features.access.model import ApiKeyAsked, ApiKeyRecord, Settings
from chronos.features.access.passwords import Passwords
from chronos.features.access.rules import ROLES, check_known, digest, format_key, grant, id_of, key_from, lifetime
from chronos.model.premises import Premises
from chronos.model.principal import ANONYMOUS, Principal
from chronos.plugin import Collection
from chronos.timing.clock import Chance, Clock, utc

log = structlog.get_logger("chronos.access")

KEYS_MAX = 1_000
ID_TRIES = 8
USED_EVERY = timedelta(minutes=10)
PEPPER = "api-key-pepper"
ADMIN_FILE = "admin.key"
BASIC_CHARS_MAX = 1_024


class ApiKeyNotFound(NotFound):
    """There is no such API key."""


class Access:
    """The authenticator, and the keys it knows.

    Keys are looked up in the replicated state at every request, so a revoked one is refused at once.

    Args:
        declared: Returns the permissions that routes ask for.
    """

    def __init__(
        self,
        settings: Settings,
        premises: Premises,
        keys: Collection[ApiKeyRecord],
        *,
        clock: Clock,
        chance: Chance,
        declared: Callable[[], frozenset[str]],
    ) -> None:
        self._declared = declared
        self._keys = keys
        self._clock = clock
        self._chance = chance
        self._environment = settings.environment
        self._pepper = premises.key(PEPPER)
        self.is_open = _is_open(settings, premises)
        self._fixed = self._fixed_keys(settings, premises)
        self._passwords = _passwords(settings, self.is_open, self._pepper, clock)

    def _fixed_keys(self, settings: Settings, premises: Premises) -> dict[str, Principal]:
        """Digest → principal of the admin key and of the keys in the configuration."""
        _, fresh = format_key(settings.environment, self._chance.bytes(48))
        admin = premises.keep_once(ADMIN_FILE, fresh).strip()
        if id_of(admin) is None:
            raise ConfigInvalid(
                f"`{ADMIN_FILE}` in the data folder is not a key; remove it, and the next start writes one."
            )
        everything = Principal(id="admin", name="admin", permissions=ROLES["admin"])
        fixed = {digest(self._pepper, admin): everything}
        for one in settings.api_keys:
            rights = frozenset().union(*(ROLES[role] for role in one.roles))
            fixed[digest(self._pepper, one.key)] = Principal(id=f"config:{one.name}", name=one.name, permissions=rights)
        return fixed

    async def recognise(self, headers: Mapping[str, str]) -> Principal:
        """See `Authenticator`."""
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if self._passwords is not None and scheme.lower() == "basic":
            return await self._passwords.recognise(credentials.strip()[:BASIC_CHARS_MAX])
        key = key_from(dict(headers))
        if key is None:
            if self.is_open and "authorization" not in headers:
                return replace(ANONYMOUS, permissions=ROLES["admin"])
            raise Unauthenticated
        given = digest(self._pepper, key[:512])
        for known, principal in self._fixed.items():
            if hmac.compare_digest(known, given):
                return principal
        return await self._by_record(key, given)

    async def _by_record(self, key: str, given: str) -> Principal:
        key_id = id_of(key)
        record = await self._keys.get(key_id) if key_id else None
        # A key we do not have takes as long as one we have.
        known = hmac.compare_digest(record.digest if record else "0" * 64, given)
        if record is None or not known:
            raise Unauthenticated("This key is not known here.")
        now = self._now()
        if record.expires_at <= now:
            raise Unauthenticated(f"This key expired at {record.expires_at.isoformat()}.")
        await self._note_use(record, now)
        return Principal(id=f"key:{record.id}", name=record.name, permissions=frozenset(record.permissions))

    async def _note_use(self, record: ApiKeyRecord, now: datetime) -> None:
        if record.last_used_at is not None and now - record.last_used_at < USED_EVERY:
            return
        try:
            await self._keys.put(record.id, replace(record, last_used_at=now), by="access")
        except Unavailable:
            return  # a server that cannot write still lets its readers in

    async def create(self, asked: ApiKeyAsked, principal: Principal) -> tuple[ApiKeyRecord, str]:
        """Make a key; return its record and the key itself, which is shown this once.

        Raises:
            Unprocessable: There is no such permission.
            Denied: It would be allowed more than its creator.
            QuotaExceeded: There are 1,000 keys.
        """
        now = self._now()
        check_known(asked.permissions, self._declared() | ROLES["operator"])
        permissions, expires_at = grant(principal, asked.permissions), lifetime(now, asked.expires_at)
        if not asked.name.isprintable():
            raise Invalid("`name` has characters that cannot be shown.", field="name")
        if len(await self._keys.items()) >= KEYS_MAX:
            raise QuotaExceeded(f"There are {KEYS_MAX} API keys already; revoke some first.")
        key_id, key = await self._fresh_key()
        record = ApiKeyRecord(
            id=key_id,
            name=asked.name,
            digest=digest(self._pepper, key),
            permissions=permissions,
            created_at=now,
            created_by=principal.id,
            expires_at=expires_at,
        )
        await self._keys.put(key_id, record, by=principal.id, expect=0)
        return record, key

    async def _fresh_key(self) -> tuple[str, str]:
        for _ in range(ID_TRIES):
            key_id, key = format_key(self._environment, self._chance.bytes(48))
            if await self._keys.get(key_id) is None:
                return key_id, key
        raise Unavailable("No free key id was found; ask again.")

    async def all(self) -> list[ApiKeyRecord]:
        """Return every key's record, oldest first."""
        return sorted((record for _, record in await self._keys.items()), key=lambda record: record.created_at)

    async def get(self, key_id: str) -> ApiKeyRecord:
        """Return a key's record; raises ApiKeyNotFound."""
        record = await self._keys.get(key_id)
        if record is None:
            raise ApiKeyNotFound
        return record

    async def revoke(self, key_id: str, principal: Principal) -> ApiKeyRecord:
        """Make a key useless, from the next request on; raises ApiKeyNotFound."""
        record = await self.get(key_id)
        await self._keys.delete(key_id, by=principal.id)
        return record

    def _now(self) -> datetime:
        return utc(self._clock.time())


def _passwords(settings: Settings, is_open: bool, pepper: bytes, clock: Clock) -> Passwords | None:
    if not settings.users:
        if settings.type == "basic":
            log.warning("auth_users_missing", reason="`auth.type: basic` without `auth.users` lets only API keys in")
        return None
    if is_open or settings.type == "api_key":
        log.warning("auth_users_ignored", reason="`auth.type` is not `basic`, so passwords are not looked at")
        return None
    return Passwords(settings.users, pepper, clock)


def _is_open(settings: Settings, premises: Premises) -> bool:
    kind = settings.type
    if kind is None:
        asked = settings.enabled or settings.api_keys or settings.users
        kind = "api_key" if asked or not premises.listens_on_loopback else "none"
    is_open = kind == "none" and not settings.enabled
    if is_open and not premises.listens_on_loopback:
        if not premises.is_insecure_allowed:
            raise ConfigInvalid(
                "`auth.type: none` would let everybody on the network in. Listen on 127.0.0.1, set "
                "`auth.type: api_key`, or say `--insecure` if you mean it.",
                field="auth.type",
            )
        log.warning("insecure", reason="everybody who reaches the listener may do everything")
    return is_open
