"""Who belongs to the cluster, by the fold."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.unit.store.fold.harness import Machine

from chronos.model.events import EventType
from chronos.model.member import MemberRecord, MemberState
from chronos.store.commands import RecordMembers, ResetClock, SetMember
from chronos.store.fold.members import MEMBERS_MAX, REMOVED_MAX
from chronos.store.members import members_in, present


def at(name: str, state: MemberState = MemberState.MEMBER, engine_id: str = "") -> MemberRecord:
    return MemberRecord(name, f"{name}.test:7443", f"{name}.test:7444", "", state, engine_id)


def a_cluster(*names: str) -> Machine:
    machine = Machine()
    assert machine.do(RecordMembers([at(name) for name in names])).error == ""
    return machine


def joins(name: str) -> SetMember:
    return SetMember(at(name, MemberState.JOINING), "ann")


def names(machine: Machine) -> dict[str, MemberState]:
    return {name: one.state for name, one in members_in(machine.view).items()}


def test_the_members_a_cluster_began_with_are_recorded_once() -> None:
    machine = a_cluster("n1", "n2")
    assert machine.do(RecordMembers([at("n9")])).error == "conflict"
    assert names(machine) == {"n1": MemberState.MEMBER, "n2": MemberState.MEMBER}


def test_what_is_brought_back_from_a_backup_belongs_to_no_cluster_and_to_another_one_later() -> None:
    machine = a_cluster("n1", "n2", "n3")
    assert machine.do(ResetClock(0, "restore", epoch=2_000_000_000, restored=True)).error == ""
    assert names(machine) == {}
    assert machine.do(RecordMembers([at("n1")])).error == ""
    assert machine.do(ResetClock(0, "ann")).error == ""
    assert names(machine) == {"n1": MemberState.MEMBER}, "a clock that is set right changes no cluster"


def test_before_that_nobody_can_be_added() -> None:
    assert Machine().do(joins("n1")).error == "conflict"


def test_a_node_joins_and_becomes_a_member() -> None:
    machine = a_cluster("n1")
    assert machine.do(joins("n2")).error == ""
    learning = at("n2", MemberState.JOINING, "ab")
    assert machine.do(SetMember(learning, "chronos", at("n2", MemberState.JOINING))).error == ""
    assert machine.do(SetMember(replace(learning, state=MemberState.MEMBER), "chronos", learning)).error == ""
    assert names(machine)["n2"] is MemberState.MEMBER


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (at("n1", MemberState.JOINING), "is a member already"),
        (at("n4", MemberState.JOINING), "`n3` is joining already; one at a time"),
        (replace(at("n3", MemberState.JOINING), peer="elsewhere:1"), "is joining already, at n3.test:7443"),
    ],
)
def test_one_joins_at_a_time_and_only_who_is_not_there(member: MemberRecord, said: str) -> None:
    machine = a_cluster("n1")
    machine.do(joins("n3"))
    refused = machine.do(SetMember(member, "ann"))
    assert refused.error == "conflict"
    assert said in refused.message


def test_two_nodes_have_no_address_in_common() -> None:
    machine = a_cluster("n1")
    twin = replace(at("n2", MemberState.JOINING), engine="n1.test:7443")
    assert "is an address of `n1` already" in machine.do(SetMember(twin, "ann")).message


def test_a_cluster_has_at_most_nine() -> None:
    machine = a_cluster(*(f"n{n}" for n in range(MEMBERS_MAX)))
    assert "at most 9" in machine.do(joins("n99")).message


def test_who_was_removed_comes_back_only_when_its_engine_is_out() -> None:
    machine = a_cluster("n1", "n2")
    out = at("n2", MemberState.REMOVED, "ab")
    assert machine.do(SetMember(out, "ann")).error == ""
    assert "still being removed" in machine.do(joins("n2")).message
    assert machine.do(SetMember(replace(out, engine_id=""), "chronos", out)).error == ""
    assert machine.do(joins("n2")).error == ""
    assert set(present(members_in(machine.view))) == {"n1", "n2"}


def test_what_was_decided_on_an_older_record_is_refused() -> None:
    machine = a_cluster("n1", "n2")
    out = at("n2", MemberState.REMOVED, "ab")
    machine.do(SetMember(out, "ann"))
    machine.do(SetMember(replace(out, engine_id=""), "chronos", out))
    machine.do(joins("n2"))
    # The same once more, of another caretaker: by now somebody new has the name.
    assert machine.do(SetMember(replace(out, engine_id=""), "chronos", out)).error == "version-conflict"
    assert names(machine)["n2"] is MemberState.JOINING


def test_neither_a_stranger_nor_the_last_member_is_removed() -> None:
    machine = a_cluster("n1")
    assert machine.do(SetMember(at("n2", MemberState.REMOVED), "ann")).error == "not-found"
    assert "last member" in machine.do(SetMember(at("n1", MemberState.REMOVED), "ann")).message


def test_of_those_that_were_removed_the_last_are_known() -> None:
    machine = a_cluster("n0")
    for number in range(1, REMOVED_MAX + 5):
        machine.do(joins(f"n{number}"))
        machine.do(SetMember(at(f"n{number}", MemberState.REMOVED), "ann"))
    known = names(machine)
    assert len(known) == 1 + REMOVED_MAX
    assert "n1" not in known


def test_every_change_is_told() -> None:
    machine = a_cluster("n1")
    machine.do(joins("n2"))
    told = [(event.key, event.note, event.by) for event in machine.events if event.type is EventType.MEMBER_CHANGED]
    assert told == [("n1", "member", "chronos"), ("n2", "joining", "ann")]
