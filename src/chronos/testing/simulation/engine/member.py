"""One member of the simulated etcd, from a start of its process to its end: it takes requests, and tells watchers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import Message

from chronos.cluster.etcd import rpc_pb2 as pb
from chronos.testing.simulation.engine.messages import LogEntry, Proposal, RaftMessage
from chronos.testing.simulation.engine.raft import Disk, Raft
from chronos.testing.simulation.engine.store import (
    COMPACTED,
    EVERYTHING_ABOVE,
    Answer,
    Change,
    Fact,
    MemberInfo,
    Refusal,
    Store,
    reads_locally,
    reads_only,
)
from chronos.testing.simulation.loop import OWNER

if TYPE_CHECKING:
    from chronos.testing.simulation.engine.cluster import SimEngine

REQUEST_BYTES_MAX = 1_536 << 10
OPS_MAX = 128
NO_LEADER_S = 1.5
"""A stream that asked for it is ended when its member has known no leader for so long."""
FSYNC_S = (0.0004, 0.0015)
DEFRAGMENT_S = 0.3
OUT_OF_SYNC = 5
"""A learner that lacks more entries than this is not promoted."""
VERSION = "3.5.30"

Answered = Callable[[Answer | Refusal], None]


class MemberDisk:
    """Everything of a member that outlives its process.

    Attributes:
        slow_s: What every sync takes on top, while a fault makes it slow.
    """

    def __init__(self, member: MemberInfo, members: list[MemberInfo], quota: int) -> None:
        self.member = member
        self.raft = Disk()
        self.store = Store(members, quota)
        self.slow_s = 0.0


class Watcher:
    """A watch of one stream.

    Attributes:
        gone: The stream was ended.
    """

    def __init__(self, create: pb.WatchCreateRequest, tell: Callable[[pb.WatchResponse], None]) -> None:
        self.create = create
        self.tell = tell
        self.gone = False
        self._key, self._end = create.key, create.range_end
        self._no_deletes = pb.WatchCreateRequest.NODELETE in create.filters

    def wants(self, fact: Fact) -> bool:
        """Whether it was asked to tell of this change."""
        if fact.deleted and self._no_deletes:
            return False
        key = fact.kv.key
        if not self._end:
            return bool(key == self._key)
        return key >= self._key and (self._end == EVERYTHING_ABOVE or key < self._end)


class Member:
    """A process of etcd. It has an owner of its own: a node may be stopped without its engine, and the reverse.

    Attributes:
        dead: It has crashed; what still comes of it reaches nothing.
        context: In which everything happens that it does.
        connected: Who is to be told when it is gone.
    """

    def __init__(self, engine: SimEngine, name: str, disk: MemberDisk) -> None:
        self.engine = engine
        self.name = name
        self.disk = disk
        self.dead = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self.context: Context = copy_context()
        self.context.run(OWNER.set, self)
        self.connected: dict[object, Callable[[], None]] = {}
        self._draw = engine.draw
        self._numbers = count(1)
        self._waiting: dict[int, Answered] = {}
        self._proposals: set[int] = set()
        self._reading: dict[int, tuple[int, Answered, Message]] = {}
        self._watchers: list[Watcher] = []
        self._ends: list[Callable[[str], None]] = []
        self._syncs: deque[Callable[[], None]] = deque()
        self._is_syncing = False
        self._busy_until = 0.0
        self._led_at = self.now
        self.raft = self.context.run(Raft, disk.member.id, disk.raft, self)

    # What Raft asks for.

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def draw(self) -> float:
        return self._draw.random()

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, self._alive(do), context=self.context)

    def _alive(self, do: Callable[[], None]) -> Callable[[], None]:
        def alive() -> None:
            if not self.dead:
                do()

        return alive

    def send(self, to: int, message: RaftMessage) -> None:
        self.engine.carry(self, to, message)

    def voters(self) -> list[int]:
        return [key for key, member in self.disk.store.members.items() if not member.is_learner]

    def others(self) -> list[int]:
        return [key for key in self.disk.store.members if key != self.disk.member.id]

    def synced(self, then: Callable[[], None]) -> None:
        self._syncs.append(then)
        if not self._is_syncing:
            self._sync()

    def _sync(self) -> None:
        """Sync once for everything that waits; what comes meanwhile waits for the next time."""
        self._is_syncing = True
        batch, disk = list(self._syncs), self.disk.raft
        self._syncs.clear()
        upto, cuts, term, vote = disk.last, disk.cuts, disk.term, disk.vote

        def done() -> None:
            if disk.cuts == cuts:
                disk.durable = max(disk.durable, upto)
            disk.kept_term, disk.kept_vote = term, vote
            for then in batch:
                if not self.dead:
                    then()
            if self._syncs and not self.dead:
                self._sync()
            else:
                self._is_syncing = False

        low, high = FSYNC_S
        self.later(low + (high - low) * self.draw() + self.disk.slow_s, done)

    def apply(self, index: int, entry: LogEntry) -> None:
        store, proposal = self.disk.store, entry.proposal
        known = len(store.facts)
        compacted = store.compacted
        if proposal is not None:
            try:
                answer: Answer | Refusal = store.apply(proposal.request)
            except Refusal as refusal:
                answer = refusal
            self._answer(proposal.id, answer)
        if store.compacted == compacted and len(store.facts) > known:
            self._tell(store.facts[known:])
        if self._reading:
            self._answer_reads()
        if store.is_full and self.disk.member.id not in store.alarms:
            alarm = pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, member_id=self.disk.member.id, alarm=pb.NOSPACE)
            self.raft.propose(Proposal(self.engine.number(), alarm))

    def readable(self, read: int, index: int) -> None:
        waiting = self._reading.get(read)
        if waiting is not None:
            self._reading[read] = (index, waiting[1], waiting[2])
            self._answer_reads()

    def _answer_reads(self) -> None:
        applied = self.disk.raft.applied
        for read, (index, answered, request) in list(self._reading.items()):
            if 0 <= index <= applied:
                del self._reading[read]
                answered(self._read(request))

    def panic(self, why: str) -> None:
        self.engine.panicked(self, why)

    # Requests.

    def take(self, path: str, request: Any, answered: Answered) -> Callable[[], None]:
        """Take a request; `answered` is called once, or never. Returns what forgets it."""
        left = self._busy_until - self.now
        if left > 0:
            self.later(left, lambda: _begun(self._forgetting(path, request, answered)))
            return lambda: None
        return self._forgetting(path, request, answered)

    def _forgetting(self, path: str, request: Any, answered: Answered) -> Callable[[], None]:
        number = self.engine.number()
        try:
            self._begin(number, path.rpartition("/")[2], request, partial(self._finish, answered))
        except Refusal as refusal:
            answered(refusal)

        def forget() -> None:
            self._waiting.pop(number, None)
            self._reading.pop(number, None)

        return forget

    def _finish(self, answered: Answered, answer: Answer | Refusal) -> None:
        if not isinstance(answer, Refusal):
            answer.header.CopyFrom(self.header())
        answered(answer)

    def header(self) -> pb.ResponseHeader:
        """Return how this member is, as every answer begins."""
        disk = self.disk
        return pb.ResponseHeader(member_id=disk.member.id, revision=disk.store.revision, raft_term=disk.raft.term)

    def _begin(self, number: int, method: str, request: Any, answered: Answered) -> None:
        match method:
            case "Range":
                self._read_or_wait(number, request, answered, is_local=request.serializable)
            case "Txn":
                self._begin_txn(number, request, answered)
            case "Status":
                answered(self._status())
            case "Defragment":
                self.disk.store.defragment()
                self._busy_until = self.now + DEFRAGMENT_S
                self.later(DEFRAGMENT_S, lambda: answered(pb.DefragmentResponse()))
            case "MoveLeader":
                self.raft.hand_over(request.target_id)
                answered(pb.MoveLeaderResponse())
            case "MemberList":
                self._read_or_wait(number, request, answered, is_local=not request.linearizable)
            case "MemberAdd" | "MemberRemove" | "MemberPromote":
                self._propose(number, self._change(method, request), answered)
            case _:
                self._propose(number, request, answered)

    def _begin_txn(self, number: int, request: pb.TxnRequest, answered: Answered) -> None:
        if max(len(request.compare), len(request.success), len(request.failure)) > OPS_MAX:
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: too many operations in txn request")
        if reads_only(request):
            self._read_or_wait(number, request, answered, is_local=reads_locally(request))
        elif request.ByteSize() > REQUEST_BYTES_MAX:
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: request is too large")
        else:
            self._propose(number, request, answered)

    def _propose(self, number: int, request: Message | Change, answered: Answered) -> None:
        self._waiting[number] = answered
        self.raft.propose(Proposal(number, request))

    def _answer(self, number: int, answer: Answer | Refusal) -> None:
        answered = self._waiting.pop(number, None)
        if answered is not None:
            answered(answer)

    def _read_or_wait(self, number: int, request: Message, answered: Answered, *, is_local: bool) -> None:
        if is_local:
            answered(self._read(request))
            return
        if self.disk.store.members.get(self.disk.member.id, self.disk.member).is_learner:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "etcdserver: rpc not supported for learner")
        self._reading[number] = (-1, answered, request)
        self.raft.read(number)

    def _read(self, request: Any) -> Answer:
        if isinstance(request, pb.MemberListRequest):
            return pb.MembersResponse(members=self.disk.store.listed())
        return self.disk.store.read(request)

    def _status(self) -> pb.StatusResponse:
        disk, store = self.disk.raft, self.disk.store
        own = store.members.get(self.disk.member.id, self.disk.member)
        return pb.StatusResponse(
            version=VERSION,
            db_size=store.bytes,
            db_size_in_use=store.used,
            leader=self.raft.leader,
            raft_index=disk.last,
            raft_term=disk.term,
            raft_applied_index=disk.applied,
            errors=[f"memberID:{one} alarm:NOSPACE " for one in sorted(store.alarms)],
            is_learner=own.is_learner,
        )

    def _change(self, method: str, request: Any) -> Change:
        store = self.disk.store
        if method == "MemberAdd":
            return Change("add", self.engine.named_at(request.peer_urls[0]))
        there = store.members.get(request.id)
        if there is None:
            raise Refusal(grpc.StatusCode.NOT_FOUND, "etcdserver: member not found")
        if method == "MemberRemove":
            return Change("remove", there)
        if not there.is_learner:
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "etcdserver: can only promote a learner member")
        if self.engine.lag_of(there.id) is None or (self.engine.lag_of(there.id) or 0) > OUT_OF_SYNC:
            words = "etcdserver: can only promote a learner member which is in sync with leader"
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, words)
        return Change("promote", there)

    # Watches.

    def watch(self, watcher: Watcher) -> None:
        """Begin a watch, with everything since its first revision."""
        store, create = self.disk.store, watcher.create
        watcher.tell(pb.WatchResponse(header=self.header(), created=True))
        if create.start_revision and create.start_revision < store.compacted:
            response = pb.WatchResponse(
                header=self.header(), canceled=True, compact_revision=store.compacted, cancel_reason=COMPACTED
            )
            watcher.tell(response)
            return
        self._watchers = [one for one in self._watchers if not one.gone]
        self._watchers.append(watcher)
        if create.start_revision and create.start_revision <= store.revision:
            self._tell_one(watcher, store.since(create.start_revision))

    def _tell(self, facts: list[Fact]) -> None:
        for watcher in self._watchers:
            if not watcher.gone:
                self._tell_one(watcher, facts)

    def _tell_one(self, watcher: Watcher, facts: list[Fact]) -> None:
        wanted = [fact for fact in facts if watcher.wants(fact)]
        first = watcher.create.start_revision
        wanted = [fact for fact in wanted if fact.kv.mod_revision >= first]
        if not wanted or self.engine.loses_an_event():
            return
        response = pb.WatchResponse(header=self.header())
        for fact in wanted:
            response.events.add(type=pb.Event.DELETE if fact.deleted else pb.Event.PUT, kv=fact.kv)
        watcher.tell(response)

    def watch_leader(self, end: Callable[[str], None]) -> None:
        """Call `end`, once, when this member has known no leader for a while."""
        self._ends.append(end)
        if len(self._ends) == 1:
            self._led_at = self.now
            self._look_for_leader()

    def _look_for_leader(self) -> None:
        if self.raft.leader:
            self._led_at = self.now
        elif self.now - self._led_at >= NO_LEADER_S:
            ends, self._ends = self._ends, []
            for end in ends:
                end("etcdserver: no leader")
            return
        if self._ends:
            self.later(NO_LEADER_S / 3, self._look_for_leader)

    def watch_leader_no_more(self, end: Callable[[str], None]) -> None:
        """Forget what was to be called."""
        if end in self._ends:
            self._ends.remove(end)

    def is_out_of_space(self) -> bool:
        """Whether it refuses every write for lack of space."""
        return bool(self.disk.store.alarms)


def _begun(forget: Callable[[], None]) -> None:
    """What begins late nobody forgets: it is answered, whether anybody waits still or not."""
