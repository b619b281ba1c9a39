"""Who is let in with a name and a password."""

from __future__ import annotations

import asyncio
import base64

import bcrypt
import pytest
import structlog

from chronos.errors import RateLimited, Unauthenticated
from chronos.features.access.model import ConfiguredUser
from chronos.features.access.passwords import FAILURES_MAX, FAILURES_S, REMEMBERED_S, WAITING_MAX, Passwords

PEPPER = b"p" * 32


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


ANN = hashed("right")
USERS: dict[str, str | ConfiguredUser] = {"ann": ANN, "bob": ConfiguredUser(password=ANN, roles=["viewer"])}


class Time:
    at = 1_000.0

    def time(self) -> float:
        return self.at

    def boottime(self) -> float:
        return self.at


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What bcrypt was asked, in order."""
    asked: list[bytes] = []
    real = bcrypt.checkpw

    def counting(password: bytes, known: bytes) -> bool:
        asked.append(known)
        return real(password, known)

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    return asked


def said(name: str, password: str) -> str:
    return base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.mark.asyncio
async def test_a_user_without_roles_is_an_administrator_and_one_with_roles_has_theirs() -> None:
    passwords = Passwords(USERS, PEPPER, Time())

    ann = await passwords.recognise(said("ann", "right"))
    bob = await passwords.recognise(said("bob", "right"))

    assert (ann.id, ann.may("job:delete")) == ("user:ann", True)
    assert (bob.id, bob.may("job:read"), bob.may("job:delete")) == ("user:bob", True, False)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "credentials",
    [
        said("ann", "wrong"),
        said("ann", ""),
        said("eve", "right"),
        said("ann", "right" + "x" * 80),
        said("ann", "right\0"),
        base64.b64encode(b"ann").decode(),
        base64.b64encode(b"\xff\xfe:x").decode(),
        "not base64!",
        "",
    ],
)
async def test_whatever_else_is_said_nobody_is_let_in(credentials: str) -> None:
    with pytest.raises(Unauthenticated):
        await Passwords(USERS, PEPPER, Time()).recognise(credentials)


@pytest.mark.asyncio
async def test_a_name_that_nobody_has_costs_what_a_wrong_password_costs_and_reads_alike(checks: list[bytes]) -> None:
    passwords = Passwords(USERS, PEPPER, Time())
    answers = []

    for name in ("ann", "eve"):
        with pytest.raises(Unauthenticated) as refused:
            await passwords.recognise(said(name, "wrong"))
        answers.append(str(refused.value))

    assert answers[0] == answers[1]
    assert [known[:7] for known in checks] == [b"$2b$04$", b"$2b$04$"]


@pytest.mark.asyncio
async def test_a_right_password_is_computed_once_a_minute(checks: list[bytes]) -> None:
    clock = Time()
    passwords = Passwords(USERS, PEPPER, clock)

    for _ in range(5):
        await passwords.recognise(said("ann", "right"))
    assert len(checks) == 1
    clock.at += REMEMBERED_S + 1
    await passwords.recognise(said("ann", "right"))
    assert len(checks) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["ann", "nobody"])
async def test_who_keeps_guessing_has_to_wait_whether_the_name_exists_or_not(name: str, checks: list[bytes]) -> None:
    clock = Time()
    passwords = Passwords(USERS, PEPPER, clock)
    for _ in range(FAILURES_MAX):
        with pytest.raises(Unauthenticated):
            await passwords.recognise(said(name, "wrong"))

    with pytest.raises(RateLimited) as refused:
        await passwords.recognise(said(name, "right"))
    assert len(checks) == FAILURES_MAX, "no further hash is computed for them"
    assert refused.value.facts["retry_after"] <= FAILURES_S + 1  # type: ignore[operator]

    clock.at += FAILURES_S + 1
    with pytest.raises(Unauthenticated):
        await passwords.recognise(said(name, "wrong"))


@pytest.mark.asyncio
async def test_guessing_does_not_lock_out_who_is_in_already() -> None:
    passwords = Passwords(USERS, PEPPER, Time())
    await passwords.recognise(said("ann", "right"))

    for _ in range(FAILURES_MAX + 1):
        with pytest.raises((Unauthenticated, RateLimited)):
            await passwords.recognise(said("ann", "wrong"))

    assert (await passwords.recognise(said("ann", "right"))).id == "user:ann"


@pytest.mark.asyncio
async def test_a_crowd_is_bounded() -> None:
    users: dict[str, str | ConfiguredUser] = {f"user{n}": ANN for n in range(3 * WAITING_MAX)}
    passwords = Passwords(users, PEPPER, Time())

    answers = await asyncio.gather(
        *(passwords.recognise(said(name, "wrong")) for name in users), return_exceptions=True
    )

    kinds = [type(answer) for answer in answers]
    assert kinds.count(RateLimited) == len(users) - WAITING_MAX
    assert kinds.count(Unauthenticated) == WAITING_MAX


@pytest.mark.asyncio
async def test_a_hash_that_is_none_lets_nobody_in_and_is_told() -> None:
    with structlog.testing.capture_logs() as told:
        passwords = Passwords({"a": "plain", "b": ANN[:30], "c": ANN.replace("$04$", "$31$")}, PEPPER, Time())

    assert [line["user"] for line in told] == ["a", "b", "c"]
    for name in "abc":
        with pytest.raises(Unauthenticated):
            await passwords.recognise(said(name, "right"))
