"""What becomes of ticks, where the engine's tests on virtual time do not look."""

from __future__ import annotations

import pytest

from chronos.repeater.agenda import OnBusy, Step, TickingAgenda
from chronos.repeater.modes.interval import Interval
from chronos.repeater.port import Moment, Run


def at(seconds: float) -> Moment:
    return Moment(seconds, 1_700_000_000 + seconds)


def ended(agenda: TickingAgenda, began_s: float, ended_s: float) -> None:
    agenda.ended(Run(1, began_s, ended_s, 0, True, 0), at(ended_s), is_last=False)


@pytest.mark.parametrize("on_busy", OnBusy)
def test_ticks_that_passed_while_the_machine_slept_are_one_run(on_busy: OnBusy) -> None:
    agenda = TickingAgenda(Interval(1), on_busy=on_busy)
    agenda.begin(at(0))
    assert agenda.step(at(0), 0) is Step.START
    ended(agenda, 0, 0.5)
    assert agenda.step(at(100.5), 0) is Step.START
    ended(agenda, 100.5, 100.6)
    assert agenda.step(at(100.6), 0) is Step.WAIT
    assert agenda.wake_s(0) == 101
    assert agenda.skipped == 99


def test_what_is_queued_comes_as_soon_as_there_is_a_place() -> None:
    agenda = TickingAgenda(Interval(1), on_busy=OnBusy.QUEUE)
    agenda.begin(at(0))
    assert agenda.step(at(0), 0) is Step.START
    assert agenda.wake_s(1) is None
    ended(agenda, 0, 3.5)
    assert [agenda.step(at(3.5), running) for running in (0, 1, 0, 0, 0)] == [
        Step.START, Step.WAIT, Step.START, Step.START, Step.WAIT,
    ]  # fmt: skip
