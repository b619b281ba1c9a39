"""Main's side of the links: briefs each API process, hears that it is up, and asks whether it still turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from chronos.server.processes.exchange import is_ours, open_server
from chronos.server.processes.frames import Connection, frame
from chronos.server.processes.messages import (
    Brief,
    Counted,
    Listening,
    Message,
    Ping,
    Pong,
    Stop,
    Up,
    Watch,
    read_to_main,
)
from chronos.telemetry import Telemetry

log = structlog.get_logger("chronos.processes")


class Desk:
    """The links to all API processes.

    Args:
        brief: Returns what an API process has to know; asked once there is a listener.
    """

    def __init__(self, path: Path, brief: Callable[[], Brief], telemetry: Telemetry) -> None:
        self._path = path
        self._brief = brief
        self._telemetry = telemetry
        self._server: asyncio.AbstractServer | None = None
        self._links: dict[int, Link] = {}
        self._expected: dict[int, asyncio.Event] = {}

    async def start(self) -> None:
        """Take links from now on."""
        self._server = await open_server(self._connection, self._path)

    def _connection(self) -> Connection:
        link = Link(self)
        return link.connection

    async def stop(self) -> None:
        """Close every link, and take no more. Stopping twice, or unstarted, does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for link in list(self._links.values()):
            link.connection.close()
        self._path.unlink(missing_ok=True)

    def expect(self, number: int) -> asyncio.Event:
        """Return what is set when process `number`, which is about to be started, takes requests."""
        event = self._expected[number] = asyncio.Event()
        return event

    def link(self, number: int) -> Link | None:
        """Return the link to process `number`; None when it has none."""
        link = self._links.get(number)
        return None if link is None or link.connection.lost.is_set() else link

    def tell_all(self, message: Message) -> None:
        """Send a message to every process."""
        raw = frame(message)
        for link in self._links.values():
            link.connection.put(raw)

    def take_up(self, link: Link, number: int) -> None:
        """Note which process a link leads to, and tell it what it has to know."""
        self._links[number] = link
        link.connection.put(frame(self._brief()))

    def take_listening(self, number: int) -> None:
        """Note that process `number` takes requests."""
        if number in self._expected:
            self._expected[number].set()

    def count(self, counted: Counted) -> None:
        """Add what a process has counted to what is counted here."""
        for name, labels, value in counted.counts:
            self._telemetry.count(name, value, **labels)
        for name, labels, values in counted.observed:
            for value in values:
                self._telemetry.observe(name, value, **labels)


class Link:
    """The link to one API process.

    Attributes:
        number: Which one; 0 as long as it has not said.
        answered: The last ping it has answered.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.connection = Connection(self._on_message, self._on_made)
        self.number = 0
        self.answered = 0

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
            case Watch():
                pass

    def ping(self, number: int) -> None:
        """Ask whether its loop turns."""
        self.connection.put(frame(Ping(number)))

    def stop(self) -> None:
        """Ask it to let what is under way end, and to end."""
        self.connection.put(frame(Stop()))
