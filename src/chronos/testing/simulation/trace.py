"""What happened, in order: hashed into a digest, and told in lines a person can read."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable

Tell = Callable[[str], None]

KEPT_LINES = 2_000


class Trace:
    """Takes every event of a run; equal seeds give equal digests.

    Attributes:
        counts: How often each kind of event occurred.
        tail: The last lines, for a report.
    """

    def __init__(self, tell: Tell | None = None) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._tell = tell
        self._seconds: Callable[[], float] = lambda: 0.0
        self.counts: Counter[str] = Counter()
        self.tail: deque[str] = deque(maxlen=KEPT_LINES)

    def time_by(self, seconds: Callable[[], float]) -> None:
        """Stamp lines with what `seconds` returns."""
        self._seconds = seconds

    def add(self, kind: str, text: str) -> None:
        """Take an event."""
        line = f"{self._seconds():10.4f}  {kind:<10} {text}"
        self._hash.update(line.encode())
        self._hash.update(b"\n")
        self.counts[kind] += 1
        self.tail.append(line)
        if self._tell is not None:
            self._tell(line)

    def entry(self, index: int, data: bytes) -> None:
        """Take an entry of the log: all of its bytes count."""
        self._hash.update(b"%d " % index)
        self._hash.update(data)

    def digest(self) -> str:
        """Return the hash of everything so far."""
        return self._hash.hexdigest()
