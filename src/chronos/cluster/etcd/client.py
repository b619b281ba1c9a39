"""Asking etcd: one call at a time at one endpoint, until there is an answer that says something, or time is up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

# gRPC's threads do not survive a fork, and its handlers around one have hung processes that only wanted to exec.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
import grpc.aio
from google.protobuf.message import Message
from msgspec import Struct

from chronos.cluster.etcd import rpc_pb2 as pb
from chronos.errors import ChronosError, LogDamaged, LogFailed, StorageFull, Unavailable

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

MESSAGE_BYTES_MAX = 64 << 20
OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 2_000),
    ("grpc.keepalive_timeout_ms", 1_500),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),  # what may be asked again is decided here
]
# Without a leader, a member would keep a watch open and be silent on it.
HAS_LEADER = (("hasleader", "true"),)

NO_SPACE = "database space exceeded"
COMPACTED = "revision has been compacted"

# After these nobody knows whether it was done.
_NO_ANSWER = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.ABORTED,
}


class Method(Generic[Q, A]):
    """One of etcd's methods, with what it is asked and what it answers."""

    def __init__(self, path: str, asked: type[Q], answers: type[A]) -> None:
        self.path = path
        self.asked = asked
        self.answers = answers


RANGE = Method("/etcdserverpb.KV/Range", pb.RangeRequest, pb.RangeResponse)
PUT = Method("/etcdserverpb.KV/Put", pb.PutRequest, pb.PutResponse)
TXN = Method("/etcdserverpb.KV/Txn", pb.TxnRequest, pb.TxnResponse)
COMPACT = Method("/etcdserverpb.KV/Compact", pb.CompactionRequest, pb.CompactionResponse)
WATCH = Method("/etcdserverpb.Watch/Watch", pb.WatchRequest, pb.WatchResponse)
STATUS = Method("/etcdserverpb.Maintenance/Status", pb.StatusRequest, pb.StatusResponse)
ALARM = Method("/etcdserverpb.Maintenance/Alarm", pb.AlarmRequest, pb.AlarmResponse)
DEFRAGMENT = Method("/etcdserverpb.Maintenance/Defragment", pb.DefragmentRequest, pb.DefragmentResponse)
MOVE_LEADER = Method("/etcdserverpb.Maintenance/MoveLeader", pb.MoveLeaderRequest, pb.MoveLeaderResponse)
MEMBER_LIST = Method("/etcdserverpb.Cluster/MemberList", pb.MemberListRequest, pb.MembersResponse)
MEMBER_ADD = Method("/etcdserverpb.Cluster/MemberAdd", pb.MemberAddRequest, pb.MemberAddResponse)
MEMBER_REMOVE = Method("/etcdserverpb.Cluster/MemberRemove", pb.MemberRequest, pb.MembersResponse)
MEMBER_PROMOTE = Method("/etcdserverpb.Cluster/MemberPromote", pb.MemberRequest, pb.MembersResponse)
MEMBER_UPDATE = Method("/etcdserverpb.Cluster/MemberUpdate", pb.MemberUpdateRequest, pb.MembersResponse)


class EtcdTls(Struct, frozen=True):
    """What a client shows and whom it believes, each in PEM."""

    ca: bytes
    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "EtcdTls(…)"


class ClientSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long etcd is waited for.

    Attributes:
        call_s: Seconds one call may take.
        answer_s: Seconds after which a question is given up that has been asked again and again.
        pause_s: Seconds between two calls of one question.
    """

    call_s: float = 1.5
    answer_s: float = 5.0
    pause_s: float = 0.05


class Channel(Protocol):
    """As much of a channel of `grpc.aio` as is used."""

    def unary_unary(
        self, method: str, *, request_serializer: Callable[..., bytes], response_deserializer: Callable[..., Any]
    ) -> Callable[..., Any]: ...

    def stream_stream(
        self, method: str, *, request_serializer: Callable[..., bytes], response_deserializer: Callable[..., Any]
    ) -> Callable[..., Any]: ...

    async def close(self) -> None: ...


Connect = Callable[[str, EtcdTls | None], Channel]
"""Makes the channel to an endpoint; it need not be connected yet."""


class NoAnswer(Exception):
    """A call has failed such that nobody knows whether it was done."""


class Refused(Exception):
    """etcd has answered, and the answer was no."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{details} ({code.name})")
        self.code = code
        self.details = details

    def says(self, words: str) -> bool:
        """Whether this is in what etcd said."""
        return words in self.details


class Client:
    """Speaks with the members at `endpoints`, with one of them until it does not answer.

    Args:
        endpoints: Each `http://host:port`, `https://host:port`, `host:port` or `unix:///path`.
        connect: Makes the channel to one of them.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        tls: EtcdTls | None = None,
        settings: ClientSettings | None = None,
        *,
        connect: Connect | None = None,
    ) -> None:
        if not endpoints:
            raise ValueError("at least one endpoint of etcd is needed")
        self.settings = settings or ClientSettings()
        self._channels = [(connect or _channel)(endpoint, tls) for endpoint in endpoints]
        self._endpoints = list(endpoints)
        self._calls: dict[tuple[int, str], Callable[..., Any]] = {}
        self._at = 0
        self._closed = False

    async def close(self) -> None:
        """Close every connection; what is under way ends without an answer."""
        self._closed = True
        for channel in self._channels:
            await channel.close()

    @property
    def endpoints(self) -> list[str]:
        """Whom it speaks with; the places of `once` and `watch` count these."""
        return list(self._endpoints)

    async def once(self, method: Method[Q, A], request: Q, *, at: int | None = None, call_s: float | None = None) -> A:
        """Ask once, and turn to the next endpoint when there is no answer.

        Args:
            at: Ask this endpoint, and no other.

        Raises:
            NoAnswer: Nobody knows whether it was done.
            Refused: It was not, or not only; see the method.
        """
        place = self._at if at is None else at
        try:
            call = self._call(place, method)
            answer: A = await call(request, timeout=call_s or self.settings.call_s)
        except grpc.aio.AioRpcError as exc:
            if at is None:
                self._turn_from(place)
            raise _said(exc) from exc
        return answer

    def _call(self, place: int, method: Method[Any, Any], *, stream: bool = False) -> Callable[..., Any]:
        if self._closed:
            raise LogFailed("The cluster's log is closed.")
        if (place, method.path) not in self._calls:
            channel = self._channels[place]
            make = channel.stream_stream if stream else channel.unary_unary
            self._calls[place, method.path] = make(
                method.path,
                request_serializer=method.asked.SerializeToString,
                response_deserializer=method.answers.FromString,
            )
        return self._calls[place, method.path]

    def _turn_from(self, place: int) -> None:
        if self._at == place:  # somebody else may have turned already
            self._at = (place + 1) % len(self._channels)

    async def ask(
        self, method: Method[Q, A], request: Q, *, answer_s: float | None = None, call_s: float | None = None
    ) -> A:
        """Ask until there is an answer. Only for what may be done twice.

        Raises:
            Unavailable: There was none for `answer_s` seconds; nobody knows whether it was done.
            Refused: It was not done.
        """
        seconds = self.settings.answer_s if answer_s is None else answer_s
        last = ""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        return await self.once(method, request, call_s=call_s)
                    except NoAnswer as exc:
                        last = str(exc)
                    await self.pause()
        except TimeoutError as exc:
            raise unanswered(seconds, last) from exc

    async def pause(self) -> None:
        """Wait for as long as has to lie between two calls of one question."""
        await asyncio.sleep(self.settings.pause_s)

    @asynccontextmanager
    async def watch(self, create: pb.WatchCreateRequest) -> AsyncIterator[Callable[[], Any]]:
        """Yield a function that waits for the watch's next message.

        It raises `NoAnswer` when the watch has ended, also because its member has lost sight of a leader.
        """
        place = self._at
        call = self._call(place, WATCH, stream=True)(metadata=HAS_LEADER)

        async def following() -> pb.WatchResponse:
            try:
                message = await call.read()
            except grpc.aio.AioRpcError as exc:
                self._turn_from(place)
                raise NoAnswer(_told(exc)) from exc
            if not isinstance(message, pb.WatchResponse):
                self._turn_from(place)
                raise NoAnswer("etcd has ended the watch")
            return message

        try:
            try:
                await call.write(pb.WatchRequest(create_request=create))
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as exc:
                self._turn_from(place)
                raise NoAnswer(f"etcd did not take the watch: {exc}") from exc
            yield following
        finally:
            call.cancel()


def _channel(endpoint: str, tls: EtcdTls | None) -> Channel:
    scheme, _, rest = endpoint.partition("://")
    target = endpoint if not rest or scheme in ("unix", "dns", "ipv4", "ipv6") else rest
    options = list(OPTIONS)
    if target.startswith("unix:"):
        options.append(("grpc.default_authority", "localhost"))  # Go refuses the path, which gRPC would put there
    if tls is None:
        return grpc.aio.insecure_channel(target, options=options)
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
    return grpc.aio.secure_channel(target, credentials, options=options)


def _said(exc: grpc.aio.AioRpcError) -> Exception:
    code = exc.code()
    if code in _NO_ANSWER:
        return NoAnswer(_told(exc))
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and NO_SPACE not in (exc.details() or ""):
        return NoAnswer(_told(exc))  # too many requests: ask again
    return Refused(code, exc.details() or "")


def _told(exc: grpc.aio.AioRpcError) -> str:
    return f"{exc.details() or 'no reason was given'} ({exc.code().name})"


def unanswered(seconds: float, last: str) -> Unavailable:
    """Return what is raised when etcd has not answered for so long."""
    why = f": {last}" if last else ""
    return Unavailable(
        f"The cluster's log (etcd) has not answered for {seconds:g} s{why}. "
        "Fewer than half of its members may be running, or reachable from here.",
        reason=last,
    )


def translated(refused: Refused) -> ChronosError:
    """Return a refusal as one of the errors that a log raises."""
    if refused.says(NO_SPACE):
        return StorageFull("The cluster's log has reached its limit; nothing was changed.")
    if refused.code is grpc.StatusCode.DATA_LOSS:
        return LogDamaged(f"etcd says that its data is damaged: {refused.details}.")
    if refused.code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return Unavailable(f"etcd does not admit this node: {refused.details}. Check its certificate.")
    return Unavailable(f"etcd has refused what it was asked: {refused}.")
