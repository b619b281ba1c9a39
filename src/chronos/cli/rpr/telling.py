"""What modes have to say after each run: `--show-metrics`, `--show-next`."""

from __future__ import annotations

from collections.abc import Callable

from chronos.cli.rpr.asked import Asked
from chronos.repeater.agenda import Agenda
from chronos.repeater.engine import Listener, Report
from chronos.repeater.machine import ERR, OUT
from chronos.repeater.port import Mode
from chronos.repeater.showing import shown_s
from chronos.timing.clock import Clock

Print = Callable[[int, bytes], None]


def told_by(asked: Asked, mode: Mode, agenda: Agenda, clock: Clock, to: Print) -> list[Listener]:
    """Return what was asked to be told; the last listeners, so that they see what a run has led to."""
    told: list[Listener] = []
    if asked.is_on("show_metrics"):
        told.append(_Metrics(mode, to))
    if asked.is_on("show_next"):
        told.append(_Next(agenda, clock, to))
    return told


class _Quiet:
    """Output is not what it is about."""

    def wrote(self, number: int, stream: int, data: bytes) -> None:
        """Shown by others."""


class _Metrics(_Quiet):
    """Prints what an adaptive mode has learned."""

    def __init__(self, mode: Mode, to: Print) -> None:
        self._mode = mode
        self._print = to

    def ended(self, report: Report) -> None:
        from chronos.repeater.modes.adaptive import State

        state = getattr(getattr(self._mode, "mode", self._mode), "state", None)  # what jitter moves, or the mode itself
        if isinstance(state, State):
            success, circuit = f"{state.success_probability:.1%}", state.circuit.value
            line = f"📊 Adaptive Metrics: Interval={shown_s(state.interval_s)}, Success={success}, Circuit={circuit}\n"
            self._print(OUT, line.encode())


class _Next(_Quiet):
    """Says on stderr when the next run is allowed, where that is not at once."""

    def __init__(self, agenda: Agenda, clock: Clock, to: Print) -> None:
        self._agenda = agenda
        self._clock = clock
        self._print = to

    def ended(self, report: Report) -> None:
        wake_s = self._agenda.wake_s(0)
        wait_s = 0.0 if wake_s is None else wake_s - self._clock.boottime()
        if wait_s > 0:
            from datetime import datetime

            at = datetime.fromtimestamp(self._clock.time() + wait_s).astimezone()
            self._print(ERR, f"Next request allowed at: {at:%H:%M:%S}\n".encode())
