"""What main and its API processes say to each other. Both are of one release: nothing here outlives an upgrade."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from chronos.model.events import Event
from chronos.model.execution import Execution, RangeRecord
from chronos.model.principal import Principal
from chronos.server.rest.documents import LastExecution
from chronos.server.settings import Http, Logging
from chronos.store.records import Position, RecordFilter
from chronos.store.segment import SegmentInfo

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
        routes: Method and path of every route there is.
    """

    folder: str
    address: str
    port: int
    http: Http
    hosts: list[str]
    logging: Logging
    cursors: bytes
    routes: list[tuple[str, str]]
    node: str


class Known(Message, frozen=True, array_like=True, tag="known"):
    """The last events before those that are told from now on; answers the `Watch` of that number."""

    number: int
    events: list[Event]


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


# What an API process asks, by a number of its own, and what main answers. Answers may come in another order.


class AskWho(Message, frozen=True, array_like=True, tag="ask_who"):
    """Who sends these headers (names in lower case), and how new does an answer have to be?"""

    id: int
    headers: list[tuple[str, str]]


class Who(Message, frozen=True, array_like=True, tag="who"):
    """Somebody, and the read barrier.

    Attributes:
        principal: None when nobody is recognised.
        refusal: Why not: slug, message and facts of the error.
        readable: Whether the files can be read; else main has to answer.
        applied: The last entry folded: what an answer is at least as new as.
        written: The entry that the state's file has to have: what is acknowledged, or seen by others, is in it then.
        now_us: The time that main goes by.
    """

    id: int
    principal: Principal | None
    refusal: tuple[str, str, dict[str, Any]] | None
    readable: bool
    applied: int
    written: int
    now_us: int


class AskLast(Message, frozen=True, array_like=True, tag="ask_last"):
    """How did these jobs run last?"""

    id: int
    jobs: list[str]


class Last(Message, frozen=True, array_like=True, tag="last"):
    """By job: its newest run, and when one last ended well (µs; 0 for never)."""

    id: int
    runs: list[tuple[LastExecution | None, int]]


class AskRows(Message, frozen=True, array_like=True, tag="ask_rows"):
    """Which of the records that you remember are these?

    Attributes:
        closed: The number under which the closed segments are known here.
    """

    id: int
    wanted: RecordFilter
    before: Position
    limit: int
    closed: int


class Segments(Message, frozen=True, array_like=True):
    """The segments in which everything is that main does not remember.

    Attributes:
        closed: The closed ones; None when they are those known under `number`.
    """

    number: int
    closed: list[SegmentInfo] | None
    live: list[SegmentInfo]


class Rows(Message, frozen=True, array_like=True, tag="rows"):
    """They are these.

    Attributes:
        series: By id, the newest series of what was redriven, whether it is one of those asked for or not.
    """

    id: int
    executions: list[Execution]
    ranges: list[RangeRecord]
    series: dict[str, int]
    segments: Segments


class AskOne(Message, frozen=True, array_like=True, tag="ask_one"):
    """What do you remember of this execution?"""

    id: int
    record_id: str
    instant_s: int
    closed: int


class One(Message, frozen=True, array_like=True, tag="one"):
    """This.

    Attributes:
        execution: Open, dead-lettered, or just ended; None when a segment has it, if anything has.
        ranges: Range records over its instant that are in no segment yet.
        late: What came back after it had ended.
    """

    id: int
    execution: Execution | None
    ranges: list[RangeRecord]
    late: list[str]
    segments: Segments


# An API process to main.


class Up(Message, frozen=True, array_like=True, tag="up"):
    """The first thing that an API process says: which one it is."""

    number: int


class Listening(Message, frozen=True, array_like=True, tag="listening"):
    """Requests are taken."""


class Watch(Message, frozen=True, array_like=True, tag="watch"):
    """Tell me what happens: somebody watches; with number 0, do so no longer."""

    number: int


class Counted(Message, frozen=True, array_like=True, tag="counted"):
    """What was counted and measured since the last time: (name, labels, by how much), (name, labels, values)."""

    counts: list[tuple[str, dict[str, str], float]]
    observed: list[tuple[str, dict[str, str], list[float]]]


class Pong(Message, frozen=True, array_like=True, tag="pong"):
    """It does."""

    number: int


Asked = Request | Piece
Answered = Begun | Piece
Question = AskWho | AskLast | AskRows | AskOne
Answer = Who | Last | Rows | One
ToProcess = Brief | Known | Happened | Missed | Draining | Stop | Ping | Answer
ToMain = Up | Listening | Watch | Counted | Pong | Question

read_asked = msgspec.msgpack.Decoder(Asked).decode
read_answered = msgspec.msgpack.Decoder(Answered).decode
read_to_process = msgspec.msgpack.Decoder(ToProcess).decode
read_to_main = msgspec.msgpack.Decoder(ToMain).decode
