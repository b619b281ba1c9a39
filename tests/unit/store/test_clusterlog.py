"""Command logs of several nodes over one log in memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.unit.store.toy import put, toy_fold

from chronos.cluster.memory import MemoryLog, SharedLog
from chronos.errors import Invalid, NotLeader, Overloaded, Unavailable, VersionConflict
from chronos.model.events import Event, EventType
from chronos.store import clusterlog
from chronos.store.clusterlog import ClusterLog
from chronos.store.commands import NewLeader, PutDocument, decode_entry
from chronos.store.entryfold import one_step_each
from chronos.store.state import MemoryState
from chronos.store.tables import DOCUMENTS, META, document_key
from chronos.testing import virtual_time
from chronos.testing.virtual_time import VirtualClock
from chronos.timing.clock import SeededChance


class Cluster:
    """Nodes n1, n2, n3 over one order, which can reach each other until told otherwise."""

    def __init__(self, *, latency: float = 0.002) -> None:
        self.shared = SharedLog()
        self.chance = random.Random(7)
        self.logs: dict[str, MemoryLog] = {}
        self.nodes: dict[str, ClusterLog] = {}
        self.events: dict[str, list[Event]] = {}
        self.alive: dict[str, list[dict[str, int]]] = {}
        self.unreachable: set[str] = set()
        self.latency = latency

    async def add(self, node: str) -> ClusterLog:
        log = MemoryLog(self.shared, node=node, latency=lambda: self.latency)
        commands = ClusterLog(
            log,
            MemoryState(),
            VirtualClock(),
            SeededChance(self.chance),
            forward=self.forward,
            fold=one_step_each(toy_fold),
        )
        self.logs[node], self.nodes[node] = log, commands
        self.events[node], self.alive[node] = [], []
        commands.subscribe(self.events[node].extend)
        commands.on_alive = lambda alive: self.alive[node].append(dict(alive))
        await commands.start(node, f"{node}#1")
        return commands

    async def forward(self, node: str, commands: Sequence[bytes]) -> tuple[int, int]:
        await asyncio.sleep(self.latency)
        if node in self.unreachable:
            raise Unavailable(f"Node {node} cannot be reached.")
        return await self.nodes[node].write_for(commands)

    async def lead(self, node: str) -> None:
        """Let `node` take the lead, and the others know."""
        for other in self.nodes.values():
            other.leader = node
        await self.nodes[node].lead(await self.logs[node].campaign())

    def value(self, node: str, key: str) -> bytes | None:
        document = self.nodes[node].view.get(DOCUMENTS, document_key("toy", "default", key))
        return document.value if document is not None else None

    def term(self, node: str) -> int:
        meta = self.nodes[node].view.get(META, "meta")
        return meta.term if meta is not None else 0

    async def settle(self) -> None:
        """Wait until every node has folded what there is."""
        async with asyncio.timeout(10):
            for commands in self.nodes.values():
                await commands.reach(self.shared.last)


@asynccontextmanager
async def a_cluster(**settings: Any) -> AsyncIterator[Cluster]:
    cluster = Cluster(**settings)
    for node in ("n1", "n2", "n3"):
        await cluster.add(node)
    try:
        yield cluster
    finally:
        for commands in cluster.nodes.values():
            await commands.stop()


def commands_in(cluster: Cluster) -> list[list[Any]]:
    return [decode_entry(cluster.shared.entries[i].data).commands for i in range(1, cluster.shared.last + 1)]


@virtual_time
async def test_a_follower_folds_what_the_leader_writes_and_tells_its_listeners() -> None:
    async with a_cluster() as cluster:
        await cluster.lead("n1")
        assert (await cluster.nodes["n1"].propose(put("a", b"1"))).ok
        await cluster.settle()
        assert [cluster.value(node, "a") for node in ("n1", "n2", "n3")] == [b"1"] * 3
        assert cluster.events["n1"] == cluster.events["n2"] == cluster.events["n3"]
        assert [e.type for e in cluster.events["n2"]] == [EventType.LEADER_CHANGED, EventType.DOCUMENT_CHANGED]


@virtual_time
async def test_a_term_begins_before_anything_else_is_taken_in() -> None:
    async with a_cluster() as cluster:
        with pytest.raises(NotLeader):
            cluster.nodes["n1"].submit([put("early")])
        await cluster.lead("n1")
        await cluster.nodes["n1"].propose(put("a"))
        await cluster.lead("n2")
        await cluster.nodes["n2"].propose(put("b"))
        kinds = [type(command).__name__ for commands in commands_in(cluster) for command in commands]
        assert kinds == ["NewLeader", "PutDocument", "NewLeader", "PutDocument"]
        await cluster.settle()
        assert [cluster.term(node) for node in cluster.nodes] == [2, 2, 2]


@virtual_time
async def test_what_a_follower_submits_is_written_by_the_leader_and_can_be_read_at_once_where_it_was_asked() -> None:
    async with a_cluster() as cluster:
        await cluster.lead("n1")
        result = await cluster.nodes["n2"].propose(put("a", b"1"))
        assert (result.value.value, result.value.revision) == (b"1", 1)
        assert cluster.value("n2", "a") == b"1"


@virtual_time
async def test_every_follower_has_its_own_verdicts_of_a_shared_entry() -> None:
    async with a_cluster(latency=0.05) as cluster:
        await cluster.lead("n1")
        own = cluster.nodes["n1"].submit([put("x")])
        asked = [
            cluster.nodes[node].submit([put(f"{node}-{n}", expect_revision=n % 2)])
            for node in ("n2", "n3")
            for n in range(6)
        ]
        answers = await asyncio.gather(*asked)
        assert [answer[0].ok for answer in answers] == [n % 2 == 0 for _ in range(2) for n in range(6)]
        assert [answer[0].error for answer in answers if not answer[0].ok] == ["version-conflict"] * 6
        assert (await own)[0].ok
        assert max(len(commands) for commands in commands_in(cluster)) > 1


@virtual_time
async def test_a_refusal_is_raised_on_the_follower_as_the_error_it_names() -> None:
    async with a_cluster() as cluster:
        await cluster.lead("n1")
        with pytest.raises(VersionConflict, match="moved on"):
            await cluster.nodes["n3"].propose(put("a", expect_revision=4))


@virtual_time
async def test_a_leader_that_is_fenced_follows_and_what_it_had_on_its_way_is_refused() -> None:
    async with a_cluster(latency=1.0) as cluster:
        await cluster.lead("n1")
        on_its_way = cluster.nodes["n1"].submit([put("lost")])
        await asyncio.sleep(0.5)
        queued = cluster.nodes["n1"].submit([put("never")])
        await cluster.lead("n2")
        for answer in (on_its_way, queued):
            with pytest.raises(NotLeader):
                await answer
        assert not cluster.nodes["n1"].leads
        cluster.nodes["n1"].leader = "n2"
        await cluster.nodes["n1"].propose(put("later", b"1"))
        await cluster.settle()
        assert cluster.value("n1", "later") == cluster.value("n3", "later") == b"1"
        assert cluster.value("n2", "lost") is None


class Forgetful(MemoryLog):
    """A log that appends, and says that it cannot tell."""

    forget = False

    async def append(self, index: int, data: bytes, epoch: Any) -> None:
        await super().append(index, data, epoch)
        if self.forget:
            raise Unavailable("no answer")


@virtual_time
async def test_what_was_appended_without_an_answer_is_found_in_the_log_and_answered() -> None:
    async with a_cluster() as cluster:
        await cluster.lead("n1")
        forgetful = Forgetful(cluster.shared, node="n1")
        forgetful.forget = True
        cluster.nodes["n1"]._log = forgetful
        result = await cluster.nodes["n1"].propose(put("a", b"1"))
        assert result.value.value == b"1"
        assert not cluster.nodes["n1"].leads, "whoever cannot tell leads no more"


@virtual_time
async def test_whoever_waits_for_an_entry_nobody_knows_of_is_told_so_in_time() -> None:
    async with a_cluster() as cluster:
        await cluster.lead("n1")
        cluster.logs["n1"].cut_off = True
        with pytest.raises(Unavailable, match="nobody can say"):
            await cluster.nodes["n1"].propose(put("a"))
        assert asyncio.get_running_loop().time() == pytest.approx(clusterlog.DOUBT_S, abs=0.1)


@virtual_time
async def test_a_follower_whose_leader_cannot_be_reached_says_so_and_nothing_waits_for_ever() -> None:
    async with a_cluster() as cluster:
        await cluster.lead("n1")
        cluster.unreachable.add("n1")
        with pytest.raises(Unavailable, match="cannot be reached"):
            await cluster.nodes["n2"].propose(put("a"))
        cluster.unreachable.clear()
        cluster.logs["n2"].cut_off = True
        with pytest.raises(Unavailable, match="nobody can say"):
            await cluster.nodes["n2"].propose(put("a"))


@virtual_time
async def test_what_a_dead_leader_was_asked_is_not_waited_for_once_another_leads() -> None:
    async with a_cluster() as cluster:
        await cluster.lead("n1")

        async def silent(node: str, commands: Sequence[bytes]) -> tuple[int, int]:
            if node == "n1":
                await asyncio.Event().wait()
            return await cluster.forward(node, commands)

        follower = cluster.nodes["n2"]
        follower._forward = silent
        asked = asyncio.create_task(follower.propose(put("a")))
        await asyncio.sleep(1)
        assert not asked.done()
        began = asyncio.get_running_loop().time()
        await cluster.lead("n3")
        with pytest.raises(Unavailable, match="another node"):
            await asked
        assert asyncio.get_running_loop().time() - began < 2 * clusterlog.MOVED_S
        assert (await follower.propose(put("a"))).ok


@virtual_time
async def test_a_leader_that_answers_while_it_gives_up_the_lead_is_heard() -> None:
    async with a_cluster(latency=0.1) as cluster:
        await cluster.lead("n1")
        asked = asyncio.create_task(cluster.nodes["n2"].propose(put("a")))
        await asyncio.sleep(0.15)
        cluster.nodes["n2"].leader = ""
        assert (await asked).ok


@virtual_time
async def test_a_node_that_was_asked_and_does_not_lead_says_who_does() -> None:
    async with a_cluster() as cluster:
        await cluster.lead("n1")
        with pytest.raises(NotLeader) as caught:
            await cluster.nodes["n2"].write_for([])
        assert caught.value.facts == {"leader": "n1"}


@virtual_time
async def test_what_is_no_command_is_refused_and_the_leader_goes_on() -> None:
    async with a_cluster() as cluster:
        await cluster.lead("n1")
        with pytest.raises(Invalid):
            await cluster.nodes["n1"].write_for([b"\x93\x01nonsense"])
        assert (await cluster.nodes["n1"].propose(put("a"))).ok


@virtual_time
async def test_too_much_that_waits_for_the_leader_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusterlog, "FORWARDS_MAX", 2)
    async with a_cluster() as cluster:
        await cluster.lead("n1")
        waiting = [cluster.nodes["n2"].submit([put(key)]) for key in "ab"]
        with pytest.raises(Overloaded):
            cluster.nodes["n2"].submit([put("c")])
        await asyncio.gather(*waiting)


@virtual_time
async def test_an_idle_leader_writes_that_it_is_there() -> None:
    async with a_cluster() as cluster:
        await cluster.lead("n1")
        before = cluster.shared.last
        await asyncio.sleep(10)
        assert 30 <= cluster.shared.last - before <= 41
        assert commands_in(cluster)[-1] == []


@virtual_time
async def test_who_lives_is_said_in_the_log_and_heard_by_every_node() -> None:
    async with a_cluster() as cluster:
        await cluster.lead("n1")
        cluster.nodes["n1"].renew("n2#1", 1)
        cluster.nodes["n1"].renew("n2#1", 2)
        cluster.nodes["n1"].renew("n3#1", 9)
        with pytest.raises(NotLeader):
            cluster.nodes["n2"].renew("n2#1", 3)
        await asyncio.sleep(1)
        assert cluster.alive["n1"] == cluster.alive["n2"] == cluster.alive["n3"] == [{"n2#1": 2, "n3#1": 9}]


@virtual_time
async def test_a_new_leader_folds_to_the_end_before_its_term_begins() -> None:
    async with a_cluster() as cluster:
        await cluster.lead("n1")
        cluster.logs["n2"].cut_off = True
        for n in range(300):
            await cluster.nodes["n1"].propose(put(f"k{n}"))
        assert cluster.nodes["n2"].applied < cluster.shared.last
        end, cluster.logs["n2"].cut_off = cluster.shared.last, False
        await cluster.lead("n2")
        assert isinstance(commands_in(cluster)[end][0], NewLeader)
        assert cluster.value("n2", "k299") == b""
        assert (await cluster.nodes["n2"].propose(put("k299", expect_revision=1))).ok


@virtual_time
async def test_the_lead_can_go_round_under_load_and_every_acknowledged_write_is_on_every_node_once() -> None:
    async with a_cluster(latency=0.004) as cluster:
        await cluster.lead("n1")
        acknowledged: list[str] = []
        refused = 0

        async def write(node: str, n: int) -> None:
            nonlocal refused
            try:
                await cluster.nodes[node].propose(put(f"{node}-{n}", expect_revision=0))
            except Unavailable:
                refused += 1
            else:
                acknowledged.append(f"{node}-{n}")

        async with asyncio.TaskGroup() as tasks:
            for n in range(400):
                for node in cluster.nodes:
                    tasks.create_task(write(node, n))
                await asyncio.sleep(0.003)
                if n % 50 == 49:
                    await cluster.lead(f"n{(n // 50 + 1) % 3 + 1}")
        await cluster.settle()
        written = [c.key for commands in commands_in(cluster) for c in commands if isinstance(c, PutDocument)]
        assert len(written) == len(set(written))
        assert set(acknowledged) <= set(written)
        assert len(acknowledged) > 1_000
        assert refused
        for node in cluster.nodes:
            assert all(cluster.value(node, key) == b"" for key in acknowledged)


class Stubborn(MemoryLog):
    """A log whose stream takes it badly when it is no longer listened to."""

    async def follow(self, frm: int) -> AsyncIterator[Any]:
        try:
            async for entry in super().follow(frm):
                yield entry
        except asyncio.CancelledError:
            raise RuntimeError("the stream is closed") from None


@virtual_time
async def test_a_follower_that_begins_to_lead_has_not_failed_however_its_stream_ends() -> None:
    async with a_cluster() as cluster:
        node = cluster.nodes["n1"]
        node._followed = Stubborn(cluster.shared, node="n1")
        await cluster.lead("n2")
        await cluster.lead("n1")  # what was followed before is ended here
        await cluster.lead("n2")
        await cluster.settle()
        await cluster.lead("n1")  # and the stubborn one here
        assert node.failure is None
        assert (await node.propose(put("a"))).ok


@virtual_time
async def test_a_restarted_node_takes_up_where_its_state_ends() -> None:
    async with a_cluster() as cluster:
        await cluster.lead("n1")
        await cluster.nodes["n1"].propose(put("a", b"1"))
        await cluster.nodes["n3"].stop()
        await cluster.nodes["n1"].propose(put("b", b"2"))
        again = await cluster.add("n3")
        again.leader = "n1"
        assert (cluster.value("n3", "a"), cluster.value("n3", "b")) == (b"1", b"2")
        assert cluster.events["n3"] == [], "what was folded at the start is no news"
        await again.propose(put("c", b"3"))
        assert cluster.value("n3", "c") == b"3"


class GrowingLog(MemoryLog):
    """A log to which others append while this node asks how far it goes."""

    async def bounds(self) -> tuple[int, int]:
        found = await super().bounds()
        await self.meanwhile()
        return found

    async def meanwhile(self) -> None:
        """What the others do."""


@virtual_time
async def test_what_others_write_while_a_node_restarts_is_folded_once() -> None:
    async with a_cluster() as cluster:
        await cluster.lead("n1")
        await cluster.nodes["n1"].propose(put("a", b"1"))
        await cluster.nodes["n3"].stop()

        async def write() -> None:
            await cluster.nodes["n1"].propose(put("b", b"2"))

        log = GrowingLog(cluster.shared, node="n3")
        log.meanwhile = write  # type: ignore[method-assign]  # a fake's
        state = MemoryState()
        again = ClusterLog(
            log,
            state,
            VirtualClock(),
            SeededChance(cluster.chance),
            forward=cluster.forward,
            fold=one_step_each(toy_fold),
        )
        news: list[Event] = []
        again.subscribe(news.extend)
        try:
            await again.start("n3", "n3#2")
            assert state.applied_index == cluster.shared.last - 1
            async with asyncio.timeout(10):
                await again.reach(cluster.shared.last)
            assert [event.type for event in news] == [EventType.DOCUMENT_CHANGED]
        finally:
            await again.stop()


@virtual_time
async def test_a_leader_that_was_overtaken_may_still_say_what_it_wrote() -> None:
    async with a_cluster(latency=0.1) as cluster:
        await cluster.lead("n1")
        waiting = cluster.nodes["n2"].submit([put("a", b"1")])
        await asyncio.sleep(0.15)  # it has arrived, and is on its way into the log
        cluster.nodes["n2"].leader = "n3"
        [result] = await waiting
        assert result.ok
