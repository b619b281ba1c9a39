"""Lines of those that wait: whoever comes in whatever order, the first in order is the next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dispatch.fakes import a_delivery

from chronos.dispatch.held import Held, Line


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
        assert bool(line) is bool(waiting)
    assert [line.pop() for _ in range(len(waiting))] == sorted(waiting)
    assert not line
