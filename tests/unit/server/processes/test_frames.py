"""Frames: whole messages out of whatever pieces the socket makes of them."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from chronos.server.processes.frames import FRAME_BYTES_MAX, UNREAD_BYTES_MAX, Connection, frame
from chronos.server.processes.messages import Piece, Ping, read_asked


class Wire:
    """A transport that keeps what is done to it."""

    def __init__(self) -> None:
        self.written = b""
        self.done: list[str] = []

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return "abort" in self.done

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.done.append(name)


def connected(connection: Connection) -> Wire:
    wire = Wire()
    connection.connection_made(cast("asyncio.BaseTransport", wire))
    return wire


@given(bodies=st.lists(st.binary(max_size=50), max_size=8), cuts=st.lists(st.integers(1, 20), min_size=1, max_size=40))
def test_messages_are_put_together_wherever_they_were_cut(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frame(Piece(body, bool(body))) for body in bodies)
    taken: list[bytes] = []

    async def run() -> None:
        connection = Connection(taken.append)
        connected(connection)
        at = 0
        for turn in range(len(stream) + 1):
            size = cuts[turn % len(cuts)]
            connection.data_received(stream[at : at + size])
            at += size

    asyncio.run(run())
    assert [read_asked(raw) for raw in taken] == [Piece(body, bool(body)) for body in bodies]


def test_a_frame_without_bound_ends_the_connection() -> None:
    async def run() -> None:
        connection = Connection()
        wire = connected(connection)
        connection.data_received((FRAME_BYTES_MAX + 1).to_bytes(4) + b"x")
        assert wire.done == ["abort"]

    asyncio.run(run())


def test_who_takes_nothing_stops_the_sender_until_he_does() -> None:
    async def run() -> None:
        connection = Connection()
        wire = connected(connection)
        piece = frame(Piece(b"x" * (UNREAD_BYTES_MAX // 2), False))
        for _ in range(4):
            connection.data_received(piece)
        assert wire.done == ["pause_reading"]
        for _ in range(4):
            assert await connection.get() is not None
        assert wire.done == ["pause_reading", "resume_reading"]

    asyncio.run(run())


def test_what_came_before_the_end_is_still_taken() -> None:
    async def run() -> None:
        connection = Connection()
        connected(connection)
        connection.data_received(frame(Ping(1)))
        waiting = [await connection.get(), asyncio.create_task(connection.get())]
        await asyncio.sleep(0)
        connection.connection_lost(None)
        assert waiting[0] is not None
        assert await cast("Any", waiting[1]) is None
        assert await connection.get() is None

    asyncio.run(run())


def test_frames_of_one_turn_travel_together() -> None:
    async def run() -> None:
        connection = Connection()
        wire = connected(connection)
        connection.join(frame(Ping(1)))
        connection.join(frame(Ping(2)))
        assert wire.written == b""
        await asyncio.sleep(0)
        assert wire.written == frame(Ping(1)) + frame(Ping(2))

    asyncio.run(run())
