"""Lines of those that wait: whoever comes in whatever order, the first in order is the next."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dispatch.fakes import a_delivery

from chronos.dispatch.held import SOON_US, Held, HostLines, Line, Place, Stage, crowds_in


@given(st.lists(st.one_of(st.integers(0, 50), st.none())))
def test_a_line_gives_out_the_first_in_order_whatever_the_order_they_came_in(steps: list[int | None]) -> None:
    line, waiting = Line(), []
    for number, step in enumerate(steps):
        if step is not None:
            place = (step, number, Held(a_delivery(), number, 0, None))
            line.add(place)
            waiting.append(place)
        elif waiting:
            assert line.first() is min(waiting)
            assert line.pop() is min(waiting)
            waiting.remove(min(waiting))
        assert line.size == len(waiting)
    assert [line.pop() for _ in range(len(waiting))] == sorted(waiting)
    assert line.size == 0


@given(st.lists(st.integers(0, 50)), st.integers(0, 50))
def test_all_up_to_a_point_are_taken_out_at_once(steps: list[int], upto: int) -> None:
    line = Line()
    places = [(step, number, Held(a_delivery(), number, 0, None)) for number, step in enumerate(steps)]
    for place in places:
        line.add(place)
    taken = line.take(upto)
    assert sorted(taken) == sorted(place for place in places if place[0] <= upto)
    assert [line.pop() for _ in range(line.size)] == sorted(place for place in places if place[0] > upto)


@given(st.lists(st.tuples(st.sampled_from(["come", "go", "end", "drop"]), st.integers(0, 2)), max_size=200))
def test_no_more_run_at_a_host_than_may_and_nobody_who_waits_is_forgotten(steps: list[tuple[str, int]]) -> None:
    hosts = HostLines(per_host_max=3)
    held: list[Held] = []
    running: list[Held] = []
    waiting: list[Held] = []

    def let(place: Place) -> None:
        one = place[2]
        if hosts.may_go(place):
            one.stage = Stage.RUNNING
            running.append(one)
        else:
            waiting.append(one)

    for number, (step, host) in enumerate(steps):
        if step == "come":
            delivery = a_delivery(url=f"http://h{host}.test/")
            held.append(Held(delivery, number, number, hosts.of(delivery)))
        elif step == "go" and (free := [one for one in held if one.stage is Stage.HELD and one not in waiting]):
            let((free[0].due_us, free[0].number, free[0]))
        elif step == "end" and running:
            one = running.pop(0)
            one.stage = Stage.ENDED
            assert one.host is not None
            place = hosts.leave(one.host)
            hosts.forget(one.host)
            held.remove(one)
            if place is not None:
                waiting.remove(place[2])
                let(place)
        elif step == "drop" and waiting:
            one = waiting.pop(0)
            one.stage = Stage.DROPPED
            assert one.host is not None
            hosts.forget(one.host)
            held.remove(one)
        by_host = Counter(one.host for one in running)
        assert all(count <= 3 for count in by_host.values())
        assert all(by_host[one.host] == 3 for one in waiting), "somebody waits beside a free place"
        assert hosts.waiting >= len(waiting)
    assert bool(hosts.waiting) >= bool(waiting)
    assert len(hosts._hosts) == len({one.host for one in held})


@pytest.mark.parametrize(
    ("due_us", "hosts", "found"),
    [
        ([7] * 40, ["a"] * 40, [40]),
        ([7] * 40, ["a", "b"] * 20, []),
        ([7] * 40 + [8] * 50 + [9] * 10, ["a"] * 100, [40, 50]),
        ([7] * 80, ["a"] * 40 + ["b"] * 40, [40, 40]),
        (list(range(1, 101)), ["a"] * 100, []),
        ([7] * 31, ["a"] * 31, []),
        ([0] * 40, ["a"] * 40, []),
        ([SOON_US + 1] * 40, ["a"] * 40, []),
        ([], [], []),
    ],
)
def test_a_crowd_is_due_at_one_host_at_one_instant_and_soon(
    due_us: list[int], hosts: list[str], found: list[int]
) -> None:
    deliveries = [
        a_delivery(url=f"http://{host}.test/{n}", not_before_us=due)
        for n, (due, host) in enumerate(zip(due_us, hosts, strict=True))
    ]
    assert [count for _, count in crowds_in(deliveries, 0)] == found
