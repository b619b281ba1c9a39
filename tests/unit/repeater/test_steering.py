"""What somebody who watches may ask of a repetition: a pause, a run out of turn, another interval, the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.repeater.virtual import EPOCH_S, Recorder, Script, VirtualMachine

from chronos.repeater.agenda import Agenda, FollowingAgenda, OnBusy, TickingAgenda
from chronos.repeater.engine import Engine, Plan
from chronos.repeater.modes.interval import Interval
from chronos.repeater.modes.jitter import jittered
from chronos.repeater.modes.retries import Exponential
from chronos.repeater.port import ModeInvalid, Moment, Ticking
from chronos.repeater.stops import Fate, Stops, Tally


def quick(_number: int) -> Script:
    return Script()


@dataclass
class Watched(Recorder):
    """A listener that is told of beginnings, too."""

    began_at: list[tuple[int, float]] = field(default_factory=list)

    def began(self, number: int, at: Moment) -> None:
        self.began_at.append((number, at.monotonic_s))


class Bench:
    """A repetition that is steered at given seconds."""

    def __init__(self, agenda: Agenda, script: Callable[[int], Script] = quick, **stops: float) -> None:
        self.machine = VirtualMachine(script)
        self.agenda = agenda
        plan = Plan(("work",), stops=Stops(**stops), grace_s=0.5)  # type: ignore[arg-type]  # the fields of Stops
        self.tally = Tally(plan.stops)
        self.watched = Watched()
        self.engine = Engine(plan, agenda, self.machine, self.tally, [self.watched])

    def at(self, second: float, do: Callable[[Moment], None]) -> Bench:
        self.machine.steers.append((second, do))
        return self

    def starts(self) -> list[float]:
        self.engine.run()
        return [round(start_s, 6) for start_s in self.machine.starts_s]


def every(seconds: float, on_busy: OnBusy = OnBusy.SKIP) -> TickingAgenda:
    return TickingAgenda(Interval(seconds), on_busy=on_busy)


@pytest.mark.parametrize("on_busy", list(OnBusy))
def test_nothing_starts_in_a_pause_and_what_passed_in_it_is_not_made_up_for(on_busy: OnBusy) -> None:
    bench = Bench(every(1, on_busy), times=5)
    bench.at(1.5, bench.engine.pause).at(7.5, bench.engine.resume)
    assert bench.starts() == [0, 1, 8, 9, 10]


def test_a_run_that_is_on_goes_on_in_a_pause_and_the_end_comes_all_the_same() -> None:
    bench = Bench(every(1), lambda number: Script(takes_s=3), for_s=20)
    bench.at(1, bench.engine.pause)
    assert bench.starts() == [0]
    assert bench.watched.reports[0].fate is Fate.OK
    assert bench.machine.now_s == 20


def test_a_pause_that_is_asked_for_twice_is_one() -> None:
    bench = Bench(every(1), times=3)
    for second, do in ((0.2, bench.engine.resume), (0.5, bench.engine.pause), (0.6, bench.engine.pause)):
        bench.at(second, do)
    bench.at(4.5, bench.engine.resume)
    assert bench.starts() == [0, 5, 6]


def test_tries_go_on_where_they_were_after_a_pause() -> None:
    bench = Bench(FollowingAgenda(Exponential(1.0)), lambda number: Script(exit_code=number < 3))
    bench.at(0.5, bench.engine.pause).at(10.0, bench.engine.resume)
    assert bench.starts() == [0, 10, 12]


def test_a_run_out_of_turn_moves_no_other() -> None:
    bench = Bench(every(5), times=4)
    bench.at(2.0, bench.engine.run_now)
    assert bench.starts() == [0, 2, 5, 10]


def test_a_run_out_of_turn_is_possible_in_a_pause_and_counts() -> None:
    bench = Bench(every(1), times=3)
    bench.at(0.5, bench.engine.pause)
    for second in (2.25, 3.25, 4.25):
        bench.at(second, bench.engine.run_now)
    assert bench.starts() == [0, 2.25, 3.25]


def test_a_run_out_of_turn_is_not_started_beside_another() -> None:
    bench = Bench(every(5), lambda number: Script(takes_s=2), times=3)
    bench.at(1.0, bench.engine.run_now)
    assert bench.starts() == [0, 5, 10]
    assert bench.machine.most_at_once == 1


def test_a_try_out_of_turn_takes_the_place_of_the_next_one() -> None:
    bench = Bench(FollowingAgenda(Exponential(4.0, attempts=3)), lambda number: Script(exit_code=1))
    bench.at(1.0, bench.engine.run_now)
    assert bench.starts() == [0, 1, 9]


def test_quitting_ends_the_run_that_is_on_and_leaves_the_verdict_to_the_others() -> None:
    bench = Bench(every(5), lambda number: Script(takes_s=2))
    bench.at(6.0, bench.engine.quit)
    assert bench.starts() == [0, 5]
    assert [report.fate for report in bench.watched.reports] == [Fate.OK, Fate.CUT]
    assert bench.engine.stopped_by is None
    assert bench.tally.is_success()


def test_quitting_twice_does_not_wait_for_the_grace() -> None:
    bench = Bench(every(5), lambda number: Script(takes_s=100, deaf=True))
    bench.at(1.0, bench.engine.quit).at(1.1, bench.engine.quit)
    bench.starts()
    assert bench.machine.killed == [1]
    assert bench.machine.now_s == pytest.approx(1.1)


def test_an_interrupt_is_one_wherever_it_comes_from() -> None:
    bench = Bench(every(5))
    bench.at(1.0, bench.engine.interrupt)
    bench.starts()
    assert bench.engine.stopped_by == 130


def test_who_watches_is_told_of_each_run_before_it_is_started() -> None:
    bench = Bench(every(2), lambda number: Script(missing=number == 2), times=3)
    bench.starts()
    assert bench.watched.began_at == [(1, 0), (2, 2), (3, 4)]


# Another interval.


def test_a_changed_interval_counts_from_the_last_start() -> None:
    mode = Interval(10)
    bench = Bench(TickingAgenda(mode), times=5)
    bench.at(12.0, lambda now: mode.change(3, now))
    assert bench.starts() == [0, 10, 13, 16, 19]


def test_a_shorter_interval_that_is_over_already_starts_at_once_and_only_once() -> None:
    mode = Interval(60)
    bench = Bench(TickingAgenda(mode, on_busy=OnBusy.QUEUE), times=4)
    bench.at(50.0, lambda now: mode.change(1, now))
    assert bench.starts() == [0, 50, 51, 52]


def test_a_longer_interval_takes_the_start_that_was_near_away() -> None:
    mode = Interval(10)
    bench = Bench(TickingAgenda(mode), times=3)
    bench.at(9.0, lambda now: mode.change(60, now))
    assert bench.starts() == [0, 60, 120]


def test_an_interval_that_is_none_changes_nothing() -> None:
    mode = Interval(10)
    mode.first_s(Moment(0, EPOCH_S))
    with pytest.raises(ModeInvalid):
        mode.change(0, Moment(1, EPOCH_S + 1))
    assert mode.tick_s(1, Moment(1, EPOCH_S + 1)) == 10


@given(
    st.lists(st.tuples(st.floats(0.001, 500), st.floats(0.01, 100)), min_size=1, max_size=8),
    st.floats(0.01, 100),
    st.booleans(),
)
def test_however_often_it_is_changed_what_is_due_stays_due_and_what_is_not_does_not_come_twice(
    changes: list[tuple[float, float]], every_s: float, immediate: bool
) -> None:
    mode, now_s = Interval(every_s, immediate=immediate), 0.0
    mode.first_s(Moment(0.0, EPOCH_S))
    for after_s, every_s in changes:
        now_s += after_s
        now = Moment(now_s, EPOCH_S + now_s)
        passed = mode.passed(now)
        mode.change(every_s, now)
        following = mode.tick_s(passed, now)
        rounded = Moment(now_s + 1e-6, EPOCH_S + now_s)
        assert mode.passed(rounded) - passed in (0, 1), "one may be due at once"
        assert now_s - 1e-6 <= following <= now_s + every_s + 1e-6
        assert mode.tick_s(passed + 1, now) - following == pytest.approx(every_s)


def test_jitter_goes_with_a_changed_interval() -> None:
    mode = Interval(10)
    moved = jittered(mode, 0.1, seed=1)
    assert isinstance(moved, Ticking)
    bench = Bench(TickingAgenda(moved), times=4)
    bench.at(12.0, lambda now: mode.change(3, now))
    starts = bench.starts()
    assert starts[2:] == [pytest.approx(13, abs=1.3), pytest.approx(16, abs=0.3)]
