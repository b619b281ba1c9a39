"""What a key looks like, and who may make which."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.errors import Denied, Unprocessable
from chronos.features.access.rules import (
    ROLES,
    SECRET_CHARS,
    check_known,
    digest,
    format_key,
    grant,
    id_of,
    key_from,
    lifetime,
)
from chronos.model.principal import Principal

NOW = datetime(2027, 1, 1, tzinfo=UTC)
LETTERS = string.ascii_letters + string.digits + "_-"


@given(raw=st.binary(min_size=48, max_size=48))
def test_a_key_carries_its_id_and_is_of_one_shape(raw: bytes) -> None:
    key_id, key = format_key("live", raw)

    assert id_of(key) == key_id
    prefix, environment, middle, secret, check = key.split("_")
    assert (prefix, environment, middle) == ("chr", "live", key_id)
    assert (len(key_id), len(secret), len(check)) == (8, SECRET_CHARS, 6)


def test_every_single_mistyped_character_is_noticed_before_anything_is_looked_up() -> None:
    _, key = format_key("live", bytes(range(48)))

    for place, right in enumerate(key):
        for wrong in LETTERS:
            if wrong != right:
                assert id_of(key[:place] + wrong + key[place + 1 :]) is None


@pytest.mark.parametrize("text", ["", "chr_live", "x" * 10_000, "chr_live_" + "a" * 8 + "_" + "b" * 32 + "_" + "c" * 6])
def test_what_is_not_a_key_has_no_id(text: str) -> None:
    assert id_of(text) is None


def test_a_key_with_something_behind_it_is_no_key() -> None:
    _, key = format_key("live", bytes(48))

    assert id_of(key)
    assert id_of(key + "\n") is None
    assert id_of(" " + key) is None


def test_a_digest_depends_on_the_pepper() -> None:
    assert digest(b"a" * 32, "k") != digest(b"b" * 32, "k")
    assert digest(b"a" * 32, "k") == digest(b"a" * 32, "k")


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"authorization": "Bearer abc"}, "abc"),
        ({"authorization": "bearer  abc "}, "abc"),
        ({"x-api-key": "abc"}, "abc"),
        ({"authorization": "Basic abc"}, None),
        ({"authorization": "Bearer "}, None),
        ({}, None),
    ],
)
def test_a_key_comes_in_two_headers_and_no_other(headers: dict[str, str], key: str | None) -> None:
    assert key_from(headers) == key


def holder(*permissions: str) -> Principal:
    return Principal(id="key:a", permissions=frozenset(permissions))


@pytest.mark.parametrize(
    ("has", "asks", "gets"),
    [
        (["*"], ["*"], True),
        (["*"], ["job:*", "key:create"], True),
        (["job:*"], ["job:read"], True),
        (["job:*"], ["job:*"], True),
        (["job:read"], ["job:*"], False),
        (["job:read"], ["job:create"], False),
        (["job:*"], ["*"], False),
        (["job:read"], ["job:read", "key:create"], False),
    ],
)
def test_nobody_gives_away_what_he_has_not(has: list[str], asks: list[str], gets: bool) -> None:
    if gets:
        assert grant(holder(*has), asks) == sorted(asks)
    else:
        with pytest.raises(Denied):
            grant(holder(*has), asks)


@pytest.mark.parametrize("asked", ["*", "job:*", "job:read", "key:create"])
def test_a_permission_that_a_route_asks_for_is_known_and_so_are_its_family_and_all(asked: str) -> None:
    check_known([asked], {"job:read", "key:create"})


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("nope:nope", "no permission `nope:nope`"),
        ("nope:*", r"no permission `nope:\*`"),
        ("job:reed", "Did you mean `job:read`"),
        ("jobs:*", r"Did you mean `job:\*`"),
    ],
)
def test_a_permission_that_nobody_asks_for_is_refused_with_the_nearest_one(asked: str, said: str) -> None:
    with pytest.raises(Unprocessable, match=said):
        check_known(["job:read", asked], {"job:read", "key:create"})


def test_a_key_that_asks_for_nothing_may_look() -> None:
    assert set(grant(holder("*"), [])) == ROLES["viewer"]


def test_every_role_holds_the_one_below_it() -> None:
    assert ROLES["viewer"] < ROLES["developer"] < ROLES["operator"]
    assert not any(one.startswith(("key:", "admin:")) or one == "job:process" for one in ROLES["operator"])


def test_a_key_lives_a_year_at_most() -> None:
    assert lifetime(NOW, None) == NOW + timedelta(days=365)
    assert lifetime(NOW, NOW + timedelta(hours=1)) == NOW + timedelta(hours=1)
    for wrong in (NOW, NOW - timedelta(days=1), NOW + timedelta(days=365, seconds=1)):
        with pytest.raises(Unprocessable):
            lifetime(NOW, wrong)
