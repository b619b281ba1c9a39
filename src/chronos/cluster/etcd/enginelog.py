"""What the engine says: its lines become lines of ours, and the last grave ones are kept for who asks why it ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from chronos.timing.clock import Clock

log = structlog.get_logger("chronos.engine")

LINE_BYTES_MAX = 16 << 10
GRAVE_KEPT = 20
TOLD_MAX = 20
"""At most so many lines are passed on in `TOLD_IN_S`: a member that is down makes the others complain without end."""
TOLD_IN_S = 10.0

_GRAVE = {"error", "dpanic", "panic", "fatal"}
_SPOKEN_FOR = {"level", "ts", "caller", "msg", "stacktrace", "logger"}

# Said at every start, of what is meant to be so.
_NO_NEWS = (
    "simple token is not cryptographically signed",
    "Running http and grpc server on single port",
    "established TCP streaming connection with remote peer",
)


class Line(Struct, frozen=True):
    """A line of the engine's log. `fields` are those it has besides its message."""

    level: str
    message: str
    fields: dict[str, str]

    @property
    def is_grave(self) -> bool:
        return self.level in _GRAVE

    def __str__(self) -> str:
        facts = " ".join(f"{name}={value}" for name, value in self.fields.items())
        return f"{self.message} ({facts})" if facts else self.message


def parse(raw: bytes) -> Line:
    """Return the line that `raw` is. What is no JSON (a panic of Go's, a complaint about flags) is of level `plain`."""
    text = raw[:LINE_BYTES_MAX].decode(errors="replace").strip()
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return Line("plain", text, {})
    if not isinstance(found, dict) or "msg" not in found:
        return Line("plain", text, {})
    fields = {name: _text(value) for name, value in found.items() if name not in _SPOKEN_FOR}
    return Line(str(found.get("level", "info")).lower(), str(found["msg"]), fields)


class EngineLog:
    """Takes the engine's output in pieces, as they come; `grave` has the last lines of one run that matter.

    Attributes:
        is_ending: It was asked to end: what it says of that is no news.
    """

    def __init__(self, clock: Clock) -> None:
        self.is_ending = False
        self._clock = clock
        self._rest = b""
        self._grave: deque[Line] = deque(maxlen=GRAVE_KEPT)
        self._plain: deque[Line] = deque(maxlen=GRAVE_KEPT)
        self._told = 0
        self._left_out = 0
        self._since = clock.boottime()

    @property
    def grave(self) -> Sequence[Line]:
        """The last errors of this run, oldest first, and what was said outside of the log before it ended."""
        return [*self._grave, *self._plain]

    def begin(self) -> None:
        """Forget what an earlier run said."""
        self.is_ending = False
        self._rest = b""
        self._grave.clear()
        self._plain.clear()

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the output. A line that is too long is cut."""
        *lines, rest = (self._rest + piece).split(b"\n")
        self._rest = rest[:LINE_BYTES_MAX]
        for raw in lines:
            if raw.strip():
                self._take(parse(raw))

    def end(self) -> None:
        """Take what is left when the output has ended."""
        if self._rest.strip():
            self._take(parse(self._rest))
        self._rest = b""

    def _take(self, line: Line) -> None:
        if line.level == "plain":
            if len(self._plain) < GRAVE_KEPT:  # a panic says first what is wrong, then where, at length
                self._plain.append(line)
        elif line.is_grave or line.level == "warn":
            self._grave.append(line)
        if self.is_ending:
            log.debug("engine_said", says=line.message)
        elif not any(part in line.message for part in _NO_NEWS) and self._may_tell():
            _pass_on(line)

    def _may_tell(self) -> bool:
        now = self._clock.boottime()
        if now - self._since >= TOLD_IN_S:
            if self._left_out:
                log.warning("engine_lines_left_out", lines=self._left_out, in_s=round(now - self._since))
            self._told, self._left_out, self._since = 0, 0, now
        self._told += 1
        self._left_out += self._told > TOLD_MAX
        return self._told <= TOLD_MAX


def _pass_on(line: Line) -> None:
    tell = log.error if line.is_grave else log.info if line.level in ("info", "debug") else log.warning
    tell("engine_said", says=line.message, level_there=line.level, **{f"engine_{k}": v for k, v in line.fields.items()})


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
