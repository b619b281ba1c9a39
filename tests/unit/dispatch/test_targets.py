"""What is made once for each target: found again by the object or its bytes, bounded, and nothing kept of a secret."""

from __future__ import annotations

import msgspec
import pytest

from chronos.dispatch import targets
from chronos.dispatch.targets import ByTarget, Targets, encode_target
from chronos.model.target import HttpTarget, Target


def a_target(name: str = "a") -> HttpTarget:
    return HttpTarget(url=f"http://{name}.test/")


class Making:
    """Makes the URL of a target, and counts."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, target: Target) -> str | None:
        assert isinstance(target, HttpTarget)
        self.made.append(target.url)
        return None if "secret" in target.url else target.url


def test_the_same_target_and_one_with_the_same_bytes_are_made_once() -> None:
    by_target = ByTarget(making := Making())
    first = a_target()
    assert [by_target.of(each) for each in (first, first, a_target(), first)] == ["http://a.test/"] * 4
    assert by_target.of(a_target("b")) == "http://b.test/"
    assert making.made == ["http://a.test/", "http://b.test/"]


def test_another_target_at_the_same_place_in_memory_is_another_target() -> None:
    by_target = ByTarget(Making())
    assert [by_target.of(a_target(str(n))) for n in range(1_000)] == [f"http://{n}.test/" for n in range(1_000)]


def test_what_nothing_is_made_of_is_not_kept() -> None:
    by_target = ByTarget(making := Making())
    secret = a_target("secret")
    assert [by_target.of(secret), by_target.of(secret)] == [None, None]
    assert len(making.made) == 2
    assert "secret" not in repr(vars(by_target)) + repr(vars(by_target._kept))


@pytest.mark.parametrize("count", [10, 11, 50, 500])
def test_no_more_are_kept_than_there_is_room_for_and_all_are_served(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "KEPT_MAX", 10)
    monkeypatch.setattr(targets, "PASSED_MAX", 40)
    by_target, known = ByTarget(Making()), Targets()
    for _ in range(3):
        for n in range(count):
            target = known.of(encode_target(a_target(str(n))))
            assert target == a_target(str(n))
            assert by_target.of(target) == f"http://{n}.test/"
            assert len(by_target._by_object) <= 10
            assert len(by_target._kept.by_bytes) <= 10
            assert len(known._kept.by_bytes) <= 10


def test_who_came_first_keeps_its_place_while_a_few_too_many_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "KEPT_MAX", 10)
    by_target = ByTarget(making := Making())
    kept = [a_target(str(n)) for n in range(12)]
    for _ in range(5):
        for target in kept:
            by_target.of(target)
    assert len(making.made) == 12 + 4 * 2


def test_large_targets_are_not_kept() -> None:
    by_target, known = ByTarget(making := Making()), Targets()
    large = HttpTarget(url="http://a.test/", body="x" * 10_000)
    assert by_target.of(large) == by_target.of(large)
    assert len(making.made) == 2
    assert known.of(encode_target(large)) is not known.of(encode_target(large))


def test_targets_with_the_same_bytes_are_one_object() -> None:
    known = Targets()
    assert known.of(encode_target(a_target())) is known.of(encode_target(a_target()))
    assert known.of(encode_target(a_target("b"))) == a_target("b")


def test_bytes_that_are_no_target_s_are_refused_each_time() -> None:
    known = Targets()
    for _ in range(2):
        with pytest.raises(msgspec.MsgspecError):
            known.of(b"\x81\xa4type\xa5kafka")
