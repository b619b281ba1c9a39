"""How commits are spaced."""

from __future__ import annotations

from itertools import pairwise

from chronos.store.batch import Pace


def test_a_log_that_is_not_busy_never_waits() -> None:
    pace = Pace(0.005, busy_at=50)
    assert [pace.wait_s(100 + n * 0.001) for n in range(50)] == [0.0] * 50


def test_a_busy_log_commits_at_most_once_in_each_spacing() -> None:
    pace, now, commits = Pace(0.005, busy_at=50), 100.0, []
    for _ in range(200):
        now += pace.wait_s(now)
        commits.append(now)
        now += 0.001  # how long a commit takes
    assert all(later - earlier > 0.0049 for earlier, later in pairwise(commits[50:]))
    assert commits[49] < 100.05


def test_a_log_that_stays_busy_waits_from_the_first_commit_of_a_second_on() -> None:
    pace, now, commits = Pace(0.005, busy_at=50), 100.0, []
    for _ in range(1_000):
        now += pace.wait_s(now)
        commits.append(now)
        now += 0.001
    assert all(later - earlier > 0.0049 for earlier, later in pairwise(commits[50:]))


def test_a_log_that_is_busy_no_longer_stops_waiting_within_two_seconds() -> None:
    pace = Pace(0.005, busy_at=50)
    now = 100.0
    for _ in range(100):
        now += pace.wait_s(now) + 0.001
    assert pace.wait_s(now + 2.0) == 0.0
    assert pace.wait_s(now + 2.001) == 0.0
