"""One end of the socket between main and a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar, cast

import msgspec

from chronos.dispatch.workers.protocol import FRAME_BYTES_MAX, ToMain, ToWorker, framed
from chronos.frames import FrameReader, ProtocolBroken, decoded

HIGH_BYTES, LOW_BYTES = 4 * 1024 * 1024, 1024 * 1024
"""How much may be on its way to the kernel before the writer is told to wait, and from when on it may go on."""

M = TypeVar("M")


class Channel(asyncio.Protocol, Generic[M]):
    """Reads frames and writes them; closes itself, with the reason, when the other side sends what is none.

    Args:
        on_message: Called on the loop with every message, in order.

    Attributes:
        closed: Set when nothing more will come.
        trouble: Why it was closed; empty when the other side closed it.
        is_open_for_more: Whether the writer may go on: what it writes goes out soon.
    """

    def __init__(
        self,
        decoder: msgspec.msgpack.Decoder[M],
        on_message: Callable[[M], None],
        *,
        on_resume: Callable[[], None] = lambda: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._decoder = decoder
        self._on_message = on_message
        self._on_resume = on_resume
        self._on_lost = on_lost
        self._reader = FrameReader(FRAME_BYTES_MAX)
        self._transport: asyncio.WriteTransport | None = None
        self.closed = asyncio.Event()
        self.trouble = ""
        self.is_open_for_more = False

    def send(self, message: ToWorker | ToMain) -> None:
        """Write a message; what is written to a channel that is closed is lost, as all that was on its way.

        Raises:
            ProtocolBroken: It is larger than the other side takes; nothing was written.
        """
        data = framed(message)
        if self._transport is not None and not self.closed.is_set():
            self._transport.write(data)

    def close(self) -> None:
        """Close it, without waiting for what is on its way. May be called twice."""
        if self._transport is not None:
            self._transport.abort()

    # What the loop says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No check: uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.set_write_buffer_limits(HIGH_BYTES, LOW_BYTES)
        self.is_open_for_more = True

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                self._on_message(decoded(self._decoder, frame))
        except ProtocolBroken as broken:
            self.trouble = self.trouble or str(broken)
            self.close()

    def pause_writing(self) -> None:
        self.is_open_for_more = False

    def resume_writing(self) -> None:
        self.is_open_for_more = True
        self._on_resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open_for_more = False
        self.closed.set()
        self._on_lost()


async def happens(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event; return whether it happened in time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True
