"""How commits are spaced."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from chronos.store.batch import Pace, Queue, Submission
from chronos.store.commands import Catchup, Command, DeleteJob, NewLeader, Settle, Start

COMMIT_S = 0.001


def a_pace() -> Pace:
    return Pace(0.005, 0.012, busy_at=50)


def commits(pace: Pace, count: int, *, is_patient: bool) -> list[float]:
    """Return when so many commits were made, one as soon as it may after the other."""
    now, made = 100.0, []
    for _ in range(count):
        now += pace.wait_s(now, is_patient=is_patient)
        pace.note(now)
        made.append(now)
        now += COMMIT_S
    return made


def test_a_log_that_is_not_busy_never_waits() -> None:
    made = commits(a_pace(), 51, is_patient=True)
    assert made[-1] - made[0] == pytest.approx(50 * COMMIT_S)


@pytest.mark.parametrize(("is_patient", "spacing_s"), [(False, 0.005), (True, 0.012)])
def test_a_busy_log_commits_at_most_once_in_each_spacing_second_after_second(
    *, is_patient: bool, spacing_s: float
) -> None:
    made = commits(a_pace(), 1_000, is_patient=is_patient)
    assert all(later - earlier == pytest.approx(spacing_s) for earlier, later in pairwise(made[51:]))


def test_somebody_impatient_shortens_the_wait() -> None:
    pace = a_pace()
    now = commits(pace, 100, is_patient=True)[-1] + COMMIT_S
    assert pace.wait_s(now, is_patient=True) == pytest.approx(0.011)
    assert pace.wait_s(now, is_patient=False) == pytest.approx(0.004)
    assert pace.wait_s(now + 0.004, is_patient=False) == pytest.approx(0.0)


def test_a_log_that_is_busy_no_longer_stops_waiting_within_two_seconds() -> None:
    pace = a_pace()
    now = commits(pace, 100, is_patient=False)[-1] + 2.0
    for _ in range(50):
        assert pace.wait_s(now, is_patient=True) == 0.0
        pace.note(now)
        now += COMMIT_S


def test_only_the_scheduler_is_patient() -> None:
    queue = Queue(100, 1 << 20, 1 << 20)
    loop = asyncio.new_event_loop()
    try:
        queue.put(Submission([Start([]), Settle([])], loop.create_future()))
        assert queue.is_patient
        queue.put(Submission([Start([]), NewLeader("n1", "n1-1")], loop.create_future()))
        assert not queue.is_patient
        queue.take(100, 1 << 20)
        assert queue.is_patient
    finally:
        loop.close()


def test_it_is_known_when_somebody_outside_last_had_something_written() -> None:
    queue = Queue(100, 1 << 20, 1 << 20)
    loop = asyncio.new_event_loop()
    commands: list[Command] = [NewLeader("n1", "n1#1"), Start([]), Catchup(0, "", "", 0)]
    for since_s, command in enumerate(commands, 1):
        queue.put(Submission([command], loop.create_future(), since_s=since_s))
    assert queue.asked_s == float("-inf")
    queue.put(Submission([DeleteJob("J1", "ann")], loop.create_future(), since_s=7))
    queue.put(Submission([Start([])], loop.create_future(), since_s=8))
    assert queue.asked_s == 7
    loop.close()
