from __future__ import annotations

import pytest

from chronos.testing import VirtualClock
from chronos.timing.trusted import TrustedClock, kernel_synchronised

BEGIN = 1_800_000_000.0
DAY = 86_400.0


def clocks() -> tuple[VirtualClock, TrustedClock]:
    wall = VirtualClock(BEGIN)
    return wall, TrustedClock(wall)


def test_it_follows_the_wall_clock() -> None:
    wall, trusted = clocks()
    for seconds in (0.0, 0.5, 3_600.0, 10 * DAY):
        wall.advance(seconds)
        assert trusted.time() == wall.time()
    assert trusted.boottime() == wall.boottime()
    assert not trusted.state().held


@pytest.mark.parametrize("step", [-10 * DAY, -3_600.0, -0.5, 0.5, 59.0])
def test_it_follows_small_steps_and_every_step_back(step: float) -> None:
    wall, trusted = clocks()
    wall.step(step)
    assert trusted.time() == wall.time()
    assert (trusted.state().held, trusted.jumps) == (False, 0)


def test_it_notices_a_jump_of_more_than_a_minute_and_goes_along() -> None:
    wall, trusted = clocks()
    wall.step(61)
    assert trusted.time() == wall.time()
    assert (trusted.jumps, trusted.state().held) == (1, False)


def test_a_jump_of_more_than_a_quarter_of_an_hour_is_not_believed() -> None:
    wall, trusted = clocks()
    wall.step(16 * 60)
    wall.advance(100)
    assert trusted.time() == pytest.approx(BEGIN + 100)
    state = trusted.state()
    assert (state.held, state.needs_accept) == (True, False)
    assert state.wall - state.trusted == pytest.approx(16 * 60)
    assert "16" in state.reason or "960" in state.reason


def test_whoever_asks_first_about_a_jump_hears_of_it() -> None:
    wall, trusted = clocks()
    wall.step(3_600)
    state = trusted.state()
    assert (state.held, state.jumps) == (True, 1)
    assert state.trusted == pytest.approx(BEGIN)


def test_sleep_is_no_jump() -> None:
    wall, trusted = clocks()
    wall.suspend(3 * DAY)
    assert trusted.time() == wall.time()
    assert trusted.jumps == 0


def test_held_time_runs_on_and_a_person_ends_it() -> None:
    wall, trusted = clocks()
    wall.step(2 * DAY)
    assert trusted.time() == pytest.approx(BEGIN)
    assert trusted.state().needs_accept
    wall.advance(10)
    assert trusted.time() == pytest.approx(BEGIN + 10)
    trusted.accept()
    assert trusted.time() == wall.time()
    assert (trusted.state().held, trusted.state().reason) == (False, "")


def test_a_minute_of_the_kernels_word_ends_a_hold() -> None:
    wall, trusted = clocks()
    wall.step(3_600)
    trusted.time()
    for _ in range(6):
        trusted.note_synchronised(True)
        wall.advance(10)
        assert trusted.state().held
    trusted.note_synchronised(True)
    assert trusted.time() == wall.time()


def test_the_kernels_word_must_last_a_whole_minute() -> None:
    wall, trusted = clocks()
    wall.step(3_600)
    trusted.time()
    for synchronised in (True, True, False, True, True):
        trusted.note_synchronised(synchronised)
        wall.advance(25)
    trusted.note_synchronised(True)
    assert trusted.state().held


def test_a_jump_of_more_than_a_day_needs_a_person() -> None:
    wall, trusted = clocks()
    wall.step(2 * DAY)
    trusted.time()
    for _ in range(10):
        trusted.note_synchronised(True)
        wall.advance(60)
    assert trusted.state().held


@pytest.mark.parametrize("gap, held", [(0.0, False), (6.9 * DAY, False), (7.1 * DAY, True), (-DAY, False)])
def test_a_gap_at_the_start_of_more_than_a_week_may_be_a_wrong_clock(gap: float, held: bool) -> None:
    wall, trusted = clocks()
    trusted.start_after(BEGIN - gap)
    wall.advance(5)
    assert trusted.state().held is held
    assert trusted.time() == pytest.approx(BEGIN - gap + 5 if held else BEGIN + 5)


def test_a_first_start_knows_no_gap() -> None:
    _, trusted = clocks()
    trusted.start_after(0.0)
    assert not trusted.state().held


def test_the_kernel_can_be_asked() -> None:
    assert kernel_synchronised() in (True, False)


def test_a_held_clock_that_is_set_right_is_believed_again() -> None:
    wall, trusted = clocks()
    wall.step(2 * DAY)
    assert trusted.state().held
    wall.advance(30)
    wall.step(-2 * DAY + 1)
    assert not trusted.state().held
    assert trusted.time() == wall.time() == pytest.approx(BEGIN + 31)


def test_a_held_clock_that_is_set_right_only_in_part_stays_held() -> None:
    wall, trusted = clocks()
    wall.step(2 * DAY)
    trusted.time()
    wall.step(-2 * DAY + 3)
    assert trusted.state().held
    assert trusted.time() == pytest.approx(BEGIN)


def test_a_clock_held_at_the_start_is_believed_once_it_shows_what_may_be_an_outage() -> None:
    wall, trusted = clocks()
    trusted.start_after(BEGIN - 30 * DAY)
    assert trusted.state().held
    wall.step(-27 * DAY)
    assert not trusted.state().held
    assert trusted.time() == wall.time()


def test_the_last_jump_is_told_with_its_size() -> None:
    wall, trusted = clocks()
    wall.step(61)
    trusted.time()
    wall.step(90)
    assert trusted.state().last_jump == pytest.approx(90)
    assert trusted.state().jumps == 2


def test_a_held_clock_that_jumps_on_is_judged_by_the_whole_distance() -> None:
    wall, trusted = clocks()
    wall.step(3_600)
    trusted.time()
    wall.step(2 * DAY)
    state = trusted.state()
    assert (state.needs_accept, state.jumps) == (True, 2)
    assert state.last_jump == pytest.approx(2 * DAY)
    assert f"{2 * DAY + 3_600:.0f} s" in state.reason
    for _ in range(10):
        trusted.note_synchronised(True)
        wall.advance(60)
    assert trusted.state().held
    assert trusted.state().jumps == 2


def test_a_jump_while_held_begins_the_kernels_minute_anew() -> None:
    wall, trusted = clocks()
    wall.step(3_600)
    trusted.time()
    trusted.note_synchronised(True)
    wall.advance(59)
    wall.step(3_600)
    trusted.time()
    trusted.note_synchronised(True)
    wall.advance(59)
    trusted.note_synchronised(True)
    assert trusted.state().held
    wall.advance(2)
    trusted.note_synchronised(True)
    assert not trusted.state().held
