"""What the engine asks of the system it runs on. `unix.py` is the real one; tests have one on virtual time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from chronos.repeater.port import Moment

OUT = 1
ERR = 2


class Wrote(NamedTuple):
    """The child has written."""

    child: int
    stream: int
    data: bytes


class Ended(NamedTuple):
    """The child is gone, and with it its group; all of its output has been told.

    Attributes:
        exit_code: -N when signal N ended it.
    """

    child: int
    exit_code: int


class Told(NamedTuple):
    """A signal for us."""

    signal: int


class Closed(NamedTuple):
    """Our output cannot be written any more. `reason`: why; empty when its reader is gone."""

    reason: str


class Steered(NamedTuple):
    """Somebody who watches wants something. `do`: what the engine is to do, on its own turn."""

    do: Callable[[Moment], None]


class Revoked(NamedTuple):
    """The child has to end: what it was allowed to do is not its own any more."""

    child: int


class GivenUp(NamedTuple):
    """There is no going on, and why. What runs is asked to end."""

    reason: str


Event = Wrote | Ended | Told | Closed | Steered | Revoked | GivenUp


class CannotStart(Exception):
    """The command cannot be started.

    Attributes:
        exit_code: 127 when there is no such command, 126 when it is there and cannot be run, as shells have it.
    """

    def __init__(self, exit_code: int, reason: str) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


class Machine(Protocol):
    """Starts children, tells what becomes of them, waits. Children are known by their process ids."""

    def now(self) -> Moment: ...

    def start(self, argv: Sequence[str], env: Mapping[str, str]) -> int:
        """Start a command in a process group of its own, `env` added to our environment, and return its id.

        Raises:
            CannotStart: It cannot be.
        """
        ...

    def end(self, child: int, *, now: bool) -> None:
        """Ask the child's group to end; with `now` it is not asked. One that is gone already is no error."""
        ...

    def wait(self, until_s: float | None) -> list[Event]:
        """Return what has happened, none when nothing had by `until_s`; None waits for as long as it takes.

        May return early with nothing. Output of one stream comes in order, and before the child's `Ended`.
        """
        ...

    def print(self, stream: int, data: bytes) -> None:
        """Write to our own stdout or stderr, in order. What cannot be written yet is kept, within a bound."""
        ...

    def suspend(self) -> float:
        """Stop the children and ourselves, as a terminal's stop key does; return for how many seconds we were."""
        ...
