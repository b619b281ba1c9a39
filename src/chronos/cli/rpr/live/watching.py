"""Puts a repetition on the screen, and what is left of it on the terminal afterwards."""

from __future__ import annotations

import os
from collections.abc import Mapping

from chronos.cli.rpr.asked import Asked
from chronos.cli.rpr.headline import headline
from chronos.cli.rpr.live.history import History
from chronos.cli.rpr.live.session import EngineSession
from chronos.cli.rpr.live.text import safe_lines
from chronos.errors import Invalid
from chronos.repeater.agenda import Agenda
from chronos.repeater.engine import Engine
from chronos.repeater.machine import OUT
from chronos.repeater.port import Mode
from chronos.repeater.unix import UnixMachine
from chronos.timing.clock import Clock

STDERR = 2


def need_screen(environ: Mapping[str, str]) -> None:
    """Do nothing where there is a terminal to show things on.

    Raises:
        Invalid: There is none, or one that cannot be written to at any place.
    """
    # The screen is written to stderr and stdout is for what is left at the end; both must be seen.
    if not all(os.isatty(fd) for fd in range(3)):
        raise Invalid("--watch needs a terminal: leave it out where input or output is a file or a pipe.")
    if environ.get("TERM", "dumb") == "dumb":
        raise Invalid("--watch needs a terminal with a cursor, and TERM says dumb: set TERM, or leave --watch out.")


def watch(
    asked: Asked,
    mode: Mode,
    seed: int,
    agenda: Agenda,
    engine: Engine,
    machine: UnixMachine,
    history: History,
    clock: Clock,
) -> None:
    """Show the repetition until it is over, and leave what the last run printed on the terminal."""
    from chronos.cli.rpr.live.screen import Live

    session = EngineSession(
        engine, machine, agenda, mode, history, clock, may_run_now=asked.subcommand.name != "rate-limit"
    )
    title = f"{headline(asked, mode, seed)}: {' '.join(asked.plan.argv)}"
    if not has_colours():
        os.environ["NO_COLOR"] = "1"  # for the screen; the command has the environment from before
    session.start()
    try:
        Live(session, title, lambda: os.isatty(STDERR)).run(mouse=False)  # the terminal's own: text can be selected
    finally:
        session.finish()
    machine.print(OUT, last_output(history))


def has_colours() -> bool:
    """Whether the terminal says that it has them."""
    import curses

    try:
        curses.setupterm()
    except curses.error:
        return False
    return curses.tigetnum("colors") >= 8


def last_output(history: History) -> bytes:
    """Return the output of the last run, without what could steer the terminal."""
    runs = history.snapshot().runs
    lines = safe_lines(runs[-1].output) if runs else []
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
