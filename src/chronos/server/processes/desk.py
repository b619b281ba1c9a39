"""Main's side of the links: briefs each API process, hears that it is up, and asks whether it still turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from chronos.model.events import Event
from chronos.server.live import SHOWN, Live
from chronos.server.processes.answers import Answers
from chronos.server.processes.exchange import is_ours, open_server
from chronos.server.processes.frames import Connection, frame
from chronos.server.processes.messages import (
    Brief,
    Counted,
    Draining,
    Happened,
    Known,
    Listening,
    Missed,
    Ping,
    Pong,
    Question,
    Stop,
    Up,
    Watch,
    read_to_main,
)
from chronos.telemetry import Telemetry

UNSENT_BYTES_MAX = 8 << 20
"""More than this waits for no process that does not take its events."""


class Desk:
    """The links to all API processes."""

    def __init__(self, answers: Answers, live: Live, telemetry: Telemetry) -> None:
        self._answers = answers
        self._live = live
        self._telemetry = telemetry
        self._path: Path | None = None
        self._brief: Callable[[], Brief] | None = None
        self._server: asyncio.AbstractServer | None = None
        self._links: dict[int, Link] = {}
        self._expected: dict[int, asyncio.Event] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def start(self, path: Path, brief: Callable[[], Brief]) -> None:
        """Take links from now on, over a socket at `path`; `brief` returns what an API process has to know."""
        self._path, self._brief = path, brief
        self._server = await open_server(self._connection, path)

    def _connection(self) -> Connection:
        link = Link(self)
        return link.connection

    async def stop(self) -> None:
        """Close every link, and take no more. Stopping twice, or unstarted, does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)
        for link in list(self._links.values()):
            link.connection.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def expect(self, number: int) -> asyncio.Event:
        """Return what is set when process `number`, which is about to be started, takes requests."""
        event = self._expected[number] = asyncio.Event()
        return event

    def link(self, number: int) -> Link | None:
        """Return the link to process `number`; None when it has none."""
        link = self._links.get(number)
        return None if link is None or link.connection.lost.is_set() else link

    def on_events(self, events: Sequence[Event]) -> None:
        """Tell those in whose processes somebody watches. Called on the event loop; returns at once."""
        watching = [link for link in self._links.values() if link.watches]
        if watching and (shown := [event for event in events if event.type in SHOWN]):
            raw = frame(Happened(shown))
            for link in watching:
                link.tell(raw)

    def on_close(self) -> None:
        """Tell every process that the server is shutting down."""
        for link in self._links.values():
            link.connection.join(frame(Draining()))

    def answer(self, link: Link, question: Question) -> None:
        """Answer a question over `link`."""
        task = asyncio.get_running_loop().create_task(self._answer(link, question))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, link: Link, question: Question) -> None:
        link.connection.join(frame(await self._answers.to(question)))

    def watch(self, link: Link, number: int) -> None:
        """From now on tell `link` what happens, after what happened last; with number 0, do so no longer."""
        link.watches = number != 0
        if link.watches:
            link.connection.join(frame(Known(number, self._live.known())))

    def take_up(self, link: Link, number: int) -> None:
        """Note which process a link leads to, and tell it what it has to know."""
        assert self._brief is not None, "links come in once it has started"
        self._links[number] = link
        link.connection.put(frame(self._brief()))

    def take_listening(self, number: int) -> None:
        """Note that process `number` takes requests."""
        if number in self._expected:
            self._expected[number].set()

    def note_restart(self, number: int) -> None:
        """Count that process `number` has ended and is replaced."""
        self._telemetry.count("api_process_restarts_total", process=str(number))

    def count(self, counted: Counted) -> None:
        """Add what a process has counted to what is counted here."""
        for name, labels, value in counted.counts:
            self._telemetry.count(name, value, **labels)
        for name, labels, values in counted.observed:
            self._telemetry.observe_all(name, values, **labels)


class Link:
    """The link to one API process.

    Attributes:
        number: Which one; 0 as long as it has not said.
        answered: The last ping it has answered.
        watches: Whether it is told what happens.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.connection = Connection(self._on_message, self._on_made)
        self.number = 0
        self.answered = 0
        self.watches = False
        self._has_missed = False

    def _on_made(self, connection: Connection) -> None:
        if not is_ours(connection):
            connection.abort()

    def _on_message(self, raw: bytes) -> None:
        match read_to_main(raw):
            case Up(number):
                self.number = number
                self._desk.take_up(self, number)
            case Listening():
                self._desk.take_listening(self.number)
            case Counted() as counted:
                self._desk.count(counted)
            case Pong(number):
                self.answered = number
            case Watch(number):
                self._desk.watch(self, number)
            case question:
                self._desk.answer(self, question)

    def tell(self, events: bytes) -> None:
        """Send events; to a process that does not take them, word that it has missed some, as soon as it does."""
        if self.connection.unsent_bytes > UNSENT_BYTES_MAX:
            self._has_missed = True
        elif self._has_missed:
            self._has_missed = False
            self.connection.join(frame(Missed()))
        else:
            self.connection.join(events)

    def ping(self, number: int) -> None:
        """Ask whether its loop turns."""
        if self._has_missed:
            self.tell(b"")
        self.connection.put(frame(Ping(number)))

    def stop(self) -> None:
        """Ask it to let what is under way end, and to end."""
        self.connection.put(frame(Stop()))
