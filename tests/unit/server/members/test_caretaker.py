"""What the caretaker owes the engine, and that doing it ends."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace
from tests.unit.store.fold.harness import Machine

from chronos.cluster.memory import MemoryMembers
from chronos.cluster.port import EngineMember
from chronos.errors import Conflict
from chronos.model.member import MemberRecord, MemberState
from chronos.server.members.caretaker import Act, Caretaker, owed
from chronos.server.members.changes import why_not_remove
from chronos.server.members.directory import Directory
from chronos.server.members.firststart import Place, place_of
from chronos.store.commands import Command, SetMember
from chronos.store.port import Result
from chronos.store.verdict import accepted as judged


def at(name: str, state: MemberState = MemberState.MEMBER, engine_id: str = "") -> MemberRecord:
    return MemberRecord(name, f"{name}:7443", f"{name}:7444", "", state, engine_id)


def engine(name: str, number: str, *, learns: bool = False, starts: bool = False) -> EngineMember:
    return EngineMember(number, "" if starts else name, f"{name}:7444", learns)


def steps(records: list[MemberRecord], *engines: EngineMember, gone: bool = True) -> list[tuple[Act, str]]:
    found = owed({one.name: one for one in records}, engines, lambda name: gone)
    return [(step.act, step.member.name) for step in found]


JOINS, OUT = MemberState.JOINING, MemberState.REMOVED


def test_where_log_and_engine_agree_nothing_is_owed() -> None:
    assert steps([at("n1", engine_id="1")], engine("n1", "1")) == []


def test_the_engines_of_those_that_founded_are_noted() -> None:
    assert steps([at("n1")], engine("n1", "1")) == [(Act.NOTE, "n1")]


def test_a_node_that_joins_is_added_then_waited_for_then_promoted_then_a_member() -> None:
    assert steps([at("n2", JOINS)]) == [(Act.ADD, "n2")]
    assert steps([at("n2", JOINS)], engine("n2", "2", learns=True, starts=True)) == [(Act.NOTE, "n2")]
    noted = [at("n2", JOINS, "2")]
    assert steps(noted, engine("n2", "2", learns=True, starts=True)) == [(Act.WAIT, "n2")]
    assert steps(noted, engine("n2", "2", learns=True)) == [(Act.PROMOTE, "n2")]
    assert steps(noted, engine("n2", "2")) == [(Act.VOTE, "n2")]


def test_who_was_removed_is_let_go_when_its_node_is_gone_and_forgotten_then() -> None:
    removed = [at("n2", OUT, "2")]
    assert steps(removed, engine("n2", "2"), gone=False) == [(Act.WAIT, "n2")]
    assert steps(removed, engine("n2", "2")) == [(Act.REMOVE, "n2")]
    assert steps(removed) == [(Act.FORGET, "n2")]
    assert steps([at("n2", OUT)]) == []


def test_an_engine_that_somebody_else_is_known_by_is_not_taken_for_who_joins() -> None:
    assert steps([at("n2", OUT, "2"), replace(at("n3", JOINS), engine="n2:7444")], engine("n2", "2")) == [
        (Act.REMOVE, "n2"),
        (Act.ADD, "n3"),
    ]


def test_a_quorum_of_the_others_has_to_run() -> None:
    three = {name: at(name) for name in ("n1", "n2", "n3")}
    assert why_not_remove(three, {"n1", "n2"}, "n3") == ""
    assert "Start n3 first, or remove n3 instead" in why_not_remove(three, {"n1", "n2"}, "n2")
    assert why_not_remove(three, {"n1", "n2", "n3"}, "n1") == ""
    assert "last member" in why_not_remove({"n1": at("n1")}, {"n1"}, "n1")
    joining = {**three, "n4": at("n4", JOINS)}
    assert why_not_remove(joining, {"n1"}, "n4") == "", "who has no vote costs none"


@pytest.mark.parametrize(
    ("said", "place"),
    [
        (None, Place.STRANGE),
        ([engine("n1", "1")], Place.STRANGE),
        ([engine("n2", "2", learns=True, starts=True)], Place.JOINS),
        ([engine("n2", "2", starts=True)], Place.FOUNDS),
        ([engine("n2", "2")._replace(has_begun=False)], Place.FOUNDS),
        ([engine("n2", "2")], Place.WIPED),
        ([engine("n2", "2", learns=True)], Place.WIPED),
    ],
)
def test_those_that_run_know_what_a_node_without_data_is(said: list[EngineMember] | None, place: Place) -> None:
    assert place_of("n2:7444", said) is place


class Commands:
    """A log of one machine."""

    def __init__(self) -> None:
        self.machine = Machine()

    async def propose(self, command: Command) -> Result:
        result = self.machine.do(command)
        return judged(result)


def cared_for(gone: set[str]) -> tuple[Caretaker, Commands, MemoryMembers, Directory]:
    commands, engines = Commands(), MemoryMembers({"n1": "n1:7444"})
    directory = Directory("n1", {"n1": at("n1")}, commands.machine.view, lambda members: None)
    return Caretaker(commands, directory, engines, lambda name: name in gone), commands, engines, directory


@pytest.mark.asyncio
async def test_a_node_goes_all_the_way_in_and_out_and_in_again() -> None:
    gone: set[str] = set()
    caretaker, commands, engines, directory = cared_for(gone)
    await caretaker.turn()
    assert directory.is_recorded()
    await caretaker.turn()
    assert directory.all()["n1"].engine_id == "1"

    async def joined() -> str:
        await commands.propose(SetMember(at("n2", JOINS), "ann"))
        await caretaker.turn()
        engine_id = directory.all()["n2"].engine_id
        engines.start(engine_id, "n2")
        with pytest.raises(Conflict, match="has not caught up"):
            await caretaker.turn()
        engines.caught_up.add(engine_id)
        await caretaker.turn()
        assert directory.all()["n2"].state is MemberState.MEMBER
        return engine_id

    first = await joined()
    await commands.propose(SetMember(replace(directory.all()["n2"], state=OUT), "ann"))
    await caretaker.turn()
    assert first in {one.id for one in await engines.all()}, "it may still end what it does"
    gone.add("n2")
    await caretaker.turn()
    assert first not in {one.id for one in await engines.all()}
    assert await caretaker.turn() is True
    assert await joined() != first, "it is another one for the engine"


@pytest.mark.asyncio
async def test_this_node_learns_that_it_was_removed() -> None:
    caretaker, commands, _, directory = cared_for(set())
    await caretaker.turn()
    await commands.propose(SetMember(at("n2", JOINS), "ann"))
    await commands.propose(SetMember(at("n2"), "ann"))
    await commands.propose(SetMember(at("n1", OUT), "ann"))
    directory.refresh()
    async with asyncio.timeout(1):
        await directory.removed.wait()
