"""Frames: messages of msgpack, each behind its length. Processes speak so with each other, and members of a cluster."""

from __future__ import annotations

import struct
from typing import TypeVar

import msgspec

_LENGTH = struct.Struct("<I")
_encoder = msgspec.msgpack.Encoder()

T = TypeVar("T")


class ProtocolBroken(Exception):
    """What came over the socket is no frame: the other side is not what it should be, or not well."""


def framed(message: msgspec.Struct, frame_bytes_max: int) -> bytearray:
    """Return a message as it travels.

    Raises:
        ProtocolBroken: It is larger than the other side takes.
    """
    frame = bytearray(_LENGTH.size)
    _encoder.encode_into(message, frame, _LENGTH.size)
    size = len(frame) - _LENGTH.size
    if size > frame_bytes_max:
        raise ProtocolBroken(f"a frame of {size} bytes is larger than {frame_bytes_max}")
    _LENGTH.pack_into(frame, 0, size)
    return frame


class FrameReader:
    """Cuts a stream into frames. Never holds more than one frame and what came with it.

    Attributes:
        frame_bytes_max: A frame that says it is larger ends the conversation.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._rest: list[bytes] = []
        self._missing = 0

    def feed(self, data: bytes) -> list[memoryview]:
        """Take in what came, and return the frames that are whole now.

        Raises:
            ProtocolBroken: A length that no frame has.
        """
        if self._missing > len(data):
            self._rest.append(data)
            self._missing -= len(data)
            return []
        whole = b"".join((*self._rest, data)) if self._rest else data
        frames: list[memoryview] = []
        view, at, end = memoryview(whole), 0, len(whole)
        self._missing = 0
        while end - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(whole, at)
            if not 0 < size <= self.frame_bytes_max:
                raise ProtocolBroken(f"a frame says that it has {size} bytes")
            if end - at - _LENGTH.size < size:
                self._missing = size - (end - at - _LENGTH.size)
                break
            at += _LENGTH.size
            frames.append(view[at : at + size])
            at += size
        self._rest = [whole[at:]] if at < end else []
        return frames


def decoded(decoder: msgspec.msgpack.Decoder[T], frame: bytes | memoryview) -> T:
    """Return the message in a frame.

    Raises:
        ProtocolBroken: It is none that this side is told.
    """
    try:
        return decoder.decode(frame)
    except msgspec.MsgspecError as wrong:
        raise ProtocolBroken(f"a frame cannot be read: {wrong}") from None
