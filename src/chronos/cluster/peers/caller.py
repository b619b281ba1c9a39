"""The calling end of a connection: keeps it up, and matches answers to questions."""

from __future__ import annotations

import asyncio
import ssl
from itertools import count
from typing import TypeVar

import msgspec
import structlog

from chronos import __version__
from chronos.cluster.peers.roster import Identity, Roster
from chronos.cluster.peers.stream import Stream
from chronos.cluster.peers.tls import Credentials, identity_in
from chronos.cluster.peers.wire import (
    FRAME_BYTES_MAX,
    OLDEST,
    VERSION,
    Answer,
    Ask,
    Call,
    Forget,
    Goodbye,
    Hello,
    Ping,
    Pong,
    Refused,
    ToCaller,
    agreed,
    error_in,
    packed,
    to_caller,
)
from chronos.errors import ChronosError, Overloaded, PeerSilent, PeerUnreachable, Unprocessable
from chronos.frames import ProtocolBroken
from chronos.timing.clock import Chance

log = structlog.get_logger("chronos.peers")

CONNECT_S = 3.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 2.0
PING_S, SILENCE_S = 1.0, 4.0
WAITING_MAX = 4_096
UNSENT_BYTES_MAX = 32 << 20

Q = TypeVar("Q")
A = TypeVar("A")


class Caller:
    """A connection to one member, made again whenever it is lost. `run` it; ask it with `call`."""

    def __init__(self, node: str, own: Identity, roster: Roster, credentials: Credentials, chance: Chance) -> None:
        self.node = node
        self._own = own
        self._roster = roster
        self._credentials = credentials
        self._chance = chance
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._stream: Stream[ToCaller] | None = None
        self._greeted = asyncio.Event()
        self._up = asyncio.Event()
        self._said = ""
        self._refused_since: float | None = None

    @property
    def is_up(self) -> bool:
        """Whether the member can be asked now."""
        return self._up.is_set()

    @property
    def trouble(self) -> str:
        """Why it cannot be asked, as far as is known."""
        return self._said

    @property
    def refused_s(self) -> float:
        """For how long every try has ended with its host saying that nobody listens there; 0 when the last did not."""
        since = self._refused_since
        return 0.0 if since is None else asyncio.get_running_loop().time() - since

    async def run(self) -> None:
        """Keep a connection until cancelled."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                await self._connect()
                wait_s = FIRST_WAIT_S
                await self._watch()
            except (OSError, TimeoutError, ProtocolBroken, ValueError) as exc:  # ValueError: no name of a host
                self._note(_in_words(exc))
                is_refused, before = isinstance(exc, ConnectionRefusedError), self._refused_since
                self._refused_since = (before or asyncio.get_running_loop().time()) if is_refused else None
            finally:
                self._end()
            # Half of it by chance: members that lost the same one must not come back all at once.
            await asyncio.sleep(wait_s * (0.5 + self._chance.bytes(1)[0] / 512))
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def call(self, call: Call[Q, A], question: Q, *, within_s: float | None = None) -> A:
        """Ask, and return the answer.

        Args:
            within_s: How long the answer may take, connecting included; None takes the call's own.

        Raises:
            PeerUnreachable: Nothing was sent.
            PeerSilent: It was sent, and whether it was done is not known.
            Overloaded: Too much waits for this member already; nothing was sent.
            ChronosError: What the member answered, as it was raised there.
        """
        seconds = call.within_s if within_s is None else within_s
        ends_s = asyncio.get_running_loop().time() + seconds
        await self._until_up(seconds)
        stream = self._stream
        assert stream is not None, "it is up"
        if len(self._waiting) >= WAITING_MAX or stream.unsent_bytes > UNSENT_BYTES_MAX:
            raise Overloaded(f"Too much waits for `{self.node}` already.")
        number = next(self._numbers)
        future: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        left_s = ends_s - asyncio.get_running_loop().time()
        try:
            stream.send(Ask(number, call.name, max(1, int(left_s * 1000)), packed(question)), FRAME_BYTES_MAX)
        except ProtocolBroken as broken:
            raise Unprocessable(f"This is too large to be sent to `{self.node}`: {broken}.") from None
        self._waiting[number] = future
        return self._read(call, await self._answer(number, future, stream, left_s))

    async def ask_once(self, call: Call[Q, A], question: Q, *, within_s: float) -> A:
        """Connect, ask, and leave; for who is not running.

        Raises:
            PeerUnreachable: Nothing was sent; the message says what was in the way.
            ChronosError: What `call` raises.
        """
        try:
            await self._connect()
            return await self.call(call, question, within_s=within_s)
        except (OSError, TimeoutError, ProtocolBroken, ValueError) as exc:
            raise PeerUnreachable(f"`{self.node}` cannot be asked: {_in_words(exc)}.") from exc
        finally:
            self._end()

    async def _until_up(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._up.wait()
        except TimeoutError:
            raise PeerUnreachable(f"`{self.node}` cannot be reached: {self._said or 'it does not answer'}.") from None

    async def _answer(
        self, number: int, future: asyncio.Future[msgspec.Raw], stream: Stream[ToCaller], left_s: float
    ) -> msgspec.Raw:
        try:
            async with asyncio.timeout(left_s):
                return await future
        except TimeoutError:
            raise PeerSilent(f"`{self.node}` did not answer in time.") from None
        finally:
            del self._waiting[number]
            if future.cancelled() and not stream.closed.is_set():
                stream.send(Forget(number), FRAME_BYTES_MAX)

    def _read(self, call: Call[Q, A], body: msgspec.Raw) -> A:
        try:
            return call.read_answer(body)
        except msgspec.MsgspecError as wrong:
            raise PeerSilent(f"`{self.node}` answered `{call.name}` with what cannot be read: {wrong}.") from None

    # The connection.

    async def _connect(self) -> None:
        at = self._roster.address_of(self.node)
        if at is None:
            raise ProtocolBroken("it is no member any more")
        self._greeted.clear()
        stream = Stream(to_caller, self._hear, frame_bytes_max=FRAME_BYTES_MAX, lost=self._greeted.set)
        async with asyncio.timeout(CONNECT_S):
            self._stream = stream
            await asyncio.get_running_loop().create_connection(
                lambda: stream,
                at.host,
                at.port,
                ssl=self._credentials.client(),
                server_hostname="",  # the name in the certificate is the member's, not the host's
                ssl_handshake_timeout=CONNECT_S,
                ssl_shutdown_timeout=1.0,
            )
            found = identity_in(stream.certificate())
            if found != Identity(self._own.cluster, self.node):
                raise ProtocolBroken(f"at {at} there is {_whose(found)}")
            stream.send(Hello(VERSION, OLDEST, self._own.node, __version__), FRAME_BYTES_MAX)
            await self._greeted.wait()
        if stream.closed.is_set() or stream.trouble:
            raise ProtocolBroken(stream.trouble or self._said or "it closed the connection")
        self._said = ""
        self._refused_since = None
        self._up.set()
        log.info("peer_connected", node=self.node)

    async def _watch(self) -> None:
        """Return when the connection is lost, or the member says nothing any more."""
        stream, loop = self._stream, asyncio.get_running_loop()
        assert stream is not None, "connected"
        while not stream.closed.is_set():
            if loop.time() - stream.heard_s > SILENCE_S:
                raise ProtocolBroken("it says nothing any more")
            stream.send(Ping(), FRAME_BYTES_MAX)
            try:
                async with asyncio.timeout(PING_S):
                    await stream.closed.wait()
            except TimeoutError:
                continue
        raise ProtocolBroken(stream.trouble or self._said or "it closed the connection")

    def _end(self) -> None:
        """Nobody is left waiting for a connection that is gone."""
        self._up.clear()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abort()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(PeerSilent(f"The connection to `{self.node}` was lost before it answered."))

    def _note(self, what: str) -> None:
        if what != self._said:
            log.warning("peer_lost", node=self.node, reason=what)
        self._said = what

    # What it says.

    def _hear(self, message: ToCaller) -> None:
        match message:
            case Hello():
                if agreed(message) is None:
                    raise ProtocolBroken(f"it speaks versions {message.oldest} to {message.newest}")
                self._greeted.set()
            case Goodbye(reason):
                raise ProtocolBroken(f"it says: {reason[:300]}")
            case Answer(number, body):
                # A copy: the frame's own bytes lie in whatever came together with it.
                self._settle(number, msgspec.Raw(bytes(body)))
            case Refused():
                self._settle(message.number, error_in(message))
            case Pong():
                pass

    def _settle(self, number: int, answer: msgspec.Raw | ChronosError) -> None:
        future = self._waiting.get(number)
        if future is None or future.done():
            return
        if isinstance(answer, ChronosError):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def _whose(found: Identity | None) -> str:
    return "nobody with a certificate of a member" if found is None else f"`{found.node}` of cluster {found.cluster}"


def _in_words(exc: Exception) -> str:
    if isinstance(exc, ProtocolBroken):
        return str(exc)
    if isinstance(exc, TimeoutError):
        return "it does not answer"
    if isinstance(exc, ssl.SSLError):
        return f"TLS: {exc.reason or exc}"
    return (getattr(exc, "strerror", None) or str(exc) or type(exc).__name__).lower()
