"""The engine on virtual time: when runs start, what ends them, and what came of it."""

from __future__ import annotations

import signal
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.repeater.virtual import EPOCH_S, Recorder, Script, VirtualMachine

from chronos.repeater.agenda import Agenda, FollowingAgenda, OnBusy, TickingAgenda
from chronos.repeater.engine import Engine, Plan
from chronos.repeater.httpaware import HttpRules
from chronos.repeater.modes.cron import Cron
from chronos.repeater.modes.interval import Interval
from chronos.repeater.modes.rate_limit import RateLimit
from chronos.repeater.modes.retries import Exponential
from chronos.repeater.patterns import Patterns, compiled
from chronos.repeater.stops import Fate, Stops, Tally

ARGV = ("work",)


def quick(_number: int) -> Script:
    return Script()


class Bench:
    """An engine with everything around it."""

    def __init__(
        self, agenda: Agenda, script: Callable[[int], Script] = quick, plan: Plan | None = None, *, final: bool = False
    ) -> None:
        self.plan = plan or Plan(ARGV)
        self.machine = VirtualMachine(script)
        self.tally = Tally(self.plan.stops, final=final)
        self.agenda = agenda
        self.recorder = Recorder()
        self.engine = Engine(self.plan, agenda, self.machine, self.tally, [self.recorder])

    def run(self) -> Bench:
        self.engine.run()
        return self

    @property
    def starts_s(self) -> list[float]:
        return [round(start_s, 6) for start_s in self.machine.starts_s]

    @property
    def fates(self) -> list[Fate]:
        return [report.fate for report in self.recorder.reports]


def every(seconds: float, on_busy: OnBusy = OnBusy.SKIP, concurrency: int = 1) -> TickingAgenda:
    return TickingAgenda(Interval(seconds), on_busy=on_busy, concurrency=concurrency)


def stopping(**stops: object) -> Plan:
    return Plan(ARGV, stops=Stops(**stops))  # type: ignore[arg-type]  # the fields of Stops


def test_the_last_run_is_the_end_and_nobody_waits_for_another_tick() -> None:
    bench = Bench(every(3600), plan=stopping(times=3)).run()
    assert bench.starts_s == [0, 3600, 7200]
    assert bench.machine.now_s == 7200


def test_ticks_do_not_drift() -> None:
    bench = Bench(every(0.01), lambda n: Script(takes_s=0.003), stopping(times=10_000)).run()
    assert bench.machine.starts_s[-1] == pytest.approx(99.99, abs=1e-6)


def test_memory_is_bounded_however_many_runs_there_are() -> None:
    bench = Bench(every(0.01), plan=stopping(times=5_000))
    bench.machine.keeps = 0
    bench.recorder.ended = lambda report: None  # type: ignore[method-assign]  # it would keep them all
    tracemalloc.start()
    try:
        bench.run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bench.tally.ended == 5_000
    assert peak < 100_000


@pytest.mark.parametrize(
    ("on_busy", "starts_s", "skipped"),
    [
        (OnBusy.SKIP, [0, 3, 6], 4),
        (OnBusy.QUEUE, [0, 2.5, 5], 0),
        (OnBusy.RESTART, [0, 1, 2], 0),
    ],
)
def test_a_tick_that_finds_a_run_on_is_skipped_queued_or_ends_it(
    on_busy: OnBusy, starts_s: list[float], skipped: int
) -> None:
    bench = Bench(every(1, on_busy), lambda n: Script(takes_s=2.5), stopping(times=3)).run()
    assert bench.starts_s == starts_s
    assert bench.machine.most_at_once == 1
    assert bench.agenda.skipped == skipped


def test_a_run_that_was_restarted_is_no_failure() -> None:
    bench = Bench(every(1, OnBusy.RESTART), lambda n: Script(takes_s=2.5), stopping(times=3)).run()
    assert bench.fates == [Fate.RESTARTED, Fate.RESTARTED, Fate.OK]
    assert bench.tally.is_success()


def test_a_restart_waits_for_what_does_not_want_to_end_and_kills_it_after_grace() -> None:
    plan = Plan(ARGV, stops=Stops(times=2), grace_s=0.4)
    bench = Bench(every(1, OnBusy.RESTART), lambda n: Script(takes_s=9 if n == 1 else 0, deaf=True), plan).run()
    assert bench.starts_s == [0, 1.4]
    assert bench.machine.killed == [1]


def test_as_many_runs_are_on_as_may_be() -> None:
    bench = Bench(every(1, concurrency=3), lambda n: Script(takes_s=2.5), stopping(times=6)).run()
    assert bench.starts_s == [0, 1, 2, 3, 4, 5]
    assert bench.machine.most_at_once == 3


def test_no_run_starts_at_the_end_of_the_time_given() -> None:
    bench = Bench(every(1), plan=stopping(for_s=3.0)).run()
    assert bench.starts_s == [0, 1, 2]
    assert bench.machine.now_s == 3


def test_what_runs_when_the_time_is_up_is_cut_which_is_no_failure() -> None:
    bench = Bench(every(1), lambda n: Script(takes_s=10), stopping(for_s=3.0)).run()
    assert bench.fates == [Fate.CUT]
    assert bench.tally.is_success()
    assert bench.machine.now_s == 3


def test_until_follows_the_wall_clock() -> None:
    bench = Bench(every(60), plan=stopping(until_at=EPOCH_S + 150)).run()
    assert bench.starts_s == [0, 60, 120]
    assert bench.machine.now_s == 150


def test_a_run_that_takes_too_long_is_asked_to_end_and_then_killed() -> None:
    plan = Plan(ARGV, stops=Stops(times=1), timeout_s=2.0, grace_s=0.5)
    bench = Bench(every(1), lambda n: Script(takes_s=100, deaf=True), plan).run()
    assert bench.fates == [Fate.TIMED_OUT]
    assert bench.machine.now_s == 2.5
    [report] = bench.recorder.reports
    assert report.run.timed_out
    assert not bench.tally.is_success()


def test_a_signal_lets_the_run_end_and_a_second_one_does_not() -> None:
    bench = Bench(every(1), lambda n: Script(takes_s=100, deaf=True), Plan(ARGV, grace_s=50))
    bench.machine.signals = [(3.0, signal.SIGINT), (4.0, signal.SIGINT)]
    bench.run()
    assert bench.engine.stopped_by == 130
    assert bench.machine.now_s == 4
    assert bench.fates == [Fate.CUT]


def test_ticks_that_pass_while_the_terminal_has_stopped_us_do_not_come_in_a_burst() -> None:
    for on_busy in OnBusy:
        bench = Bench(every(1, on_busy), plan=stopping(times=5))
        bench.machine.signals = [(1.5, signal.SIGTSTP)]
        bench.machine.suspended_s = 100
        bench.run()
        assert bench.starts_s == [0, 1, 102, 103, 104]


def test_the_time_we_were_stopped_is_not_held_against_a_run() -> None:
    plan = Plan(ARGV, stops=Stops(times=1), timeout_s=5.0)
    # 3 s of work, in the middle of which everything stands still for 100 s.
    bench = Bench(every(1), lambda n: Script(takes_s=103), plan)
    bench.machine.signals = [(1.5, signal.SIGTSTP)]
    bench.machine.suspended_s = 100
    assert bench.run().fates == [Fate.OK]


def test_tries_end_with_the_first_success_and_only_the_last_one_counts() -> None:
    agenda = FollowingAgenda(Exponential(1.0, attempts=5))
    bench = Bench(agenda, lambda n: Script(exit_code=0 if n == 3 else 1), final=True).run()
    assert bench.starts_s == [0, 1, 3]
    assert bench.tally.is_success()
    assert [report.attempt for report in bench.recorder.reports] == [1, 2, 3]


def test_a_child_is_told_which_run_and_try_it_is_and_how_the_last_one_ended() -> None:
    bench = Bench(every(1), lambda n: Script(exit_code=7 if n == 2 else 0), stopping(times=4)).run()
    told = [tuple(env.values()) for env in bench.machine.environments]
    assert list(bench.machine.environments[0]) == ["RPR_RUN", "RPR_ATTEMPT", "RPR_LAST_EXIT"]
    assert told == [("1", "1", ""), ("2", "1", "0"), ("3", "2", "7"), ("4", "1", "0")]


def test_a_command_that_is_not_there_is_a_failed_run_each_time() -> None:
    bench = Bench(every(1), lambda n: Script(missing=True), stopping(times=2)).run()
    assert bench.fates == [Fate.NOT_STARTED] * 2
    assert [(report.run.exit_code, report.reason) for report in bench.recorder.reports] == [
        (127, "work: command not found")
    ] * 2


@pytest.mark.parametrize(
    ("stops", "runs", "success"),
    [
        (Stops(on_success=True), 3, True),
        (Stops(on_failure=True), 1, False),
        (Stops(failures_max=2), 2, False),
        (Stops(failures_max=9, times=5), 5, False),
        (Stops(on_success=True, times=2), 2, False),
    ],
)
def test_runs_stop_when_what_was_waited_for_has_come(stops: Stops, runs: int, success: bool) -> None:
    bench = Bench(every(1), lambda n: Script(exit_code=0 if n == 3 else 1), Plan(ARGV, stops=stops)).run()
    assert bench.tally.ended == runs
    assert bench.tally.is_success() == success


def test_a_change_of_the_output_stops_it_and_is_what_was_wanted() -> None:
    bench = Bench(every(1), lambda n: Script(out=b"new" if n == 4 else b"old"), stopping(on_change=True)).run()
    assert bench.tally.ended == 4
    assert bench.tally.is_success()


def test_a_match_stops_it_whatever_failed_before() -> None:
    plan = Plan(ARGV, stops=Stops(on_match=True), patterns=Patterns(until=compiled("until-match", "ready")))
    bench = Bench(every(1), lambda n: Script(exit_code=1, out=b"ready" if n == 3 else b"wait"), plan).run()
    assert bench.tally.ended == 3
    assert bench.tally.is_success()


def test_an_http_answer_puts_its_wait_in_the_place_of_the_next_tick() -> None:
    busy = b"HTTP/1.1 503 X\nRetry-After: 25\n\n"
    plan = Plan(ARGV, stops=Stops(times=4), http=HttpRules())
    bench = Bench(every(10), lambda n: Script(out=busy if n == 2 else b""), plan).run()
    assert bench.starts_s == [0, 10, 35, 40]


def test_a_short_wait_makes_the_next_run_earlier_than_its_tick() -> None:
    busy = b"HTTP/1.1 503 X\nRetry-After: 2\n\n"
    plan = Plan(ARGV, stops=Stops(times=3), http=HttpRules())
    bench = Bench(every(60), lambda n: Script(out=busy if n == 1 else b""), plan).run()
    assert bench.starts_s == [0, 2, 60]


def test_an_http_answer_never_lets_a_rate_be_exceeded() -> None:
    busy = b"HTTP/1.1 503 X\nRetry-After: 1\n\n"
    plan = Plan(ARGV, stops=Stops(times=3), http=HttpRules())
    bench = Bench(FollowingAgenda(RateLimit("1/60s")), lambda n: Script(out=busy), plan).run()
    assert bench.starts_s == [0, 60, 120]


def test_an_http_answer_moves_no_run_off_the_schedule_of_cron() -> None:
    busy = b"HTTP/1.1 503 X\nRetry-After: 90\n\n"
    plan = Plan(ARGV, stops=Stops(times=3), http=HttpRules())
    bench = Bench(TickingAgenda(Cron("* * * * *", "UTC")), lambda n: Script(out=busy if n == 1 else b""), plan).run()
    first_s = 60 - EPOCH_S % 60
    assert bench.starts_s == [first_s, first_s + 120, first_s + 180]


@given(
    durations=st.lists(st.floats(0, 5), min_size=1, max_size=30),
    on_busy=st.sampled_from(OnBusy),
    concurrency=st.integers(1, 4),
)
def test_whatever_runs_take_no_two_many_are_on_and_no_run_is_early(
    durations: list[float], on_busy: OnBusy, concurrency: int
) -> None:
    bench = Bench(
        every(1, on_busy, concurrency), lambda n: Script(takes_s=durations[n - 1]), stopping(times=len(durations))
    ).run()
    assert bench.machine.most_at_once <= concurrency
    assert bench.tally.ended == len(durations)
    assert all(start_s >= tick - 1e-9 for tick, start_s in enumerate(bench.machine.starts_s))
    if on_busy is OnBusy.SKIP:
        assert all(start_s == int(start_s) for start_s in bench.machine.starts_s)
