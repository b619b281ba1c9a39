"""What the judge of a simulated cluster lets pass, and what it does not."""

from __future__ import annotations

import pytest

from chronos.testing.simulation.evidence import Evidence, Trouble, Violation
from chronos.testing.simulation.invariants.together import is_excused
from chronos.testing.simulation.profile import Fault

HEARD_S = 5.9


def evidence() -> Evidence:
    """n2 stands still from 6 s to 13 s; the log said last at 5.9 s that it lives."""
    pause = Trouble(Fault.PAUSE.value, 6.0, facts={"nodes": "n2"})
    pause.healed = 13.0
    alive = [(5.0, {"n1#A": 5, "n2#B": 5}), (HEARD_S, {"n2#B": 6}), (7.0, {"n1#A": 7}), (10.5, {"n1#A": 11})]
    return Evidence(troubles=[pause], alive=alive)


@pytest.mark.parametrize(("at", "excused"), [(HEARD_S + 4.9, False), (HEARD_S + 5.01, True), (13.5, False)])
def test_what_a_node_that_stands_still_has_sent_stays_open_beyond_its_right_and_not_before(
    at: float, excused: bool
) -> None:
    assert is_excused(evidence(), Violation("I6", "began before another was closed", at)) is excused


def test_nothing_else_is_excused_by_a_node_that_stands_still() -> None:
    assert not is_excused(evidence(), Violation("I10", "came twice", 12.0))
