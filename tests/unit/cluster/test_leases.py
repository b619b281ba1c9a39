from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chronos.cluster.leases import LEASE_S, LOST_S, OwnLease, Roll, node_of


def test_a_node_may_not_send_before_its_first_renewal_has_come_back() -> None:
    lease = OwnLease("n1#a")
    assert not lease.holds(0.0)
    seq = lease.renewing(0.0)
    assert not lease.holds(0.1)
    lease.heard({"n1#a": seq})
    assert lease.holds(4.9)
    assert not lease.holds(5.0)


def test_the_right_counts_from_the_sending_and_not_from_the_answer() -> None:
    lease = OwnLease("n1#a")
    seq = lease.renewing(10.0)
    lease.heard({"n1#a": seq})  # heard three seconds later, say
    assert lease.until_s == 15.0


def test_an_older_renewal_that_comes_back_late_shortens_nothing() -> None:
    lease = OwnLease("n1#a")
    first, second = lease.renewing(1.0), lease.renewing(2.0)
    lease.heard({"n1#a": second})
    lease.heard({"n1#a": first})
    assert lease.until_s == 7.0


def test_the_renewal_of_another_life_is_none() -> None:
    lease = OwnLease("n1#b")
    seq = lease.renewing(1.0)
    lease.heard({"n1#a": seq, "n2#a": seq})
    assert not lease.holds(1.1)


def test_who_was_never_heard_of_is_lost_only_after_somebody_has_listened_for_long_enough() -> None:
    roll = Roll(since_s=100.0)
    assert not roll.is_lost("n9#a", 105.1)
    assert roll.is_lost("n9#a", 105.2)


def test_a_node_that_begins_anew_has_lost_its_earlier_lives_at_once() -> None:
    roll = Roll(since_s=0.0)
    roll.heard({"n1#a": 1}, 1.0)
    roll.heard({"n1#b": 1}, 1.5)
    assert roll.is_lost("n1#a", 1.5)
    assert not roll.is_lost("n1#b", 1.5)
    roll.heard({"n1#a": 2}, 1.6)  # a header that was long on its way
    assert roll.is_lost("n1#a", 1.6)
    assert roll.living(1.6) == ["n1#b"]
    roll = Roll(since_s=0.0)
    roll.heard({"n1#b": 1}, 1.0)
    assert roll.is_lost("n1#a", 1.0), "of a life before the first one heard of"


def test_work_is_given_to_those_who_were_heard_of_lately() -> None:
    roll = Roll(since_s=0.0)
    roll.heard({"n2#a": 1, "n1#a": 1}, 0.0)
    roll.heard({"n1#a": 2}, 1.0)
    assert roll.living(1.5) == ["n1#a", "n2#a"]
    assert roll.living(1.7) == ["n1#a"]
    assert not roll.is_lost("n2#a", 1.7), "no new work, but what it has is its own"


def test_a_node_that_is_about_to_leave_is_given_nothing_new_and_keeps_what_it_has() -> None:
    roll, lease = Roll(since_s=0.0), OwnLease("n1#a")
    alive = {"n1#a": -lease.renewing(1.0)}
    roll.heard(alive, 1.0)
    lease.heard(alive)
    assert roll.living(1.1) == []
    assert not roll.is_lost("n1#a", 6.0)
    assert lease.holds(5.9)
    roll.heard({"n1#b": 1}, 7.0)
    assert roll.living(7.0) == ["n1#b"]


def test_the_node_of_a_life() -> None:
    assert node_of("n1#01J") == "n1"


@given(
    st.lists(
        st.tuples(st.floats(0.1, 3.0), st.one_of(st.none(), st.floats(0.0, 8.0))),
        min_size=1,
        max_size=30,
    ),
    st.floats(0.0, 20.0),
)
def test_a_node_stops_before_anybody_takes_its_work_for_lost(
    renewals: list[tuple[float, float | None]], look_s: float
) -> None:
    """Whatever is delayed, lost or reordered: as long as the right holds, no other node may think otherwise."""
    lease, roll = OwnLease("n1#a"), Roll(since_s=0.0)
    now = 0.0
    arrivals: list[tuple[float, int]] = []
    for wait, delay in renewals:
        now += wait
        seq = lease.renewing(now)
        if delay is not None:
            arrivals.append((now + delay, seq))
    moments = sorted({at for at, _ in arrivals} | {at + look_s for at, _ in arrivals})
    for moment in moments:
        for at, seq in arrivals:
            if at == moment:
                roll.heard({"n1#a": seq}, at)
                lease.heard({"n1#a": seq})
        assert not (lease.holds(moment) and roll.is_lost("n1#a", moment))
    assert LOST_S > LEASE_S
