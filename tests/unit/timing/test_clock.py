from __future__ import annotations

import random
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from chronos.timing.clock import DRAWN_AHEAD, SeededChance, Ulids, dice, ulid, ulids

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class At:
    """A clock that stands."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def time(self) -> float:
        return self.seconds

    def boottime(self) -> float:
        return self.seconds


class Counting:
    """Chance that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self._source = random.Random(1)

    def bytes(self, n: int) -> bytes:
        self.asked += 1
        return self._source.randbytes(n)


@given(st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=10))
def test_a_ulid_is_the_millisecond_and_ten_bytes_of_chance_in_crockfords_letters(ms: int, drawn: bytes) -> None:
    class Given:
        def bytes(self, n: int) -> bytes:
            return drawn

    value = (int(ms / 1000 * 1000) << 80) | int.from_bytes(drawn, "big")
    letters = ""
    for _ in range(26):
        value, digit = divmod(value, 32)
        letters = CROCKFORD[digit] + letters

    assert ulid(At(ms / 1000), Given()) == letters


def test_ulids_drawn_together_differ_and_stand_in_the_order_of_their_milliseconds() -> None:
    chance, now = SeededChance(random.Random(1)), datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    earlier, later = (ulids(At(now + shift), chance, 50) for shift in (0.0, 0.001))

    assert len({*earlier, *later}) == 100
    assert max(earlier) < min(later)


def test_ids_drawn_one_by_one_ask_for_chance_once_for_many_and_carry_the_time_of_their_drawing() -> None:
    clock, chance = At(1_800_000_000.0), Counting()
    ids = Ulids(clock, chance)
    drawn = [ids.draw() for _ in range(DRAWN_AHEAD)]
    clock.seconds += 1
    later = ids.draw()

    assert len({*drawn, later}) == DRAWN_AHEAD + 1
    assert chance.asked == 2
    assert later[:10] == ulid(clock, chance)[:10] != drawn[0][:10]


def test_dice_of_one_seed_fall_alike_and_those_of_another_do_not() -> None:
    one, same, other = dice(7), dice(7), dice(8)

    drawn = [one.random() for _ in range(5)]

    assert drawn == [same.random() for _ in range(5)]
    assert drawn != [other.random() for _ in range(5)]
