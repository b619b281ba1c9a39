"""When the lead changes hands, and that the log comes to no harm however it does."""

from __future__ import annotations

import pytest
from tests.dose import dose
from tests.unit.cluster.etcd.takeover_world import NO_FAULTS, Faults, Store, World

from chronos.cluster.etcd.takeover import Bid, Takeover, TakeoverSettings
from chronos.cluster.port import Claim, LeaderInfo

SETTINGS = TakeoverSettings(silence_s=1.5, rank=1, stagger_s=0.15, spread_s=0.1, handicap_s=0.5)
SEEDS = dose(range(600), 60)
HARD = Faults(late=0.1, lost=0.1, strikes=12)
RECOVERY_S = 4.0


def follower(node: str = "b", settings: TakeoverSettings = SETTINGS, draw: float = 0.0) -> Takeover:
    return Takeover(node, settings, 100.0, lambda: draw)


def leads(node: str, epoch: int, to: str = "") -> LeaderInfo:
    return LeaderInfo(node, f"{node}:1" if node else "", epoch, to)


# One node, told by hand.


def test_before_it_knows_who_leads_a_node_claims_nothing() -> None:
    assert follower().bid(1_000_000.0) is None


def test_a_leader_that_is_silent_is_replaced_after_its_time_and_this_nodes_turn() -> None:
    takeover = follower(draw=0.5)
    takeover.heard_leader(100.0, leads("a", 7))
    takeover.heard_entry(101.0, 40)
    assert takeover.bid(102.69) is None
    assert takeover.bid(102.71) == Bid(7, 40)


def test_every_new_entry_starts_the_time_anew_and_an_old_one_does_not() -> None:
    takeover = follower()
    takeover.heard_leader(100.0, leads("a", 7))
    takeover.heard_entry(101.0, 40)
    takeover.heard_entry(101.4, 40)
    takeover.heard_entry(101.5, 39)
    assert takeover.claims_at == pytest.approx(102.65)
    takeover.heard_entry(101.6, 41)
    assert takeover.claims_at == pytest.approx(103.25)


def test_a_log_that_moved_on_behind_this_nodes_back_gives_the_leader_half_the_time_again() -> None:
    takeover = follower()
    takeover.heard_leader(100.0, leads("a", 7))
    takeover.claimed(102.0, Claim(False, leads("a", 7), moved=True))
    takeover.learned_last(41)
    assert takeover.claims_at == pytest.approx(102.9)
    assert takeover.bid(103.0) == Bid(7, 41)


def test_entries_that_come_with_a_new_leader_of_etcd_may_be_older_than_the_death_of_their_author() -> None:
    takeover = follower()
    takeover.heard_leader(100.0, leads("a", 7))
    takeover.heard_entry(100.5, 40, term=3)
    takeover.heard_entry(101.5, 41, term=4)
    takeover.heard_entry(101.6, 42, term=4)
    assert takeover.claims_at == pytest.approx(102.5)
    takeover.heard_entry(101.8, 43, term=4)
    assert takeover.claims_at == pytest.approx(103.45)


def test_who_lost_against_another_waits_for_that_one() -> None:
    takeover = follower()
    takeover.heard_leader(100.0, leads("a", 7))
    takeover.claimed(102.0, Claim(False, leads("c", 9)))
    assert takeover.claims_at == pytest.approx(103.65)
    assert takeover.bid(104.0) == Bid(9, 0)


def test_what_a_lagging_member_says_of_the_past_changes_nothing() -> None:
    takeover = follower()
    takeover.heard_leader(100.0, leads("a", 7))
    takeover.heard_leader(101.0, leads("c", 5))
    assert takeover.bid(102.0) == Bid(7, 0)


def test_an_empty_seat_is_taken_at_once_in_turn_whatever_was_appended() -> None:
    takeover = follower()
    takeover.heard_entry(100.0, 3)
    takeover.heard_leader(100.0, leads("", 8))
    assert takeover.bid(100.14) is None
    assert takeover.bid(100.16) == Bid(8, None)


def test_a_seat_left_to_another_is_left_to_it_for_a_while() -> None:
    takeover, heir = follower("b"), follower("c")
    for one in (takeover, heir):
        one.heard_leader(100.0, leads("", 8, to="c"))
    assert takeover.bid(100.8) is None
    assert heir.bid(100.2) == Bid(8, None)
    assert takeover.bid(101.0) == Bid(8, None)


def test_a_node_that_finds_itself_leading_when_it_starts_knows_that_nobody_does() -> None:
    takeover = follower("a")
    takeover.heard_leader(100.0, leads("a", 7))
    assert takeover.bid(100.0) == Bid(7, None)


def test_two_nodes_of_one_name_do_not_take_the_lead_from_each_other_without_end() -> None:
    takeover = follower("a")
    takeover.heard_leader(100.0, leads("b", 7))
    takeover.heard_leader(100.5, leads("a", 9))
    assert takeover.bid(101.0) is None


def test_a_claim_of_unknown_fate_that_was_won_after_all_is_followed_by_another_one() -> None:
    takeover = follower()
    takeover.heard_leader(100.0, leads("a", 7))
    assert takeover.bid(102.0)
    takeover.unanswered(102.7)
    takeover.heard_leader(102.8, leads("b", 9))
    assert takeover.bid(102.8) == Bid(9, None)


def test_who_could_not_go_on_lets_the_others_go_first() -> None:
    takeover = follower()
    takeover.heard_leader(100.0, leads("a", 7))
    takeover.claimed(102.0, Claim(True, leads("b", 9)))
    assert takeover.epoch == 9
    takeover.appended(103.0)
    takeover.lost(104.5)
    assert takeover.epoch == 0
    assert takeover.claims_at == pytest.approx(103.0 + 1.5 + 0.15 + 0.5)


def test_an_append_may_take_until_the_others_take_over() -> None:
    takeover = follower()
    takeover.heard_leader(100.0, leads("", 0))
    takeover.claimed(101.0, Claim(True, leads("b", 1)))
    assert takeover.append_within_s(110.0) == 1.5  # the first may come late: folding what there is takes its time
    takeover.appended(110.0)
    assert takeover.append_within_s(110.3) == pytest.approx(1.2)
    assert takeover.append_within_s(120.0) == 0.5


# Several nodes, and everything that can happen to them.


def check(world: World) -> None:
    """Raise AssertionError unless the log is one that no two leaders have written at a time."""
    entries = world.store.entries
    epochs = [epoch for epoch, _ in entries]
    assert epochs == sorted(epochs), "an entry of an older leader behind one of a newer one"
    owners = {leader.epoch: leader.node for leader in world.store.taken}
    assert len(owners) == len(world.store.taken), "an epoch was given out twice"
    for epoch, data in entries:
        assert data.split("/")[0] == owners[epoch], "an entry that its epoch's leader has not written"
    for node in world.nodes:
        for index, epoch, data in node.acknowledged:
            assert entries[index - 1] == (epoch, data), "an acknowledged entry is not in the log"


def troubled(seed: int, store: Store | None = None, nodes: int = 3) -> World:
    world = World(seed, nodes, HARD, store)
    for _ in range(HARD.strikes):
        world.strike(30.0)
    world.run(30.0)
    return world


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_no_two_leaders_write_at_a_time_and_in_the_end_one_does(seed: int) -> None:
    world = troubled(seed, nodes=3 if seed % 3 else 5)
    check(world)
    world.faults = NO_FAULTS
    appended = len(world.store.entries)
    world.run(world.now + 6.5 + RECOVERY_S)  # the last of the late requests, and a takeover
    check(world)
    assert len(world.store.entries) > appended, "nobody leads"
    leader = world.store.leader
    assert [node.name for node in world.nodes if node.leads and node.takeover.epoch == leader.epoch] == [leader.node]


@pytest.mark.parametrize("seed", dose(range(150), 30))
def test_a_dead_leader_is_replaced_in_time_by_one_of_the_others(seed: int) -> None:
    world = World(seed, 3)
    world.run(5.0 + seed / 100)
    dead = next(node for node in world.nodes if node.leads)
    dead.die()
    died, appended = world.now, len(world.store.entries)
    while len([entry for entry in world.store.entries[appended:] if not entry[1].startswith(dead.name)]) == 0:
        assert world.now < died + 2.1, "nobody has taken over"
        world.run(world.now + 0.01)
    check(world)
    assert len(world.store.taken) == 2


@pytest.mark.parametrize("seed", dose(range(150), 30))
def test_while_the_leader_is_well_nobody_takes_over_whatever_happens_to_the_others(seed: int) -> None:
    world = World(seed, 3)
    world.run(3.0)
    leader = next(node for node in world.nodes if node.leads)
    others = [node for node in world.nodes if node is not leader]
    world.nodes = others  # only they are struck
    for _ in range(10):
        world.strike(30.0)
    world.run(35.0)
    assert [one.node for one in world.store.taken] == [leader.name]
    assert leader.leads


def test_a_leader_that_has_slept_finds_itself_replaced_and_appends_nothing_more() -> None:
    world = World(1, 3)
    world.run(3.0)
    old = next(node for node in world.nodes if node.leads)
    old.sleep()
    world.run(8.0)
    new = next(node for node in world.nodes if node.leads and node is not old)
    before = len(old.acknowledged)
    old.wake()
    world.run(12.0)
    assert not old.leads
    assert new.leads
    assert len(old.acknowledged) == before
    check(world)


# That the checks would see what they are for.


def found_in(seeds: range, store: Store) -> bool:
    for seed in seeds:
        try:
            check(troubled(seed, Store(store.checks_epoch, store.checks_last)))
        except AssertionError:
            return True
    return False


def test_a_log_that_did_not_fence_would_be_seen() -> None:
    assert found_in(range(40), Store(checks_epoch=False))


def test_a_takeover_that_did_not_look_at_the_log_would_be_seen() -> None:
    taken = 0
    for seed in range(40):
        world = World(seed, 3, store=Store(checks_last=False))
        world.run(3.0)
        for node in world.nodes:
            if not node.leads:
                node.sleep()
                world.after(4.0, node.wake)
        world.run(10.0)
        taken += len(world.store.taken) - 1
    assert taken
