"""Turns at what many machines share: a lease before each run, kept while it goes on, given back.

Two sides meet here. The engine's side wants a turn, looks whether there is one, and is done with it; it never waits.
The other side asks the coordinator, in a thread of its own, because that takes as long as it takes. What is known of a
lease is pessimistic: it lasts from the moment it was asked for, on the clock that runs on while the machine sleeps.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, Protocol

from chronos.errors import (
    ChronosError,
    Denied,
    Invalid,
    LeaseLost,
    NodeUnknown,
    NotFound,
    RateLimited,
    Unauthenticated,
)
from chronos.timing.clock import Clock

RETRY_S = 0.5
TTL_S_MIN = 3.0
TTL_S_MAX = 3_600.0
SLACK_S = 0.5
"""What a run that is ended may take beyond its grace."""

SAID_MAX = 16
FOR_GOOD = (Invalid, Unauthenticated, Denied, NotFound)
"""What no waiting helps against."""


class OnLoss(Enum):
    """What to do when the coordinator does not answer for as long as a lease lasts."""

    WAIT = "wait"
    ALONE = "alone"
    STOP = "stop"


class Given(NamedTuple):
    """The coordinator's answer: a token, or after how long to ask again."""

    token: int
    again_s: float = 0.0


class Coordinator(Protocol):
    """Who gives out the turns. Each call may take seconds, is bounded, and raises `ChronosError`."""

    def register(self) -> None: ...
    def ask(self, request: str) -> Given: ...
    def renew(self, token: int) -> None: ...
    def give_back(self, token: int) -> None: ...
    def leave(self) -> None: ...


class Turn(NamedTuple):
    """We may run. Without a token we do so alone: nobody was there to ask."""

    token: int | None


def lease_s(grace_s: float) -> float:
    """Return how long a lease lasts: long enough that what was not renewed for a third of it can end with grace.

    Raises:
        Invalid: No lease is that long.
    """
    ttl_s = max(TTL_S_MIN, 3 * (grace_s + SLACK_S))
    if ttl_s > TTL_S_MAX:
        raise Invalid("--grace must be less than 20m with --coordinate: a lease lasts three times as long.")
    return ttl_s


class Turns:
    """One node's turns at one resource. Both sides may call it at the same time.

    Args:
        grace_s: How long a run that is ended may take.
        draw: Returns a new text for each request.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        clock: Clock,
        *,
        grace_s: float,
        on_loss: OnLoss,
        draw: Callable[[], str],
    ) -> None:
        self._coordinator = coordinator
        self._clock = clock
        self._on_loss = on_loss
        self._draw = draw
        self.ttl_s = lease_s(grace_s)
        self._reserve_s = grace_s + SLACK_S
        self._changed = threading.Condition()
        self._closing = False
        self._changes = 0
        self._wake: Callable[[], None] | None = None
        self._is_registered = False
        self._request = ""
        self._turn: Turn | None = None
        self._ends_s = 0.0
        self._renew_s: float | None = None
        self._returning: tuple[int, float] | None = None
        self._silent_since_s: float | None = None
        self._failed_s = 0.0
        self._said: deque[str] = deque(maxlen=SAID_MAX)
        self._error = ""

    # The engine's side.

    @property
    def turn(self) -> Turn | None:
        """The turn we have, if we have one."""
        with self._changed:
            return self._turn

    @property
    def error(self) -> str:
        """Why there will be no turn any more; empty while there may be."""
        with self._changed:
            return self._error

    @property
    def over_s(self) -> float | None:
        """The second at which a run has to be ended unless the lease is renewed before; None: no run has to be."""
        with self._changed:
            return None if self._turn is None or self._turn.token is None else self._ends_s - self._reserve_s

    def want(self) -> None:
        """Ask for a turn. Asking twice is asking once."""
        with self._changed:
            if not self._request and self._turn is None:
                self._request = self._draw()
                self._note_change()

    def done(self) -> None:
        """Give the turn back."""
        with self._changed:
            if self._turn is not None and self._turn.token is not None:
                self._returning = (self._turn.token, self._ends_s)
            self._turn, self._renew_s = None, None
            self._note_change()

    def is_over(self, now_s: float) -> bool:
        """Whether a run that goes on has to end, because others may have their turn soon."""
        with self._changed:
            if self._turn is None or self._turn.token is None or now_s < self._ends_s - self._reserve_s:
                return False
            if self._on_loss is OnLoss.ALONE and self._silent_since_s is not None:
                self._go_alone()
                return False
            if self._on_loss is OnLoss.STOP:
                self._give_up("the coordinator does not answer, and the lease ends")
            return True

    def said(self) -> list[str]:
        """Return what there is to tell, once."""
        with self._changed:
            found = list(self._said)
            self._said.clear()
            return found

    def wake_by(self, wake: Callable[[], None] | None) -> None:
        """From now on, call this; it may be called from another thread."""
        with self._changed:
            self._wake = wake

    # The other side.

    def serve(self) -> None:
        """Ask the coordinator whatever there is to ask, until `close`."""
        try:
            while not self._closing:
                seen, pause_s = self._changes, self.look()
                with self._changed:
                    if self._changes == seen and pause_s != 0:
                        self._changed.wait(pause_s)
        finally:
            self._refused("whoever asks the coordinator has failed")  # nobody looks at it after `close`

    def close(self) -> None:
        """Let `serve` return, as soon as it has its answer."""
        with self._changed:
            self._closing = True
            self._note_change()

    def leave(self) -> None:
        """Take part no longer, so that others need not wait for the end of what we have. When `serve` has returned."""
        if not self._is_registered:
            return
        try:
            self._coordinator.leave()
        except ChronosError:
            pass  # it ends by itself

    def look(self) -> float | None:
        """Ask what is due; return after how many seconds to look again, None for not before something has changed."""
        with self._changed:
            due = self._due()
            if due is None:
                return None if self._error else self._until_renewal_s()
        try:
            again_s = due()
        except NodeUnknown:
            self._is_registered = False
            again_s = 0.0
        except ChronosError as exc:
            if isinstance(exc, FOR_GOOD) and not isinstance(exc, RateLimited):
                self._refused(str(exc))
                return None
            return self._unanswered(str(exc))
        self._answered()
        return again_s

    def _due(self) -> Callable[[], float | None] | None:
        if self._error or self._closing:
            return None
        if not self._is_registered:
            return self._register
        if self._returning is not None:
            return self._return
        if self._turn is not None:
            return self._renew if self._until_renewal_s() == 0 else None
        return self._ask if self._request else None

    def _register(self) -> float:
        self._coordinator.register()
        self._is_registered = True
        return 0.0

    def _ask(self) -> float | None:
        asked_s, request = self._clock.boottime(), self._request
        given = self._coordinator.ask(request)
        if not given.token:
            return given.again_s
        with self._changed:
            self._request = ""
            self._turn = Turn(given.token)
            self._lasts_from(asked_s)
            self._tell_engine()
        return self._until_renewal_s()

    def _renew(self) -> float | None:
        with self._changed:
            turn = self._turn
        if turn is None or turn.token is None:
            return 0.0
        asked_s = self._clock.boottime()
        try:
            self._coordinator.renew(turn.token)
        except LeaseLost:
            self._revoke(turn)
        except NodeUnknown:
            self._revoke(turn)
            raise
        else:
            with self._changed:
                if self._turn is turn:
                    self._lasts_from(asked_s)
        return self._until_renewal_s()

    def _return(self) -> float:
        token, ends_s = self._returning or (0, 0.0)
        if self._clock.boottime() < ends_s:
            try:
                self._coordinator.give_back(token)
            except LeaseLost:
                pass  # it has ended by itself
        self._returning = None
        return 0.0

    def _revoke(self, turn: Turn) -> None:
        """The coordinator has answered that the lease is over: others may have it already."""
        with self._changed:
            if self._turn is turn:
                self._ends_s, self._renew_s = self._clock.boottime(), None
                self._silent_since_s = None
                self._tell_engine()

    def _lasts_from(self, asked_s: float) -> None:
        self._ends_s = asked_s + self.ttl_s
        self._renew_s = asked_s + self.ttl_s / 3

    def _until_renewal_s(self) -> float | None:
        return None if self._renew_s is None else max(0.0, self._renew_s - self._clock.boottime())

    def _refused(self, why: str) -> None:
        with self._changed:
            self._give_up(why)

    def _unanswered(self, why: str) -> float:
        with self._changed:
            now_s = self._clock.boottime()
            if self._silent_since_s is None:
                self._say(f"the coordinator does not answer: {why}")
                self._tell_engine()
            if self._silent_since_s is None or now_s - self._failed_s > self.ttl_s:
                self._silent_since_s = now_s  # nobody has asked meanwhile
            self._failed_s = now_s
            if self._request and now_s - self._silent_since_s >= self.ttl_s:
                self._lose()
            if self._returning is not None and now_s >= self._returning[1]:
                self._returning = None
            return RETRY_S

    def _lose(self) -> None:
        """Nobody has answered for as long as a lease lasts: whoever had it has ended by now, or goes on alone, too."""
        if self._on_loss is OnLoss.STOP:
            self._give_up("the coordinator does not answer")
        elif self._on_loss is OnLoss.ALONE:
            self._request = ""
            self._go_alone()

    def _answered(self) -> None:
        with self._changed:
            if self._silent_since_s is not None:
                self._silent_since_s = None
                self._say("the coordinator answers again")
                self._tell_engine()

    def _go_alone(self) -> None:
        self._turn, self._renew_s = Turn(None), None
        self._say("going on alone")
        self._tell_engine()

    def _give_up(self, why: str) -> None:
        self._error = self._error or why
        self._tell_engine()

    def _note_change(self) -> None:
        self._changes += 1
        self._changed.notify()

    def _say(self, text: str) -> None:
        self._said.append(text)

    def _tell_engine(self) -> None:
        if self._wake is not None:
            self._wake()
