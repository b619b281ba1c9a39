"""Who is let in."""

from __future__ import annotations

import base64
import random
from typing import Any

import bcrypt
import pytest

from chronos.errors import ConfigInvalid, Unauthenticated
from chronos.features.access.model import ApiKeyAsked, ApiKeyRecord, ConfiguredKey, Settings
from chronos.features.access.service import Access, ApiKeyNotFound
from chronos.model.principal import Principal
from chronos.timing.clock import SeededChance

DECLARED = frozenset({"job:read", "job:force", "key:create", "cluster:backup"})
ADMIN = Principal(id="admin", permissions=frozenset({"*"}))


class Time:
    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def time(self) -> float:
        return self.at

    def boottime(self) -> float:
        return self.at


class House:
    """Premises in memory."""

    def __init__(self, *, loopback: bool = True, insecure: bool = False) -> None:
        self.listens_on_loopback = loopback
        self.is_insecure_allowed = insecure
        self.files: dict[str, str] = {}

    def key(self, name: str) -> bytes:
        return name.encode().ljust(32, b"!")

    def keep_once(self, name: str, text: str) -> str:
        return self.files.setdefault(name, text)


class Keys:
    """A collection in memory."""

    def __init__(self) -> None:
        self.records: dict[str, ApiKeyRecord] = {}
        self.writes = 0

    async def get(self, key: str, *, namespace: str = "default") -> ApiKeyRecord | None:
        return self.records.get(key)

    async def put(self, key: str, value: ApiKeyRecord, *, by: str, namespace: str = "default", expect: int = -1) -> int:
        self.records[key] = value
        self.writes += 1
        return 1

    async def delete(self, key: str, *, by: str, namespace: str = "default") -> bool:
        return self.records.pop(key, None) is not None

    async def items(self, *, namespace: str | None = None) -> list[tuple[str, ApiKeyRecord]]:
        return sorted(self.records.items())


def access(
    settings: Settings | None = None, house: House | None = None, keys: Keys | None = None
) -> tuple[Access, Any]:
    clock = Time()
    chance = SeededChance(random.Random(7))
    made = Access(
        settings or Settings(), house or House(), keys or Keys(), clock=clock, chance=chance, declared=lambda: DECLARED
    )
    return made, clock


@pytest.mark.parametrize(
    ("settings", "loopback", "insecure", "is_open"),
    [
        (Settings(), True, False, True),
        (Settings(), False, False, False),
        (Settings(type="none"), True, False, True),
        (Settings(type="none"), False, True, True),
        (Settings(type="api_key"), True, False, False),
        (Settings(type="basic"), True, False, False),
        (Settings(enabled=True), True, False, False),
        (Settings(type="none", enabled=True), True, False, False),
        (Settings(users={"a": "$2y$"}), True, False, False),
    ],
)
def test_the_door_is_open_on_loopback_only(settings: Settings, loopback: bool, insecure: bool, is_open: bool) -> None:
    made, _ = access(settings, House(loopback=loopback, insecure=insecure))

    assert made.is_open is is_open


def test_an_open_door_to_the_network_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="--insecure"):
        access(Settings(type="none"), House(loopback=False))


@pytest.mark.asyncio
async def test_a_stranger_is_let_in_only_where_the_door_is_open() -> None:
    opened, _ = access()
    locked, _ = access(Settings(type="api_key"))

    assert (await opened.recognise({})).id == "anonymous"
    with pytest.raises(Unauthenticated):
        await locked.recognise({})


@pytest.mark.asyncio
async def test_a_wrong_key_is_refused_even_where_no_key_is_needed() -> None:
    opened, _ = access()

    for headers in ({"x-api-key": "nonsense"}, {"authorization": "Basic YTpi"}):
        with pytest.raises(Unauthenticated):
            await opened.recognise(headers)


@pytest.mark.asyncio
async def test_the_admin_key_of_the_first_start_stays_the_same() -> None:
    house = House()
    access(Settings(type="api_key"), house)
    key = house.files["admin.key"].strip()
    again, _ = access(Settings(type="api_key"), house)

    principal = await again.recognise({"authorization": f"Bearer {key}"})
    assert (principal.id, principal.permissions) == ("admin", frozenset({"*"}))


def test_an_admin_key_that_is_none_is_told() -> None:
    house = House()
    house.files["admin.key"] = "password"

    with pytest.raises(ConfigInvalid, match=r"admin\.key"):
        access(house=house)


@pytest.mark.asyncio
async def test_a_key_of_the_configuration_has_its_roles() -> None:
    text = "0123456789abcdef0123456789abcdef"
    made, _ = access(Settings(api_keys=[ConfiguredKey(name="ci", key=text, roles=["viewer"])]))

    principal = await made.recognise({"x-api-key": text})
    assert (principal.id, principal.may("job:read"), principal.may("job:create")) == ("config:ci", True, False)


@pytest.mark.asyncio
async def test_a_key_opens_until_it_expires() -> None:
    made, clock = access(Settings(type="api_key"))
    record, key = await made.create(ApiKeyAsked(name="a", permissions=["job:read"]), ADMIN)

    assert (await made.recognise({"x-api-key": key})).id == f"key:{record.id}"
    clock.at = record.expires_at.timestamp()
    with pytest.raises(Unauthenticated, match="expired"):
        await made.recognise({"x-api-key": key})


@pytest.mark.asyncio
async def test_a_revoked_key_opens_nothing_any_more() -> None:
    made, _ = access(Settings(type="api_key"))
    record, key = await made.create(ApiKeyAsked(name="a"), ADMIN)
    await made.revoke(record.id, ADMIN)

    with pytest.raises(Unauthenticated):
        await made.recognise({"x-api-key": key})
    with pytest.raises(ApiKeyNotFound):
        await made.revoke(record.id, ADMIN)


@pytest.mark.asyncio
async def test_what_is_kept_of_a_key_does_not_open_anything() -> None:
    keys = Keys()
    made, _ = access(Settings(type="api_key"), keys=keys)
    record, key = await made.create(ApiKeyAsked(name="a"), ADMIN)

    assert key not in repr(keys.records)
    assert key.split("_")[3] not in repr(keys.records)
    with pytest.raises(Unauthenticated):
        await made.recognise({"x-api-key": record.digest})


@pytest.mark.asyncio
async def test_the_last_use_is_noted_now_and_then_and_not_every_time() -> None:
    keys = Keys()
    made, clock = access(Settings(type="api_key"), keys=keys)
    record, key = await made.create(ApiKeyAsked(name="a"), ADMIN)
    for _ in range(10):
        clock.at += 1
        await made.recognise({"x-api-key": key})
    first = keys.records[record.id].last_used_at
    clock.at += 600
    await made.recognise({"x-api-key": key})

    assert keys.writes == 3
    assert first is not None
    assert keys.records[record.id].last_used_at != first


def _basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.mark.asyncio
async def test_users_are_asked_for_their_password_where_the_type_is_basic() -> None:
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    house = House()
    made, _ = access(Settings(type="basic", users={"ann": hashed}), house)

    assert (await made.recognise(_basic("ann", "right"))).id == "user:ann"
    with pytest.raises(Unauthenticated):
        await made.recognise(_basic("ann", "wrong"))
    with pytest.raises(Unauthenticated):
        await made.recognise({})
    assert (await made.recognise({"x-api-key": house.files["admin.key"].strip()})).id == "admin"


@pytest.mark.asyncio
async def test_passwords_are_not_looked_at_where_keys_are_asked_for() -> None:
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    made, _ = access(Settings(type="api_key", users={"ann": hashed}))

    with pytest.raises(Unauthenticated):
        await made.recognise(_basic("ann", "right"))
