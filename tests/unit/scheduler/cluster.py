"""Several whole nodes over one log on virtual time: only the targets, the wires and the engine are played."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from tests.unit.scheduler.harness import BEGIN, BEGIN_S, Lookup, a_spec

from chronos.cluster.leadership import Leadership
from chronos.cluster.memory import MemoryLog, SharedLog
from chronos.cluster.peers.memory import MemoryPeers, Wires
from chronos.dispatch.executor import LocalExecutor
from chronos.dispatch.port import Delivered, Delivery, NotSent, OnDone, Outcome
from chronos.dispatch.right import RightToSend
from chronos.model.execution import Execution, RangeRecord
from chronos.model.job import Job
from chronos.model.sealing import Sealer
from chronos.scheduler.company import Company, Home
from chronos.scheduler.jobs import JobService
from chronos.scheduler.loop import Scheduler
from chronos.scheduler.pauses import PauseTimer
from chronos.scheduler.role import NodeRole
from chronos.store.clusterlog import ClusterLog
from chronos.store.queries import Queries
from chronos.store.records import AFTER_ALL, RecordFilter
from chronos.store.state import MemoryState
from chronos.store.tables import META, SHARDS
from chronos.testing import VirtualClock
from chronos.timing.clock import SeededChance

PATIENCE_S = 1.5


class Arrival(msgspec.Struct, frozen=True):
    """A first byte at a target; `at` and `instant` are seconds after the beginning."""

    job: str
    at: float
    instant: int
    attempt: int
    id: str
    token: str
    node: str

    @property
    def term(self) -> int:
        return int(self.token.split(".")[1])


class Cluster:
    """The world of several nodes.

    Attributes:
        held_back_until: Up to when a node's circuit breaker is open, by its name.
        handed_back: What was not sent because of that: ids of executions, and the node.
    """

    def __init__(self, *, seed: int = 1, latency: float = 0.002) -> None:
        self.shared = SharedLog()
        self.clock = VirtualClock(BEGIN)
        self.random = random.Random(seed)
        self.chance = SeededChance(self.random)
        self.latency = latency
        self.wires = Wires(latency=lambda: 0.001)
        self.nodes: dict[str, Node] = {}
        self.states: dict[str, MemoryState] = {}
        self.arrivals: list[Arrival] = []
        self.plays: dict[str, Callable[[Delivery], Awaitable[Outcome]]] = {}
        self.lives = 0
        self.held_back_until: dict[str, float] = {}
        self.handed_back: list[tuple[str, str]] = []

    @property
    def now(self) -> float:
        """Seconds after the beginning."""
        return self.clock.time() - BEGIN_S

    async def boot(self, name: str) -> Node:
        """Start a node, on what its last life has left."""
        self.lives += 1
        node = self.nodes[name] = Node(self, name, self.lives)
        await node.start()
        return node

    async def until(self, ready: Callable[[], bool], seconds: float = 30.0) -> None:
        """Let time pass until `ready`."""
        async with asyncio.timeout(seconds):
            while not ready():  # noqa: ASYNC110  # time is virtual
                await asyncio.sleep(0.01)

    @property
    def leader(self) -> Node:
        """The node that leads; there must be one."""
        return next(node for node in self.nodes.values() if not node.dead and node.commands.leads)

    @property
    def followers(self) -> list[Node]:
        return [node for node in self.nodes.values() if not node.dead and not node.commands.leads]

    async def a_leader(self) -> Node:
        """Wait until a node leads that lives, and plans; return it."""
        await self.until(lambda: any(n.leads_and_plans for n in self.nodes.values()))
        return self.leader

    async def rest(self) -> None:
        """Wait until every node that lives has folded the same, and nothing is open that is due."""
        living = [node for node in self.nodes.values() if not node.dead]
        await self.until(lambda: len({node.commands.applied for node in living}) == 1)

    def told(self, job: str) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.job == job]


class Node:
    """One life of one node."""

    def __init__(self, cluster: Cluster, name: str, life: int) -> None:
        self.cluster, self.name, self.dead = cluster, name, False
        self.incarnation = f"{name}#{life}"
        latency, patience = cluster.latency, cluster.random
        self.log = MemoryLog(
            cluster.shared,
            node=name,
            latency=lambda: latency,
            patience=lambda: PATIENCE_S + 0.3 * patience.random(),
        )
        self.state = cluster.states.setdefault(name, MemoryState())
        self.peers = MemoryPeers(cluster.wires, name)
        self.commands = ClusterLog(self.log, self.state, cluster.clock, cluster.chance, forward=self._forward)
        self.right = RightToSend(cluster.clock)
        self.company = Company(self.incarnation, self.commands, self.peers, cluster.clock, right=self.right)
        self.commands.on_alive = self.company.on_alive
        self.queries = Queries(self.state, bytes(32))
        self.executor: LocalExecutor
        self.scheduler = Scheduler(
            self.commands,
            self.queries,
            cluster.clock,
            self._make_executor,
            incarnation=self.incarnation,
            company=self.company,
        )
        self.jobs = JobService(
            self.commands,
            Lookup(self.queries),
            self.scheduler,
            clock=cluster.clock,
            chance=cluster.chance,
            sealer=Sealer(bytes(32), cluster.chance),
            check_target=lambda target: None,
        )
        self.home = Home(self.commands, self.scheduler.recall_here)
        pauses = PauseTimer(self.commands, self.queries, self.jobs, cluster.clock)
        role = NodeRole(name, self.commands, self.company, self.scheduler, lambda: pauses)
        self.leadership = Leadership(self.log, name, role)
        self._watching: asyncio.Task[None] | None = None

    async def _forward(self, node: str, commands: Sequence[bytes]) -> tuple[int, int]:
        return await self.peers.at(node).forward(commands)

    def _make_executor(self, on_done: OnDone) -> LocalExecutor:
        self.executor = LocalExecutor(self._deliver, on_done, self.cluster.clock, right=self.right)
        return self.executor

    async def _deliver(self, delivery: Delivery) -> Outcome:
        cluster = self.cluster
        if self.dead:
            await asyncio.Event().wait()
        if (left_s := cluster.held_back_until.get(self.name, 0.0) - cluster.now) > 0:
            cluster.handed_back.append((delivery.execution_id, self.name))
            return NotSent("breaker", left_s)
        arrival = Arrival(
            delivery.job_name,
            cluster.now,
            delivery.scheduled_s - BEGIN_S,
            delivery.attempt,
            delivery.execution_id,
            delivery.token,
            self.name,
        )
        cluster.arrivals.append(arrival)
        play = cluster.plays.get(delivery.job_name)
        outcome = await play(delivery) if play is not None else Delivered()
        if self.dead:
            await asyncio.Event().wait()
        return outcome

    async def start(self) -> None:
        await self.commands.start(self.name, self.incarnation)
        self.cluster.wires.join(self.name, self.home)
        await self.executor.__aenter__()
        await self.scheduler.__aenter__()
        await self.leadership.__aenter__()
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        await asyncio.gather(self.scheduler.failure(), self.leadership.failure())

    def check(self) -> None:
        """Raise what has gone wrong inside the node."""
        if self._watching is not None and self._watching.done() and not self._watching.cancelled():
            self._watching.result()
        if not self.dead and self.commands.failure is not None:
            raise self.commands.failure

    @property
    def leads_and_plans(self) -> bool:
        return not self.dead and self.commands.leads and self.scheduler.standstill() == ""

    def kill(self) -> None:
        """As kill -9 of process and engine: whatever still runs of it reaches nothing."""
        self.check()
        self.dead = True
        self.log.cut_off = True
        self.cluster.wires.leave(self.name, self.home)
        self.cluster.wires.cut |= {(self.name, other) for other in self.cluster.nodes}
        self.cluster.states[self.name] = MemoryState()  # what was not in the log is gone; the log has it all

    async def stop(self, drain_s: float = 30.0) -> None:
        """Stop as on SIGTERM."""
        await self.leadership.leave()
        await self.scheduler.stop(drain_s=drain_s)
        await self.end()

    async def end(self) -> None:
        """Let go of everything."""
        if self._watching is not None:
            self._watching.cancel()
        await self.leadership.__aexit__(None, None, None)
        await self.scheduler.stop(drain_s=0.0)
        await self.executor.__aexit__(None, None, None)
        if not self.dead:
            self.cluster.wires.leave(self.name, self.home)
            self.check()
        await self.commands.stop()
        self.dead = True

    async def create(self, name: str, schedule: str = "* * * * * *", **spec: Any) -> Job:
        return (await self.jobs.create(a_spec(name, schedule, **spec), by="ann")).job

    async def records(self, job: Job) -> list[Execution | RangeRecord]:
        """Return everything that this node knows about a job's instants, oldest first."""
        found = await self.state.find_records(RecordFilter(job_id=job.id), AFTER_ALL, 1_000_000)
        return sorted(found, key=lambda r: r.first_s if isinstance(r, RangeRecord) else r.scheduled_s)

    @property
    def term(self) -> int:
        meta = self.commands.view.get(META, "meta")
        return meta.term if meta is not None else 0

    @property
    def mark_s(self) -> int:
        """The high-water mark, in seconds after the beginning."""
        shard = self.commands.view.get(SHARDS, "0")
        return shard.hwm_s - BEGIN_S if shard is not None else 0


@asynccontextmanager
async def a_cluster(nodes: int = 3, **settings: Any) -> AsyncIterator[Cluster]:
    """Run a cluster that has a leader."""
    cluster = Cluster(**settings)
    everybody: list[Node] = []
    boot = cluster.boot

    async def booted(name: str) -> Node:
        node = await boot(name)
        everybody.append(node)
        return node

    cluster.boot = booted  # type: ignore[method-assign]
    for number in range(nodes):
        await cluster.boot(f"n{number + 1}")
    await cluster.a_leader()
    try:
        yield cluster
        for node in everybody:
            node.check()
    finally:
        for node in everybody:
            async with asyncio.timeout(60):
                await node.end()
