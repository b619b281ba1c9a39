"""How the cluster's timers follow from one number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.cluster.etcd.timing import EngineTiming, engine_timing
from chronos.errors import ConfigInvalid


def test_half_a_second_is_what_there_is_by_default() -> None:
    assert engine_timing(0.5) == EngineTiming(heartbeat_ms=50, election_ms=500, takeover_s=1.5, noop_s=0.25)
    assert engine_timing(0.5) == EngineTiming()


def test_less_than_half_a_second_is_half_a_second() -> None:
    assert engine_timing(0.1) == engine_timing(0.5)


def test_a_slower_network_slows_everything_that_depends_on_it() -> None:
    assert engine_timing(2) == EngineTiming(heartbeat_ms=200, election_ms=2_000, takeover_s=6.0, noop_s=0.25)


@given(st.floats(min_value=0.001, max_value=50))
def test_etcd_takes_every_result_and_a_leader_is_heard_often_enough(seconds: float) -> None:
    timing = engine_timing(seconds)
    assert timing.election_ms >= 5 * timing.heartbeat_ms, "etcd refuses less"
    assert timing.election_ms <= 50_000, "etcd refuses more"
    assert timing.takeover_s >= 3 * timing.election_ms / 1_000
    assert timing.takeover_s >= 6 * timing.noop_s


@pytest.mark.parametrize("seconds", [0, -1, 50.1, float("nan"), float("inf")])
def test_what_no_election_can_take_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigInvalid, match=r"cluster\.raft\.election_timeout"):
        engine_timing(seconds)
