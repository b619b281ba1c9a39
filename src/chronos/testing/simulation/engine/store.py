"""What members of etcd apply, in the order they agreed on: keys with revisions, and the space they take. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, TypeVar

import grpc
from google.protobuf.message import Message
from msgspec import Struct

from chronos.cluster.etcd import rpc_pb2 as pb

OVERHEAD_BYTES = 64
"""What a revision of a key weighs besides key and value."""
NO_SPACE = "etcdserver: mvcc: database space exceeded"
COMPACTED = "etcdserver: mvcc: required revision has been compacted"
FUTURE = "etcdserver: mvcc: required revision is a future revision"
EVERYTHING_ABOVE = b"\0"

R = TypeVar("R")
N = TypeVar("N", bytes, int)


class Answer(Protocol):
    """What is answered: every message of etcd that is an answer begins with how its member is."""

    @property
    def header(self) -> pb.ResponseHeader: ...


class Refusal(Exception):
    """etcd's answer is no.

    Attributes:
        code: As gRPC has it.
    """

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class Fact(NamedTuple):
    """One change of one key: `kv.mod_revision` says when."""

    deleted: bool
    kv: pb.KeyValue


class MemberInfo(Struct, frozen=True):
    """A member, as all of them know it."""

    id: int
    name: str
    peer_url: str
    is_learner: bool


class Change(Struct, frozen=True):
    """A change of who the members are: `add` (a learner), `promote` or `remove`."""

    kind: str
    member: MemberInfo


class Store:
    """The keys of one member, up to the entry it has applied.

    Attributes:
        members: By id; a change holds from the entry on with which it is applied.
        quota: What the database may weigh, in bytes; 0 for no limit.
        bytes: What the file takes; it never shrinks but by `defragment`.
        used: What of it is in use.
        alarms: Ids of the members that have run out of space: until they are lifted nobody may write.
    """

    def __init__(self, members: Iterable[MemberInfo], quota: int = 0) -> None:
        self.members = {member.id: member for member in members}
        self.quota = quota
        self.revision = 1
        self.compacted = 0
        self.bytes = self.used = 0
        self.alarms: set[int] = set()
        self.facts: list[Fact] = []
        self._names: list[bytes] = []
        self._kvs: dict[bytes, pb.KeyValue] = {}

    # Applying.

    def apply(self, what: Message | Change) -> Answer:
        """Apply a request, and return what is answered, without its header.

        Raises:
            Refusal: It is not done; or, when space has run out with it, done and refused nevertheless, as etcd does.
        """
        match what:
            case Change():
                return self._change(what)
            case pb.TxnRequest():
                return self._bounded(self._txn, what, _writes(what))
            case pb.PutRequest():
                return self._bounded(self._put_alone, what, True)
            case pb.CompactionRequest():
                return self._compact(what.revision)
            case pb.AlarmRequest():
                return self._alarm(what)
        raise AssertionError(f"nobody proposes {what}")

    def _bounded(self, do: Callable[[R], Answer], what: R, writes: bool) -> Answer:
        if writes and self.alarms:
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, NO_SPACE)
        answer = do(what)
        if writes and self.is_full:
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, NO_SPACE)
        return answer

    @property
    def is_full(self) -> bool:
        """Whether the file is bigger than it may be."""
        return bool(self.quota) and self.bytes > self.quota

    def _put_alone(self, request: pb.PutRequest) -> pb.PutResponse:
        self.revision += 1
        self._put(request, self.revision)
        return pb.PutResponse()

    def _txn(self, request: pb.TxnRequest) -> pb.TxnResponse:
        holds = all(self._holds(compare) for compare in request.compare)
        ops = request.success if holds else request.failure
        answer = pb.TxnResponse(succeeded=holds)
        changed, revision = False, self.revision + 1
        for op in ops:
            kind = op.WhichOneof("request")
            said = answer.responses.add()
            if kind == "request_range":
                said.response_range.CopyFrom(self.range(op.request_range))
            elif kind == "request_put":
                self._put(op.request_put, revision)
                said.response_put.SetInParent()
                changed = True
            else:
                said.response_delete_range.deleted = self._delete(op.request_delete_range, revision)
                changed |= said.response_delete_range.deleted > 0
        self.revision += changed
        return answer

    def _holds(self, compare: pb.Compare) -> bool:
        kv = self._kvs.get(compare.key)
        match compare.target:
            case pb.Compare.VALUE:
                return kv is not None and _compared(compare.result, kv.value, compare.value)
            case pb.Compare.CREATE:
                return _compared(compare.result, kv.create_revision if kv else 0, compare.create_revision)
            case pb.Compare.MOD:
                return _compared(compare.result, kv.mod_revision if kv else 0, compare.mod_revision)
        return _compared(compare.result, kv.version if kv else 0, compare.version)

    def _put(self, request: pb.PutRequest, revision: int) -> None:
        before = self._kvs.get(request.key)
        kv = pb.KeyValue(
            key=request.key,
            value=request.value,
            create_revision=before.create_revision if before else revision,
            mod_revision=revision,
            version=before.version + 1 if before else 1,
        )
        if before is None:
            insort(self._names, kv.key)
        self._kvs[kv.key] = kv
        self.facts.append(Fact(False, kv))
        self.bytes += _weight(kv)
        self.used += _weight(kv)

    def _delete(self, request: pb.DeleteRangeRequest, revision: int) -> int:
        first, last = self._places(request.key, request.range_end)
        gone = self._names[first:last]
        del self._names[first:last]
        for name in gone:
            del self._kvs[name]
            self.facts.append(Fact(True, pb.KeyValue(key=name, mod_revision=revision)))
        return len(gone)

    def _compact(self, revision: int) -> pb.CompactionResponse:
        if revision <= self.compacted:
            raise Refusal(grpc.StatusCode.OUT_OF_RANGE, COMPACTED)
        if revision > self.revision:
            raise Refusal(grpc.StatusCode.OUT_OF_RANGE, FUTURE)
        self.compacted = revision
        place = bisect_left(self.facts, revision, key=lambda fact: fact.kv.mod_revision)
        self.facts = self.facts[place:]
        self.used = sum(_weight(kv) for kv in self._kvs.values())
        return pb.CompactionResponse()

    def _alarm(self, request: pb.AlarmRequest) -> pb.AlarmResponse:
        if request.action == pb.AlarmRequest.ACTIVATE:
            self.alarms.add(request.member_id)
        elif request.action == pb.AlarmRequest.DEACTIVATE:
            self.alarms.discard(request.member_id)
        return pb.AlarmResponse(alarms=[pb.AlarmMember(member_id=one, alarm=pb.NOSPACE) for one in sorted(self.alarms)])

    def _change(self, change: Change) -> Answer:
        member = change.member
        if change.kind == "add":
            if any(one.is_learner for one in self.members.values()):
                raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "etcdserver: too many learner members in cluster")
            self.members[member.id] = member
            return pb.MemberAddResponse(member=listed(member), members=self.listed())
        if member.id not in self.members:
            raise Refusal(grpc.StatusCode.NOT_FOUND, "etcdserver: member not found")
        if change.kind == "remove":
            del self.members[member.id]
        else:
            there = self.members[member.id]
            self.members[member.id] = MemberInfo(there.id, there.name, there.peer_url, False)
        return pb.MembersResponse(members=self.listed())

    def listed(self) -> list[pb.Member]:
        """Return the members, by id."""
        return [listed(self.members[key]) for key in sorted(self.members)]

    # Reading.

    def read(self, request: pb.RangeRequest | pb.TxnRequest) -> Answer:
        """Return what a request reads that changes nothing."""
        return self.range(request) if isinstance(request, pb.RangeRequest) else self._txn(request)

    def range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        """Return the keys from `key` to before `range_end`, in order."""
        first, last = self._places(request.key, request.range_end)
        answer = pb.RangeResponse(count=last - first)
        if request.count_only:
            return answer
        if request.limit and last - first > request.limit:
            last, answer.more = first + request.limit, True
        for name in self._names[first:last]:
            kv = self._kvs[name]
            if request.keys_only:
                kv = pb.KeyValue(
                    key=name, create_revision=kv.create_revision, mod_revision=kv.mod_revision, version=kv.version
                )
            answer.kvs.append(kv)
        return answer

    def since(self, revision: int) -> list[Fact]:
        """Return every change from this revision on that is still known."""
        place = bisect_left(self.facts, revision, key=lambda fact: fact.kv.mod_revision)
        return self.facts[place:]

    def defragment(self) -> None:
        """Give back what is not in use."""
        self.bytes = self.used

    def _places(self, key: bytes, end: bytes) -> tuple[int, int]:
        first = bisect_left(self._names, key)
        if not end:
            return first, first + (first < len(self._names) and self._names[first] == key)
        return first, len(self._names) if end == EVERYTHING_ABOVE else max(first, bisect_left(self._names, end))


def listed(member: MemberInfo) -> pb.Member:
    """Return a member as etcd lists it."""
    return pb.Member(id=member.id, name=member.name, peer_urls=[member.peer_url], is_learner=member.is_learner)


def reads_only(request: pb.TxnRequest) -> bool:
    """Whether a transaction changes nothing, whatever it finds."""
    return all(op.WhichOneof("request") == "request_range" for op in (*request.success, *request.failure))


def reads_locally(request: pb.TxnRequest) -> bool:
    """Whether every read of it may be answered by one member alone."""
    return all(op.request_range.serializable for op in (*request.success, *request.failure))


def _writes(request: pb.TxnRequest) -> bool:
    return any(op.WhichOneof("request") == "request_put" for op in (*request.success, *request.failure))


def _compared(result: int, there: N, wanted: N) -> bool:
    if result == pb.Compare.EQUAL:
        return there == wanted
    if result == pb.Compare.NOT_EQUAL:
        return there != wanted
    return there > wanted if result == pb.Compare.GREATER else there < wanted


def _weight(kv: pb.KeyValue) -> int:
    return len(kv.key) + len(kv.value) + OVERHEAD_BYTES
