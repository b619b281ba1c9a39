"""Wires a repetition together, lets it run, and says at the end what came of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from chronos.cli.printing import show
from chronos.cli.rpr.asked import Asked
from chronos.cli.rpr.headline import banner
from chronos.cli.rpr.modes import agenda_of, mode_of
from chronos.cli.rpr.telling import told_by
from chronos.repeater.agenda import Agenda
from chronos.repeater.engine import Engine, Listener, Report
from chronos.repeater.machine import ERR, OUT, Machine
from chronos.repeater.port import Mode, Remembering
from chronos.repeater.showing import Blocks, Json, Lines, Raw, Reasons, header, reason_of, statistics
from chronos.repeater.stops import Tally
from chronos.repeater.unix import Input, UnixMachine
from chronos.timing.clock import Clock, SystemChance

if TYPE_CHECKING:
    from chronos.cli.rpr.live.history import History
    from chronos.cli.rpr.plugged import Plugins
    from chronos.repeater.coordination import Turns
    from chronos.repeater.joblog import Joblog
    from chronos.repeater.spans import Tracer

OK = 0
FAILED = 1
TIMED_OUT = 124

Print = Callable[[int, bytes], None]


def repeat(asked: Asked, clock: Clock) -> int:
    """Repeat the command until something ends it, and return the exit code.

    Raises:
        Invalid: It cannot be begun: the mode refuses its numbers, or a file cannot be used.
    """
    seed = asked.get("seed", int.from_bytes(SystemChance().bytes(4), "big"))
    mode = mode_of(asked, seed)
    plugins = _plugins(asked)
    if asked.is_on("dry_run"):
        from chronos.cli.rpr.preview import preview

        return show(preview(asked, mode, seed, clock))
    if "to_job" in asked.values:
        from chronos.cli.rpr.jobfile import job_file

        return show(job_file(asked, os.getcwd()))
    if asked.is_on("watch"):
        from chronos.cli.rpr.live.watching import need_screen

        need_screen(os.environ)
    agenda = agenda_of(asked, mode)
    with contextlib.ExitStack() as stack:
        # What may refuse to begin comes before the machine, which takes the signals.
        joblog = _joblog(asked, stack)
        if joblog:
            _remember(mode, joblog)
        stdin = _input(asked, stack)
        logs: list[Listener] = [joblog] if joblog else []
        logs += _observed(asked, agenda, clock, stack)
        tracer = _tracer(asked, stack)
        logs += [tracer] if tracer else []
        turns = _turns(asked, clock, stack)
        unix = stack.enter_context(UnixMachine(clock, stdin))
        machine: Machine = plugins.machine(unix) if plugins else unix
        if turns:
            from chronos.cli.rpr.coordinated import taking_turns

            agenda, machine = taking_turns(turns, agenda, machine, unix.wake, stack)
        last = LastFailure(asked.plan.timeout_s)
        history = _history(asked)
        shown = [history] if history else _shown(asked, plugins, mode, agenda, clock, machine.print)
        tally = Tally(asked.plan.stops, final=asked.plan.final, before=joblog.last_number if joblog else 0)
        more = tracer.environment if tracer else None
        engine = Engine(asked.plan, agenda, machine, tally, [last, *logs, *shown], more)
        if asked.is_on("verbose"):
            machine.print(OUT, header(banner(asked, mode, seed), asked.plan.argv))
        if history:
            from chronos.cli.rpr.live.watching import watch

            watch(asked, mode, seed, agenda, engine, unix, history, clock)
        else:
            engine.run()
        return finish(asked, engine, tally, agenda, last, machine.print)


def _plugins(asked: Asked) -> Plugins | None:
    if "executor" not in asked.values and "output" not in asked.values:
        return None
    from chronos.cli.rpr.plugged import plugins_of

    return plugins_of(asked)


def _history(asked: Asked) -> History | None:
    if not asked.is_on("watch"):
        return None
    from chronos.cli.rpr.live.history import History

    return History(asked.plan.timeout_s)


def _shown(
    asked: Asked, plugins: Plugins | None, mode: Mode, agenda: Agenda, clock: Clock, to: Print
) -> list[Listener]:
    return [*listeners_of(asked, plugins, to), *told_by(asked, mode, agenda, clock, to)]


def _observed(asked: Asked, agenda: Agenda, clock: Clock, stack: contextlib.ExitStack) -> list[Listener]:
    if not (asked.is_on("health_enabled") or asked.is_on("metrics_enabled")):
        return []
    from chronos.cli.rpr.observed import observe

    return [observe(asked, agenda, clock, stack)]


def _tracer(asked: Asked, stack: contextlib.ExitStack) -> Tracer | None:
    if not asked.is_on("otlp_endpoint"):
        return None
    from chronos.cli.rpr.traced import trace

    return trace(asked, os.environ, SystemChance(), stack)


def _turns(asked: Asked, clock: Clock, stack: contextlib.ExitStack) -> Turns | None:
    if not asked.get("coordinate"):
        return None
    from chronos.cli.rpr.coordinated import turns_of

    return turns_of(asked, clock, stack)


def _joblog(asked: Asked, stack: contextlib.ExitStack) -> Joblog | None:
    path = asked.get("joblog")
    if not path:
        return None
    from chronos.repeater.joblog import Joblog

    return stack.enter_context(Joblog(path, asked.plan.argv, resume=asked.is_on("resume")))


def _remember(mode: Mode, joblog: Joblog) -> None:
    """Tell a mode that learns of the runs that the log has."""
    learner = getattr(mode, "mode", mode)
    if isinstance(learner, Remembering):
        for run in joblog.past():
            learner.remember(run.started_at, ok=run.ok)


def _input(asked: Asked, stack: contextlib.ExitStack) -> Input | None:
    if asked.get("stdin", "null") == "null":
        return None
    from chronos.cli.rpr.replay import replayed

    return stack.enter_context(replayed())


def listeners_of(asked: Asked, plugins: Plugins | None, to: Print) -> list[Listener]:
    """Return what shows the repetition, as the flags say."""
    if asked.is_on("json"):
        return [Json(to, asked.plan.timeout_s)]
    if asked.is_on("quiet"):
        return []
    level = "debug" if asked.is_on("verbose") else asked.get("log_level", "info")
    reasons = [] if level == "error" else [Reasons(to, verbose=level == "debug", timeout_s=asked.plan.timeout_s)]
    if plugins and plugins.outputs:
        return [*plugins.listeners(to, asked.plan.timeout_s), *reasons]
    return [*reasons] if asked.is_on("stats_only") else [_output(asked, to), *reasons]


def _output(asked: Asked, to: Print) -> Listener:
    prefix, tag = asked.get("output_prefix", ""), asked.plan.argv[0] if asked.is_on("verbose") else ""
    buffer = asked.get("buffer", "line" if prefix or tag or asked.get("concurrency", 1) > 1 else "none")
    if buffer == "block":
        return Blocks(to)
    return Lines(to, prefix=prefix, tag=tag) if buffer == "line" or prefix or tag else Raw(to)


class LastFailure:
    """Remembers why the last run that failed did."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        self.text = ""

    def wrote(self, number: int, stream: int, data: bytes) -> None:
        """What it prints is no reason."""

    def ended(self, report: Report) -> None:
        if report.fate.counts and not report.run.ok:
            reason = reason_of(report, self._timeout_s) or f"exit code {report.run.exit_code}"
            self.text = f"run {report.run.number}: {reason}"


def finish(asked: Asked, engine: Engine, tally: Tally, agenda: Agenda, last: LastFailure, to: Print) -> int:
    """Say what came of it and return the exit code."""
    if asked.is_on("verbose") or asked.is_on("stats_only"):
        skipped = agenda.skipped if "every" in asked.values or "cron" in asked.values else 0
        to(OUT, statistics(tally, engine.elapsed_s, skipped))
    code, message = verdict(asked, engine, tally, last)
    if message:
        to(ERR, f"Error: {message}\n".encode("utf-8", "surrogateescape"))
    return code


def verdict(asked: Asked, engine: Engine, tally: Tally, last: LastFailure) -> tuple[int, str]:
    """Return the exit code, and the line that goes with it; none when there is nothing to say."""
    if engine.stopped_by is not None:
        said = "interrupted" if engine.stopped_by >= 128 and engine.stopped_by != 141 else ""
        return engine.stopped_by, engine.error or said
    message = ""
    if not tally.is_success():
        why = (
            f"{tally.failed} of {tally.ended} failed, {last.text}" if last.text else "what was waited for did not come"
        )
        message = f"some commands failed ({why})" if last.text else why
    if asked.get("exit_code") == "last":
        return _last_code(tally), message
    return (FAILED if message else OK), message


def _last_code(tally: Tally) -> int:
    """Return the exit code of the last run, as a shell would give it."""
    if tally.last_timed_out:
        return TIMED_OUT
    code = tally.last_exit or 0
    return code if code >= 0 else 128 - code
