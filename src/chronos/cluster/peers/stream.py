"""One end of a connection between members: frames in, frames out, and never more unsent than is bounded."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, cast

import msgspec

from chronos.frames import FrameReader, ProtocolBroken, decoded, framed

UNSENT_BYTES_MAX = 64 << 20
"""Whoever does not take what was sent to it until so much waits is cut off."""

HIGH_BYTES, LOW_BYTES = 4 << 20, 1 << 20

M = TypeVar("M")


class Stream(asyncio.Protocol, Generic[M]):
    """Reads messages and writes them, after a TLS handshake.

    Args:
        hear: Called with every message, in order; may raise `ProtocolBroken`.
        made: Called once the other end has been verified.
        lost: Called when nothing more will come.

    Attributes:
        closed: Set when it is over.
        trouble: Why we ended it; empty when the other side did.
        heard_s: When the last whole frame came, by the loop's clock.
    """

    def __init__(
        self,
        decoder: msgspec.msgpack.Decoder[M],
        hear: Callable[[M], None],
        *,
        frame_bytes_max: int,
        made: Callable[[], None] = lambda: None,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._decoder = decoder
        self._hear = hear
        self._made = made
        self._lost = lost
        self._reader = FrameReader(frame_bytes_max)
        self._transport: asyncio.Transport | None = None
        self._takes_more = asyncio.Event()
        self.closed = asyncio.Event()
        self.trouble = ""
        self.heard_s = 0.0

    def allow(self, frame_bytes_max: int) -> None:
        """From now on frames may be so large."""
        self._reader.frame_bytes_max = frame_bytes_max

    def send(self, message: msgspec.Struct, frame_bytes_max: int) -> None:
        """Write a message; it is lost when the connection is.

        Raises:
            ProtocolBroken: It is larger than the other side takes; nothing was written.
        """
        data = framed(message, frame_bytes_max)
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(bytes(data))
        if self._transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self.abort("it does not take what is sent to it")

    async def takes_more(self) -> None:
        """Return when the other side has taken most of what was sent, or is gone."""
        await self._takes_more.wait()

    @property
    def unsent_bytes(self) -> int:
        """How much was sent that the other side has not taken."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def certificate(self) -> Mapping[str, Any]:
        """Return the other end's certificate, which was verified."""
        found = self._transport.get_extra_info("peercert") if self._transport is not None else None
        return cast("Mapping[str, Any]", found or {})

    def remote(self) -> str:
        """Return the host at the other end."""
        name = self._transport.get_extra_info("peername") if self._transport is not None else None
        return str(name[0]) if name else "unknown"

    def close(self) -> None:
        """Send what is to be sent, and close."""
        if self._transport is not None:
            self._transport.close()

    def abort(self, trouble: str = "") -> None:
        """Close at once."""
        self.trouble = self.trouble or trouble
        if self._transport is not None:
            self._transport.abort()

    # What the loop says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No check: uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_BYTES, LOW_BYTES)
        self._takes_more.set()
        self.heard_s = asyncio.get_running_loop().time()
        self._made()

    def data_received(self, data: bytes) -> None:
        if self.trouble:
            return
        try:
            for frame in self._reader.feed(data):
                self.heard_s = asyncio.get_running_loop().time()
                self._hear(decoded(self._decoder, frame))
        except ProtocolBroken as broken:
            self.abort(str(broken))

    def eof_received(self) -> None:
        return None

    def pause_writing(self) -> None:
        self._takes_more.clear()

    def resume_writing(self) -> None:
        self._takes_more.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, ssl.SSLError) and not self.trouble:
            self.trouble = f"TLS: {exc.reason or exc}"
        self.closed.set()
        self._takes_more.set()
        self._lost()
