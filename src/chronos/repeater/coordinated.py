"""An agenda that waits for its turn before each start, and a machine that ends what has lost it; one run at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chronos.repeater.agenda import Agenda, Step
from chronos.repeater.coordination import Turns
from chronos.repeater.machine import ERR, CannotStart, Ended, Event, GivenUp, Machine, Revoked
from chronos.repeater.port import Moment, Run

VARIABLE = "RPR_FENCING_TOKEN"


class TurnsAgenda:
    """Puts off what is due until there is a turn. While it waits, what it waits for counts as a run that is on."""

    def __init__(self, agenda: Agenda, turns: Turns) -> None:
        self._agenda = agenda
        self._turns = turns
        self._waits = False

    @property
    def skipped(self) -> int:
        return self._agenda.skipped

    @property
    def is_over(self) -> bool:
        return self._agenda.is_over and not self._waits

    def begin(self, now: Moment) -> None:
        self._agenda.begin(now)

    def step(self, now: Moment, running: int) -> Step:
        if running:
            return self._agenda.step(now, running)
        if self._waits and self._has_turn(now):
            self._waits = False
            return Step.START
        step = self._agenda.step(now, int(self._waits))
        if step is Step.RESTART:  # what waits makes way for the newer one, which waits in its place
            step = self._agenda.step(now, 0)
        if step is Step.START:
            self._waits = True
            self._turns.want()
        return Step.WAIT

    def ended(self, run: Run, now: Moment, *, is_last: bool) -> None:
        self._agenda.ended(run, now, is_last=is_last)

    def wake_s(self, running: int) -> float | None:
        return self._agenda.wake_s(running + self._waits)

    def resumed(self, now: Moment) -> None:
        self._agenda.resumed(now)

    def _has_turn(self, now: Moment) -> bool:
        if self._turns.turn is None:
            return False
        if not self._turns.is_over(now.monotonic_s):
            return True
        self._turns.done()
        self._turns.want()
        return False


class TurnsMachine:
    """Starts with the token in the environment, gives the turn back at the end, and ends what has lost it."""

    def __init__(self, machine: Machine, turns: Turns) -> None:
        self._machine = machine
        self._turns = turns
        self._child: int | None = None
        self._is_revoked = False
        self._has_given_up = False

    def now(self) -> Moment:
        return self._machine.now()

    def start(self, argv: Sequence[str], env: Mapping[str, str]) -> int:
        turn = self._turns.turn
        token = "" if turn is None or turn.token is None else str(turn.token)
        try:
            self._child = self._machine.start(argv, {**env, VARIABLE: token})
        except CannotStart:
            self._turns.done()
            raise
        return self._child

    def end(self, child: int, *, now: bool) -> None:
        self._machine.end(child, now=now)

    def wait(self, until_s: float | None) -> list[Event]:
        over_s = self._turns.over_s if self._is_watched else None
        found = self._machine.wait(min((each for each in (until_s, over_s) if each is not None), default=None))
        for event in found:
            if isinstance(event, Ended):
                self._child, self._is_revoked = None, False
                self._turns.done()
        return [*found, *self._heeded()]

    def print(self, stream: int, data: bytes) -> None:
        self._machine.print(stream, data)

    def suspend(self) -> float:
        return self._machine.suspend()

    def _heeded(self) -> list[Event]:
        found: list[Event] = []
        if self._child is not None and self._is_watched and self._turns.is_over(self.now().monotonic_s):
            self._is_revoked = True
            found.append(Revoked(self._child))
        for text in self._turns.said():
            self.print(ERR, f"rpr: {text}\n".encode("utf-8", "replace"))
        if self._turns.error and not self._has_given_up:
            self._has_given_up = True
            found.append(GivenUp(self._turns.error))
        return found

    @property
    def _is_watched(self) -> bool:
        return self._child is not None and not self._is_revoked
