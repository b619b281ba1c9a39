"""The listener's end of a connection: who is it, may it come in, and the answers to what it asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog

from chronos import __version__
from chronos.cluster.peers.roster import Identity, Roster
from chronos.cluster.peers.stream import Stream
from chronos.cluster.peers.tls import expiry_in, identity_in
from chronos.cluster.peers.wire import (
    FRAME_BYTES_MAX,
    GREETING_BYTES_MAX,
    NO_MEMBER,
    OLDEST,
    VERSION,
    Answer,
    Ask,
    Call,
    CallUnknown,
    Forget,
    Goodbye,
    Hello,
    Ping,
    Pong,
    Refused,
    ToListener,
    agreed,
    packed,
    refusal,
    to_listener,
)
from chronos.errors import ChronosError, Overloaded, PeerSilent, Unprocessable
from chronos.frames import ProtocolBroken
from chronos.timing.clock import Clock

log = structlog.get_logger("chronos.peers")

UNDER_WAY_MAX = 1_024
"""Questions of one connection that are being answered; more are refused."""

WITHIN_S_MAX = 120.0
HELLO_S, SILENCE_S, LOOK_S = 5.0, 15.0, 1.0

Handler = Callable[[str, Any], Awaitable[Any]]
"""Answers (who asks, question). A `ChronosError` is the answer, too."""

Handlers = Mapping[str, tuple["Call[Any, Any]", Handler]]


class Session:
    """One member that has connected. `run` it; it is over when that returns.

    Attributes:
        node: Who it is; empty until its certificate was seen.
    """

    def __init__(self, own: Identity, roster: Roster, handlers: Handlers, clock: Clock) -> None:
        self._own = own
        self._roster = roster
        self._handlers = handlers
        self._clock = clock
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._greeted = asyncio.Event()
        self._not_after_s = 0.0
        self.node = ""
        self.stream: Stream[ToListener] = Stream(
            to_listener, self._hear, frame_bytes_max=GREETING_BYTES_MAX, made=self._seen, lost=self._greeted.set
        )

    async def run(self) -> None:
        """Answer until the other side leaves, has to leave, or says nothing for too long."""
        try:
            async with asyncio.timeout(HELLO_S):
                await self._greeted.wait()
        except TimeoutError:
            self.stream.abort("it did not say who it is")
        try:
            while not await _over(self.stream, LOOK_S):
                self._look()
        finally:
            self.stream.abort()
            for task in list(self._under_way.values()):
                task.cancel()
            await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def dismiss(self, reason: str) -> None:
        """Say why, and close."""
        if not self.stream.closed.is_set():
            self.stream.send(Goodbye(reason), FRAME_BYTES_MAX)
            self.stream.close()

    # Who it is.

    def _seen(self) -> None:
        certificate = self.stream.certificate()
        found = identity_in(certificate)
        if found is None or found.cluster != self._own.cluster:
            self._reject("its certificate is not of this cluster")
        elif not self._roster.knows(found.node) or found.node == self._own.node:
            self._reject(f"`{found.node}` {NO_MEMBER}")
        else:
            self.node = found.node
            self._not_after_s = expiry_in(certificate)

    def _reject(self, reason: str) -> None:
        self.stream.trouble = reason  # nothing that it sends is looked at
        self.dismiss(reason)

    def _greet(self, hello: Hello) -> None:
        self.stream.send(Hello(VERSION, OLDEST, self._own.node, __version__), FRAME_BYTES_MAX)
        if hello.node != self.node:
            self._reject(f"it calls itself `{hello.node}`, and its certificate `{self.node}`")
        elif agreed(hello) is None:
            self._reject(f"it speaks versions {hello.oldest} to {hello.newest}, and this node {OLDEST} to {VERSION}")
        else:
            self.stream.allow(FRAME_BYTES_MAX)
            self._greeted.set()

    def _look(self) -> None:
        silent_s = asyncio.get_running_loop().time() - self.stream.heard_s
        if not self._roster.knows(self.node):
            self._reject(f"`{self.node}` is no member any more")
        elif self._not_after_s <= self._clock.time():
            self._reject("its certificate has expired")
        elif silent_s > SILENCE_S:
            self.stream.abort(f"it has said nothing for {silent_s:.0f} s")

    # What it says.

    def _hear(self, message: ToListener) -> None:
        if self.stream.trouble:
            return
        is_hello = isinstance(message, Hello)
        if is_hello == self._greeted.is_set():
            raise ProtocolBroken("it greets twice" if is_hello else "it asks before it has greeted")
        match message:
            case Hello():
                self._greet(message)
            case Ping():
                self.stream.send(Pong(), FRAME_BYTES_MAX)
            case Forget(number):
                if (task := self._under_way.get(number)) is not None:
                    task.cancel()
            case Ask():
                self._take(message)

    def _take(self, ask: Ask) -> None:
        if ask.number in self._under_way:
            raise ProtocolBroken("it uses a number twice")
        if len(self._under_way) >= UNDER_WAY_MAX:
            self._say(refusal(ask.number, Overloaded()))
            return
        task = asyncio.get_running_loop().create_task(self._answer(ask), name=f"{ask.call} of {self.node}")
        self._under_way[ask.number] = task
        task.add_done_callback(lambda _: self._under_way.pop(ask.number, None))

    async def _answer(self, ask: Ask) -> None:
        known = self._handlers.get(ask.call)
        try:
            if known is None:
                raise CallUnknown(f"`{self._own.node}` does not know the call `{ask.call[:64]}`.")
            call, handler = known
            async with asyncio.timeout(min(max(ask.within_ms, 1) / 1000, WITHIN_S_MAX)):
                answer = await handler(self.node, call.read_question(ask.body))
                await self.stream.takes_more()
            self._say(Answer(ask.number, packed(answer)))
        except msgspec.MsgspecError as wrong:
            self._say(refusal(ask.number, Unprocessable(f"The question cannot be read: {wrong}")))
        except ChronosError as error:
            self._say(refusal(ask.number, error))
        except TimeoutError:
            self._say(refusal(ask.number, PeerSilent(f"`{self._own.node}` was not done with `{ask.call}` in time.")))
        except Exception:
            log.exception("call_failed", call=ask.call, by=self.node)
            self._say(refusal(ask.number, PeerSilent(f"`{self._own.node}` failed over it; its log says why.")))

    def _say(self, message: Answer | Refused) -> None:
        try:
            self.stream.send(message, FRAME_BYTES_MAX)
        except ProtocolBroken as broken:
            too_large = Unprocessable(f"The answer is too large: {broken}.")
            self.stream.send(refusal(message.number, too_large), FRAME_BYTES_MAX)


async def _over(stream: Stream[Any], seconds: float) -> bool:
    """Return whether a connection ends within so long."""
    try:
        async with asyncio.timeout(seconds):
            await stream.closed.wait()
    except TimeoutError:
        return stream.closed.is_set()
    return True
