"""Nodes that take the lead from each other, over a log and a network that are made of events: no loop, no waiting.

Requests take effect late, or never, or after whoever sent them has given up; answers get lost; nodes sleep, die and
come back under their name with nothing remembered; nodes see the log late, or not at all.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from chronos.cluster.etcd.takeover import Bid, Takeover, TakeoverSettings
from chronos.cluster.port import Claim, LeaderInfo

BEAT_S = 0.25
CLAIM_S = 0.7
APPEND_CALL_S = 0.5
TICK_S = 0.02
NOBODY = LeaderInfo("", "", 0)


class Faults(NamedTuple):
    """What may go wrong while it does.

    Attributes:
        late: Part of the requests that take effect after whoever sent them has given up.
        lost: Part of the requests, and of the answers, that are lost.
        strikes: How often a node is put to sleep, killed, or cut off.
    """

    late: float = 0.0
    lost: float = 0.0
    strikes: int = 0


NO_FAULTS = Faults()


@dataclass
class Store:
    """The log and the leader's key, with the compares of the real ones. `checks_epoch` and `checks_last` can be turned
    off, to see whether anybody notices."""

    checks_epoch: bool = True
    checks_last: bool = True
    revision: int = 0
    leader: LeaderInfo = NOBODY
    entries: list[tuple[int, str]] = field(default_factory=list)
    taken: list[LeaderInfo] = field(default_factory=list)

    def append(self, index: int, data: str, epoch: int) -> str:
        """Return "done", "fenced" or "other"."""
        if index <= len(self.entries):
            return "done" if self.entries[index - 1] == (epoch, data) else "fenced"
        if self.checks_epoch and self.leader.epoch != epoch:
            return "fenced"
        assert index == len(self.entries) + 1 or not self.checks_epoch, "a gap"
        self.revision += 1
        self.entries.append((epoch, data))
        return "done"

    def claim(self, node: str, bid: Bid) -> Claim:
        if self.leader.epoch != bid.seen:
            return Claim(False, self.leader)
        if self.checks_last and bid.last is not None and bid.last < len(self.entries):
            return Claim(False, self.leader, moved=True)
        self.revision += 1
        self.leader = LeaderInfo(node, "", self.revision)
        self.taken.append(self.leader)
        return Claim(True, self.leader)


class World:
    """Time, the store, the network and the nodes; equal for equal seeds."""

    def __init__(self, seed: int, nodes: int, faults: Faults = NO_FAULTS, store: Store | None = None) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.store = store or Store()
        self.faults = faults
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.nodes = [Node(self, f"n{n}", n) for n in range(nodes)]

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, do))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, do = heapq.heappop(self._events)
            do()
        self.now = until

    def travel_s(self) -> float:
        return 0.001 + 0.02 * self.random.random()

    def request(self, node: Node, effect: Callable[[], object], answer: Callable[[object], None]) -> None:
        """Have `effect` happen at the store, and `answer` at the node with what came of it; or only one, or none."""
        chance = self.random.random()
        if node.is_cut or chance < self.faults.lost:
            return
        late_s = self.random.uniform(0.3, 6.0) if chance < self.faults.lost + self.faults.late else 0.0

        def arrive() -> None:
            said = effect()
            if not node.is_cut and self.random.random() >= self.faults.lost:
                self.after(self.travel_s(), lambda: node.awake(lambda: answer(said)))

        self.after(self.travel_s() + late_s, arrive)

    def strike(self, until: float) -> None:
        """Do something to a node, and undo it before `until`."""
        node = self.random.choice(self.nodes)
        begin = self.now + self.random.uniform(0, (until - self.now) * 0.8)
        end = min(begin + self.random.choice([0.2, 1.0, 2.0, 5.0]), until)
        do, undo = self.random.choice([(node.sleep, node.wake), (node.die, node.rise), (node.cut, node.mend)])
        self.after(begin - self.now, do)
        self.after(end - self.now, undo)


class Node:
    """Does what a node does: follows, claims, and appends while it leads, at least that it is there."""

    def __init__(self, world: World, name: str, rank: int) -> None:
        self.world = world
        self.name = name
        self.settings = TakeoverSettings(rank=rank)
        self.is_cut = self.is_asleep = self.is_dead = False
        self._life = 0
        self._woken: list[Callable[[], None]] = []
        self.acknowledged: list[tuple[int, int, str]] = []
        self._begin()

    def _begin(self) -> None:
        self._life += 1
        self.takeover = Takeover(self.name, self.settings, self.world.now, self.world.random.random)
        self._claiming_until = self._append_until = self._again_at = 0.0
        self._sent_at = self._asked_at = self.world.now
        self._pending: tuple[int, str] | None = None
        self._next = 0
        life = self._life
        self.world.after(self.world.random.random() * TICK_S, lambda: self._tick(life))

    @property
    def leads(self) -> bool:
        return bool(self.takeover.epoch) and not self.is_dead

    def awake(self, do: Callable[[], None]) -> None:
        """Do something now, or when it is awake again; never in another life."""
        life = self._life
        if self.is_asleep:
            self._woken.append(lambda: do() if life == self._life and not self.is_dead else None)
        elif not self.is_dead:
            do()

    def sleep(self) -> None:
        self.is_asleep = True

    def wake(self) -> None:
        self.is_asleep = False
        woken, self._woken = self._woken, []
        for do in woken:
            do()

    def die(self) -> None:
        self.is_dead, self._woken = True, []

    def rise(self) -> None:
        if self.is_dead:
            self.is_dead = False
            self._begin()

    def cut(self) -> None:
        self.is_cut = True

    def mend(self) -> None:
        self.is_cut = False

    def _tick(self, life: int) -> None:
        if life != self._life or self.is_dead:
            return
        self.world.after(TICK_S, lambda: self._tick(life))
        self.awake(self._turn)

    def _turn(self) -> None:
        now = self.world.now
        self._look()
        if self.takeover.epoch:
            self._lead(now)
        elif now >= self._claiming_until:
            if self._claiming_until:
                self._claiming_until = 0.0
                self.takeover.unanswered(now)
            bid = self.takeover.bid(now)
            if bid:
                self._claim(now, bid)

    def _look(self) -> None:
        """What a watch shows, some time after it was so."""
        if self.is_cut:
            return
        store, life = self.world.store, self._life
        leader, last = store.leader, len(store.entries)

        def seen() -> None:
            if life == self._life:
                self.takeover.heard_leader(self.world.now, leader)
                self.takeover.heard_entry(self.world.now, last)

        self.world.after(self.world.travel_s(), lambda: self.awake(seen))

    def _claim(self, now: float, bid: Bid) -> None:
        self._claiming_until = now + CLAIM_S
        until, life = self._claiming_until, self._life

        def answered(claim: object) -> None:
            assert isinstance(claim, Claim)
            if life != self._life or self._claiming_until != until:
                return
            self._claiming_until = 0.0
            self.takeover.claimed(self.world.now, claim)
            if claim.won:
                self._next, self._pending, self._asked_at = 0, None, 0.0

        self.world.request(self, lambda: self.world.store.claim(self.name, bid), answered)

    def _lead(self, now: float) -> None:
        if not self._next:
            self._ask_how_far(now)
        elif self._pending:
            if now >= self._append_until:
                self._step_down(now)
            elif now >= self._again_at:
                self._send(now)
        elif now - self._sent_at >= BEAT_S or self.world.random.random() < 0.1:
            self._pending = (self._next, f"{self.name}/{self._life}/{self._next}/{self.world.random.random()}")
            self._sent_at = now
            self._append_until = now + self.takeover.append_within_s(now)
            self._send(now)

    def _ask_how_far(self, now: float) -> None:
        if now - self._asked_at < CLAIM_S:
            return
        self._asked_at = now
        epoch = self.takeover.epoch

        def answered(last: object) -> None:
            assert isinstance(last, int)
            if self.takeover.epoch == epoch and not self._next:
                self._next = last + 1

        self.world.request(self, lambda: len(self.world.store.entries), answered)

    def _send(self, now: float) -> None:
        assert self._pending
        self._again_at = now + APPEND_CALL_S
        (index, data), epoch, sent_at = self._pending, self.takeover.epoch, self._sent_at

        def answered(said: object) -> None:
            if self.takeover.epoch != epoch or self._pending != (index, data):
                return
            if said == "done":
                self.acknowledged.append((index, epoch, data))
                self._pending, self._next = None, index + 1
                self.takeover.appended(sent_at)
                self.takeover.heard_entry(self.world.now, index)
            else:
                self._step_down(self.world.now)

        self.world.request(self, lambda: self.world.store.append(index, data, epoch), answered)

    def _step_down(self, now: float) -> None:
        self._pending, self._next = None, 0
        self.takeover.lost(now)
