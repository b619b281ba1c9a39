"""Runs one command again and again: asks the agenda when, the machine how it went, the tally whether to go on."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from chronos.repeater.agenda import Agenda, Step
from chronos.repeater.capture import Capture
from chronos.repeater.httpaware import Advice, HttpRules, advice_in
from chronos.repeater.machine import (
    CannotStart,
    Closed,
    Ended,
    Event,
    GivenUp,
    Machine,
    Revoked,
    Steered,
    Told,
    Wrote,
)
from chronos.repeater.patterns import Patterns, Verdict, judge
from chronos.repeater.port import Moment, Run
from chronos.repeater.stops import Fate, Seen, Stops, Tally

INTERRUPTED = 130
BROKEN_PIPE = 141


class Plan(NamedTuple):
    """What is repeated, and how.

    Attributes:
        timeout_s: Bounds one run.
        grace_s: From the request to end until it is no request any more.
        final: Only the last run decides about success: runs are tries of one thing.
        keeps_output: Somebody wants to see what a run has printed once it has ended.
    """

    argv: tuple[str, ...]
    stops: Stops = Stops()
    timeout_s: float | None = None
    grace_s: float = 5.0
    patterns: Patterns = Patterns()
    http: HttpRules | None = None
    final: bool = False
    keeps_output: bool = False

    @property
    def reads_output(self) -> bool:
        return self.keeps_output or self.patterns.any or self.http is not None


class Report(NamedTuple):
    """One run, for whoever listens.

    Attributes:
        attempt: Which try in a row it was.
        reason: Why it has failed, where its exit code alone does not say it.
    """

    run: Run
    fate: Fate
    attempt: int
    reason: str
    output: Capture
    advice: Advice | None = None


class Listener(Protocol):
    """Is told what happens, at once and in order; it does not answer back."""

    def wrote(self, number: int, stream: int, data: bytes) -> None: ...

    def ended(self, report: Report) -> None: ...


@runtime_checkable
class Watcher(Listener, Protocol):
    """A listener that is told of the beginning of runs, too."""

    def began(self, number: int, at: Moment) -> None: ...


class _Running:
    """A run that is on."""

    def __init__(self, number: int, attempt: int, began: Moment, capture: Capture) -> None:
        self.number = number
        self.attempt = attempt
        self.began = began
        self.capture = capture
        self.child = 0
        self.ending: Fate | None = None
        self.end_at_s: float | None = None
        self.kill_at_s: float | None = None

    def run(self, exit_code: int, now: Moment, *, ok: bool, advice_s: float | None = None) -> Run:
        began, timed_out = self.began, self.ending is Fate.TIMED_OUT
        return Run(self.number, began.monotonic_s, now.monotonic_s, began.wall_s, ok, exit_code, timed_out, advice_s)


class Engine:
    """One repetition, from its first run to its last.

    Args:
        more_environment: What a run's environment has besides ours, by its number.

    Attributes:
        is_paused: No run starts by itself.
        judge: Looks for patterns; to be replaced where the engine is not on the main thread.
        stopped_by: The exit code of what ended it from outside; None when it ended by itself.
        error: What made going on impossible; empty.
    """

    def __init__(
        self,
        plan: Plan,
        agenda: Agenda,
        machine: Machine,
        tally: Tally,
        listeners: Sequence[Listener] = (),
        more_environment: Callable[[int], Mapping[str, str]] | None = None,
    ) -> None:
        self._plan = plan
        self._agenda = agenda
        self._machine = machine
        self._tally = tally
        self._listeners = listeners
        self._more_environment = more_environment
        self._running: dict[int, _Running] = {}
        self._fingerprint: bytes | None = None
        self._began = Moment(0.0, 0.0)
        self._time_is_up = False
        self._watchers = [each for each in listeners if isinstance(each, Watcher)]
        self.is_paused = False
        self.judge = judge
        self.stopped_by: int | None = None
        self.error = ""

    @property
    def elapsed_s(self) -> float:
        return self._machine.now().monotonic_s - self._began.monotonic_s

    def run(self) -> None:
        """Repeat until there is nothing more to do and nothing runs any more."""
        self._began = self._machine.now()
        self._agenda.begin(self._began)
        self._act()
        while self._running or not self._is_done():
            for event in self._machine.wait(self._wake_s()):
                self._handle(event)
            self._act()

    # What somebody who watches may want; to be called on the engine's turn (`Steered`).

    def pause(self, now: Moment) -> None:
        """Start no run until `resume`; one that is on goes on."""
        self.is_paused = True

    def resume(self, now: Moment) -> None:
        """Go on; the ticks that have passed meanwhile are not made up for."""
        if self.is_paused:
            self.is_paused = False
            self._agenda.resumed(now)

    def run_now(self, now: Moment) -> None:
        """Start a run out of turn, paused or not; nothing while one is on or when the last one has been."""
        if not self._running and not self._is_ending() and self._tally.may_start():
            self._start()

    def quit(self, now: Moment) -> None:
        """End as when the time is up; asked again, at once."""
        if self._time_is_up:
            for child in self._running:
                self._machine.end(child, now=True)
        self._time_is_up = True
        self._end_all(Fate.CUT, now)

    def interrupt(self, now: Moment) -> None:
        """Take Ctrl-C, which a terminal that is read key by key makes no signal of."""
        self._heed_signal(signal.SIGINT)

    def _is_done(self) -> bool:
        return self._is_ending() or not self._tally.may_start() or self._agenda.is_over

    def _is_ending(self) -> bool:
        return self.stopped_by is not None or self._time_is_up

    def _act(self) -> None:
        """Do what is due now."""
        now = self._machine.now()
        self._heed_time(now)
        self._end_late_ones(now)
        while not self.is_paused and not self._is_ending() and self._tally.may_start():
            step = self._agenda.step(now, len(self._running))
            if step is Step.RESTART:
                self._end_one(min(self._running.values(), key=lambda each: each.number), Fate.RESTARTED, now)
            if step is not Step.START:
                return
            self._start()
            now = self._machine.now()

    def _heed_time(self, now: Moment) -> None:
        end_s = self._end_s(now)
        if end_s is not None and now.monotonic_s >= end_s and not self._time_is_up:
            self._time_is_up = True
            self._end_all(Fate.CUT, now)

    def _end_s(self, now: Moment) -> float | None:
        """Return the monotonic second at which the time is up, as the clocks are now."""
        stops, ends = self._plan.stops, []
        if stops.for_s is not None:
            ends.append(self._began.monotonic_s + stops.for_s)
        if stops.until_at is not None:
            ends.append(now.monotonic_s + stops.until_at - now.wall_s)
        return min(ends, default=None)

    def _end_late_ones(self, now: Moment) -> None:
        for each in self._running.values():
            if each.ending is None and each.end_at_s is not None and now.monotonic_s >= each.end_at_s:
                self._end_one(each, Fate.TIMED_OUT, now)
            if each.kill_at_s is not None and now.monotonic_s >= each.kill_at_s:
                each.kill_at_s = None
                self._machine.end(each.child, now=True)

    def _end_one(self, running: _Running, why: Fate, now: Moment) -> None:
        if running.ending is None:
            running.ending = why
            running.kill_at_s = now.monotonic_s + self._plan.grace_s
            self._machine.end(running.child, now=self._plan.grace_s <= 0)

    def _end_all(self, why: Fate, now: Moment) -> None:
        for each in self._running.values():
            self._end_one(each, why, now)

    def _wake_s(self) -> float | None:
        """Return when something is due; None: only an event can bring it."""
        now = self._machine.now()
        wakes = [] if self._is_done() or self.is_paused else [self._agenda.wake_s(len(self._running))]
        if not self._time_is_up:
            wakes.append(self._end_s(now))
        wakes += [each.kill_at_s if each.ending else each.end_at_s for each in self._running.values()]
        return min((wake for wake in wakes if wake is not None), default=None)

    def _start(self) -> None:
        plan, tally = self._plan, self._tally
        tally.started += 1
        capture = Capture(texts=plan.reads_output, fingerprint=plan.stops.on_change)
        running = _Running(tally.number, tally.attempt, self._machine.now(), capture)
        for watcher in self._watchers:
            watcher.began(running.number, running.began)
        try:
            running.child = self._machine.start(plan.argv, self._environment(running))
        except CannotStart as exc:
            running.ending = Fate.NOT_STARTED
            self._finish(running, exc.exit_code, str(exc))
            return
        if plan.timeout_s is not None:
            running.end_at_s = running.began.monotonic_s + plan.timeout_s
        self._running[running.child] = running

    def _environment(self, running: _Running) -> dict[str, str]:
        last = self._tally.last_exit
        more = self._more_environment(running.number) if self._more_environment else {}
        return {
            **more,
            "RPR_RUN": str(running.number),
            "RPR_ATTEMPT": str(running.attempt),
            "RPR_LAST_EXIT": "" if last is None else str(last),
        }

    def _handle(self, event: Event) -> None:
        match event:
            case Wrote(child, stream, data):
                running = self._running[child]
                running.capture.add(stream, data)
                for listener in self._listeners:
                    listener.wrote(running.number, stream, data)
            case Ended(child, exit_code):
                self._finish(self._running.pop(child), exit_code)
            case Told(number):
                self._heed_signal(number)
            case Steered(do):
                do(self._machine.now())
            case Closed(reason):
                self.error = f"cannot write output: {reason}" if reason else ""
                self._stop(BROKEN_PIPE if not reason else 1, at_once=True)
            case Revoked(child):
                self._end_one(self._running[child], Fate.REVOKED, self._machine.now())
            case GivenUp(reason):
                self.error = reason
                self._stop(1, at_once=False)

    def _heed_signal(self, number: int) -> None:
        if number == signal.SIGTSTP:
            self._go_on(self._machine.suspend())
            return
        code = INTERRUPTED if number in (signal.SIGINT, signal.SIGTERM) else 128 + number
        self._stop(code, at_once=self.stopped_by is not None or number == signal.SIGQUIT)

    def _stop(self, code: int, *, at_once: bool) -> None:
        self.stopped_by = self.stopped_by or code
        self._end_all(Fate.CUT, self._machine.now())
        if at_once:
            for child in self._running:
                self._machine.end(child, now=True)

    def _go_on(self, away_s: float) -> None:
        """Go on after we were stopped: the time away is nobody's, and the ticks that passed are not made up for."""
        for each in self._running.values():
            each.end_at_s = None if each.end_at_s is None else each.end_at_s + away_s
            each.kill_at_s = None if each.kill_at_s is None else each.kill_at_s + away_s
        self._agenda.resumed(self._machine.now())

    def _finish(self, running: _Running, exit_code: int, reason: str = "") -> None:
        now = self._machine.now()
        advice = self._advice(running, now)
        verdict = self._verdict(running)
        fate = _fate(running, exit_code, verdict)
        if fate is Fate.TIMED_OUT:
            reason = "timeout"
        if fate is Fate.REVOKED:
            reason = "its turn was over before it was"
        run = running.run(exit_code, now, ok=fate is Fate.OK, advice_s=advice.seconds if advice else None)
        seen = Seen(fate, changed=self._has_changed(running, fate), matched=verdict.matched)
        self._tally.add(seen, exit_code)
        self._agenda.ended(run, now, is_last=not self._tally.may_start())
        report = Report(run, fate, running.attempt, reason or verdict.reason, running.capture, advice)
        for listener in self._listeners:
            listener.ended(report)

    def _verdict(self, running: _Running) -> Verdict:
        if not self._plan.patterns.any or (running.ending and not running.ending.counts):
            return Verdict()
        return self.judge(self._plan.patterns, running.capture.text())

    def _advice(self, running: _Running, now: Moment) -> Advice | None:
        if self._plan.http is None:
            return None
        return advice_in(running.capture.stdout(), self._plan.http, now.wall_s)

    def _has_changed(self, running: _Running, fate: Fate) -> bool:
        if not self._plan.stops.on_change or not fate.counts:
            return False
        before, self._fingerprint = self._fingerprint, running.capture.fingerprint()
        return before is not None and before != self._fingerprint


def _fate(running: _Running, exit_code: int, verdict: Verdict) -> Fate:
    if running.ending is not None:
        return running.ending
    ok = exit_code == 0 if verdict.ok is None else verdict.ok
    return Fate.OK if ok else Fate.FAILED
