"""What is kept of a run's output: the beginning and the end of each stream, and a fingerprint of all of stdout."""

from __future__ import annotations

KEPT_BYTES = 256 * 1024
"""Of each stream; what patterns and HTTP answers are looked for in."""


class Kept:
    """The beginning and the end of a stream, within a bound. What lies between is left out."""

    def __init__(self, size_max: int = KEPT_BYTES) -> None:
        self._half = size_max // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.size = 0

    def add(self, data: bytes) -> None:
        self.size += len(data)
        room = self._half - len(self._head)
        self._head += data[:room] if room > 0 else b""
        self._tail += data[max(room, 0) :]
        if len(self._tail) > 2 * self._half:
            del self._tail[: -self._half]

    @property
    def is_whole(self) -> bool:
        return self.size <= 2 * self._half

    def bytes(self) -> bytes:
        """Return what was kept, a line feed where something is left out."""
        if self.is_whole:
            return bytes(self._head + self._tail)
        return bytes(self._head + b"\n" + self._tail[-self._half :])


class Capture:
    """The output of one run, as far as somebody asks for it."""

    def __init__(self, *, texts: bool, fingerprint: bool) -> None:
        self._kept = (Kept(), Kept()) if texts else None
        self._hash = None
        self.sizes = [0, 0]
        if fingerprint:
            from hashlib import blake2b

            self._hash = blake2b(digest_size=16)

    def add(self, stream: int, data: bytes) -> None:
        """Take a piece of stdout (1) or stderr (2)."""
        self.sizes[stream - 1] += len(data)
        if self._kept is not None:
            self._kept[stream - 1].add(data)
        if self._hash is not None and stream == 1:
            self._hash.update(data)

    def stdout(self) -> bytes:
        return self._kept[0].bytes() if self._kept else b""

    def stderr(self) -> bytes:
        return self._kept[1].bytes() if self._kept else b""

    def text(self) -> str:
        """Return stdout followed by stderr; bytes that are no UTF-8 as replacement characters."""
        return (self.stdout() + self.stderr()).decode("utf-8", "replace")

    def fingerprint(self) -> bytes:
        return self._hash.digest() if self._hash else b""
