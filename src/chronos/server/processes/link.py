"""The API process's side of its link to main: what it is told, and what it is asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path

from chronos.server.processes.frames import Connection, frame
from chronos.server.processes.messages import (
    Brief,
    Draining,
    Happened,
    Listening,
    Message,
    Missed,
    Ping,
    Pong,
    Stop,
    Up,
    read_to_process,
)

CONNECT_S_MAX = 10.0


class Link:
    """The link to main.

    Attributes:
        asked_to_stop: Set when main wants this process to end.
        is_draining: Whether the server is shutting down.
    """

    def __init__(self, path: Path, number: int) -> None:
        self._path = path
        self._number = number
        self._connection = Connection(self._on_message)
        self._brief: asyncio.Future[Brief] = asyncio.get_running_loop().create_future()
        self.asked_to_stop = asyncio.Event()
        self.is_draining = False

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

    async def lost(self) -> None:
        """Return when main is gone."""
        await self._connection.lost.wait()

    def close(self) -> None:
        """Say what is to be said, and close."""
        self._connection.close()

    def _say(self, message: Message) -> None:
        self._connection.put(frame(message))

    def _on_message(self, raw: bytes) -> None:
        match read_to_process(raw):
            case Brief() as brief:
                self._brief.set_result(brief)
            case Ping(number):
                self._say(Pong(number))
            case Draining():
                self.is_draining = True
            case Stop():
                self.asked_to_stop.set()
            case Happened() | Missed():
                pass
