"""Frames over a Unix socket: four bytes of length, then a message."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import msgspec

FRAME_BYTES_MAX = 64 << 20
UNREAD_BYTES_MAX = 256 * 1024
"""How much may lie here that nobody has taken yet, before the sender has to wait."""

_HEAD = 4
_encoder = msgspec.msgpack.Encoder()


def frame(message: msgspec.Struct) -> bytes:
    """Return a message as it travels."""
    buffer = bytearray(_HEAD)
    _encoder.encode_into(message, buffer, _HEAD)
    buffer[:_HEAD] = (len(buffer) - _HEAD).to_bytes(_HEAD)
    return bytes(buffer)


class Connection(asyncio.Protocol):
    """One end of a Unix socket.

    Args:
        take: Called with every message as it comes; without it they wait for `get`.
        made: Called when the other end is there.

    Attributes:
        lost: Set when the other end is gone.
    """

    def __init__(
        self, take: Callable[[bytes], None] | None = None, made: Callable[[Connection], None] | None = None
    ) -> None:
        self._take = take or self._keep
        self._made = made
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._unread: deque[bytes] = deque()
        self._unread_bytes = 0
        self._paused = False
        self._arrived: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._joined: list[bytes] = []
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No check: uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        if self._made is not None:
            self._made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self._writable.set()
        self._wake()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        buffer, at = self._buffer, 0
        buffer += data
        while len(buffer) - at >= _HEAD:
            size = int.from_bytes(buffer[at : at + _HEAD])
            if size > FRAME_BYTES_MAX:
                self.abort()
                return
            if len(buffer) - at - _HEAD < size:
                break
            at += _HEAD + size
            self._take(bytes(buffer[at - size : at]))
        del buffer[:at]

    def _keep(self, message: bytes) -> None:
        self._unread.append(message)
        self._unread_bytes += len(message)
        if self._unread_bytes > UNREAD_BYTES_MAX and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def get(self) -> bytes | None:
        """Return the next message; None when there will be no more. One caller at a time."""
        while not self._unread:
            if self.lost.is_set():
                return None
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        message = self._unread.popleft()
        self._unread_bytes -= len(message)
        if self._paused and self._unread_bytes <= UNREAD_BYTES_MAX and not self.lost.is_set():
            self._paused = False
            cast("Any", self._transport).resume_reading()
        return message

    def put(self, message: bytes) -> None:
        """Send a frame at once; it is dropped when the other end is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(message)

    def join(self, message: bytes) -> None:
        """Send a frame together with all others of this turn of the loop."""
        if not self._joined:
            asyncio.get_running_loop().call_soon(self._send_joined)
        self._joined.append(message)

    def _send_joined(self) -> None:
        joined, self._joined = self._joined, []
        self.put(b"".join(joined))

    async def drained(self) -> None:
        """Return when more may be sent, or the other end is gone."""
        await self._writable.wait()

    @property
    def unsent_bytes(self) -> int:
        """How much was sent that the other end has not taken."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def user(self) -> int | None:
        """Return the user id of the process at the other end; None where the system does not say."""
        peer = None if self._transport is None else self._transport.get_extra_info("socket")
        if peer is None or not hasattr(socket, "SO_PEERCRED"):
            return None
        said = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        uid: int = struct.unpack("3i", said)[1]
        return uid

    def close(self) -> None:
        """Send what is to be sent, and close."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
