"""What main and its API processes say to each other. Both are of one release: nothing here outlives an upgrade."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from chronos.model.events import Event
from chronos.server.settings import Http, Logging

Headers = list[tuple[bytes, bytes]]


class Message(Struct, frozen=True, array_like=True):
    """One frame."""


# A request that is passed on, and its answer. One at a time on a connection.


class Request(Message, frozen=True, array_like=True, tag="request"):
    """A request as the listener has read it, with its body or the beginning of it.

    Attributes:
        more: Whether `Piece`s of the body follow.
    """

    method: str
    path: str
    raw_path: bytes
    query: bytes
    headers: Headers
    scheme: str
    body: bytes
    more: bool


class Begun(Message, frozen=True, array_like=True, tag="begun"):
    """An answer, with its body or the beginning of it."""

    status: int
    headers: Headers
    body: bytes
    more: bool


class Piece(Message, frozen=True, array_like=True, tag="piece"):
    """More of a request's or an answer's body."""

    body: bytes
    more: bool


# Main to an API process.


class Brief(Message, frozen=True, array_like=True, tag="brief"):
    """What an API process has to know; the first thing that main says.

    Attributes:
        address: What the listener is bound to, as `port` says, and what clients may call it besides.
        cursors: The key that pages' cursors are made with.
    """

    folder: str
    address: str
    port: int
    http: Http
    hosts: list[str]
    logging: Logging
    cursors: bytes


class Happened(Message, frozen=True, array_like=True, tag="happened"):
    """Events for those who watch."""

    events: list[Event]


class Missed(Message, frozen=True, array_like=True, tag="missed"):
    """The process took its events too slowly, and some were left out."""


class Draining(Message, frozen=True, array_like=True, tag="draining"):
    """The server is shutting down: no more writes, and streams end."""


class Stop(Message, frozen=True, array_like=True, tag="stop"):
    """Let what is under way end, then end."""


class Ping(Message, frozen=True, array_like=True, tag="ping"):
    """Does your loop turn?"""

    number: int


# An API process to main.


class Up(Message, frozen=True, array_like=True, tag="up"):
    """The first thing that an API process says: which one it is."""

    number: int


class Listening(Message, frozen=True, array_like=True, tag="listening"):
    """Requests are taken."""


class Watch(Message, frozen=True, array_like=True, tag="watch"):
    """Tell me what happens: somebody watches; or do so no longer."""

    on: bool


class Counted(Message, frozen=True, array_like=True, tag="counted"):
    """What was counted and measured since the last time: (name, labels, by how much), (name, labels, values)."""

    counts: list[tuple[str, dict[str, str], float]]
    observed: list[tuple[str, dict[str, str], list[float]]]


class Pong(Message, frozen=True, array_like=True, tag="pong"):
    """It does."""

    number: int


Asked = Request | Piece
Answered = Begun | Piece
ToProcess = Brief | Happened | Missed | Draining | Stop | Ping
ToMain = Up | Listening | Watch | Counted | Pong

read_asked = msgspec.msgpack.Decoder(Asked).decode
read_answered = msgspec.msgpack.Decoder(Answered).decode
read_to_process = msgspec.msgpack.Decoder(ToProcess).decode
read_to_main = msgspec.msgpack.Decoder(ToMain).decode
