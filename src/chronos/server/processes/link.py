"""The API process's side of its link to main: what it asks, what it is told, and what it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from itertools import count
from pathlib import Path
from typing import TypeVar, cast

from chronos.server.live import Live, Mark, Wanted
from chronos.server.processes.forwarding import MainGone
from chronos.server.processes.frames import Connection, frame
from chronos.server.processes.messages import (
    Answer,
    AskLast,
    AskOne,
    AskRows,
    AskWho,
    Brief,
    Counted,
    Draining,
    Happened,
    Known,
    Last,
    Listening,
    Message,
    Missed,
    One,
    Ping,
    Pong,
    Question,
    Rows,
    Segments,
    Stop,
    Up,
    Watch,
    Who,
    read_to_process,
)
from chronos.store.records import Position, RecordFilter
from chronos.store.segment import SegmentInfo

CONNECT_S_MAX = 10.0
ANSWER_S_MAX = 10.0
QUESTIONS_MAX = 10_000

A = TypeVar("A", bound=Answer)


class RemoteLive(Live):
    """The live view of an API process: main tells it what happens for as long as somebody watches."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link
        self._streams = 0

    async def watch(self, wanted: Wanted, *, after: Mark | None) -> AsyncIterator[bytes]:
        self._streams += 1
        try:
            await self._link.watch()
            stream = cast("AsyncGenerator[bytes]", super().watch(wanted, after=after))
            async with aclosing(stream) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self._streams -= 1
            if not self._streams:
                self._link.unwatch()


class Link:
    """The link to main. Questions of one turn of the loop travel together, and so do their answers.

    Attributes:
        asked_to_stop: Set when main wants this process to end.
        is_draining: Whether the server is shutting down.
        live: Where events go to.
    """

    def __init__(self, path: Path, number: int) -> None:
        self._path = path
        self._number = number
        self._connection = Connection(self._on_message)
        self._brief: asyncio.Future[Brief] = asyncio.get_running_loop().create_future()
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._closed: tuple[int, list[SegmentInfo]] = (0, [])
        self._known: asyncio.Future[None] | None = None
        self._watch = 0
        self.asked_to_stop = asyncio.Event()
        self.is_draining = False
        self.live: Live = RemoteLive(self)

    async def open(self) -> Brief:
        """Return what main says of the server.

        Raises:
            OSError: There is no main, or it says nothing.
        """
        async with asyncio.timeout(CONNECT_S_MAX):
            await asyncio.get_running_loop().create_unix_connection(lambda: self._connection, str(self._path))
            self._say(Up(self._number))
            return await self._brief

    def say_listening(self) -> None:
        """Tell main that requests are taken."""
        self._say(Listening())

    def say_counted(self, counted: Counted) -> None:
        """Tell main what was counted."""
        self._say(counted)

    async def who(self, headers: list[tuple[str, str]]) -> Who:
        """Return who sends a request with these headers, and the read barrier. Raises MainGone."""
        return await self._ask(lambda number: AskWho(number, headers), Who)

    async def last(self, jobs: list[str]) -> Last:
        """Return how jobs ran last. Raises MainGone."""
        return await self._ask(lambda number: AskLast(number, jobs), Last)

    async def rows(self, wanted: RecordFilter, before: Position, limit: int) -> Rows:
        """Return the records that main remembers and that match. Raises MainGone."""
        return await self._ask(lambda number: AskRows(number, wanted, before, limit, self._closed[0]), Rows)

    async def one(self, record_id: str, instant_s: int) -> One:
        """Return what main remembers of an execution. Raises MainGone."""
        return await self._ask(lambda number: AskOne(number, record_id, instant_s, self._closed[0]), One)

    def infos(self, told: Segments) -> tuple[SegmentInfo, ...]:
        """Return all segments, in the order of their numbers."""
        if told.closed is not None and told.number > self._closed[0]:
            self._closed = (told.number, told.closed)
        # Answers come in any order: what one calls open, another may have called closed since.
        infos = {info.number: info for info in (*told.live, *self._closed[1])}
        return tuple(infos[number] for number in sorted(infos))

    async def watch(self) -> None:
        """Return when `live` is told what happens. Raises MainGone."""
        if self._known is None:
            self._known = asyncio.get_running_loop().create_future()
            self._watch = next(self._numbers)
            self._say(Watch(self._watch))
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                await asyncio.shield(self._known)
        except TimeoutError:
            raise MainGone from None

    def unwatch(self) -> None:
        """Be told no longer. Nobody waits for `watch` then."""
        if self._known is not None:
            self._known.cancel()
            self._known = None
            self._say(Watch(0))

    async def lost(self) -> None:
        """Return when main is gone."""
        await self._connection.lost.wait()

    def close(self) -> None:
        """Say what is to be said, and close."""
        self._connection.close()

    async def _ask(self, question: Callable[[int], Question], of: type[A]) -> A:
        if self._connection.lost.is_set() or len(self._waiting) >= QUESTIONS_MAX:
            raise MainGone
        number = next(self._numbers)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._connection.join(frame(question(number)))
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                answer = await future
        except TimeoutError:
            raise MainGone from None
        finally:
            del self._waiting[number]
        assert isinstance(answer, of), "an answer fits its question"
        return answer

    def _say(self, message: Message) -> None:
        self._connection.join(frame(message))

    def _on_message(self, raw: bytes) -> None:
        match read_to_process(raw):
            case Who() | Last() | Rows() | One() as answer:
                if (future := self._waiting.get(answer.id)) is not None and not future.done():
                    future.set_result(answer)
            case Happened(events):
                if self._is_known():
                    self.live.on_events(events)
            case Known() as known:
                self._on_known(known)
            case Missed():
                if self._is_known():
                    self.live.begin_with([])
            case Brief() as brief:
                self._brief.set_result(brief)
            case Ping(number):
                self._say(Pong(number))
            case Draining():
                self.is_draining = True
                self.live.close()
            case Stop():
                self.asked_to_stop.set()

    def _is_known(self) -> bool:
        return self._known is not None and self._known.done()

    def _on_known(self, known: Known) -> None:
        if self._known is not None and known.number == self._watch:
            self.live.begin_with(known.events)
            self._known.set_result(None)
