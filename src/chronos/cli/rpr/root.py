"""The command: from the words somebody typed to an exit code. The one place where `rpr` prints errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from chronos.cli.printing import ended, show
from chronos.cli.rpr.words import take_apart
from chronos.errors import ChronosError, Unavailable
from chronos.timing.clock import SystemClock

OK = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130


def main() -> None:
    """Run `rpr` and leave."""
    sys.exit(ended(run(sys.argv[1:]), "Error"))


def run(words: Sequence[str]) -> int:
    """Do what was typed and return the exit code."""
    _open_standard_streams()
    try:
        return _run(words)
    except Unavailable as exc:  # what was begun cannot go on
        say(" ".join(str(exc).split()))
        return FAILED
    except ChronosError as exc:
        say(" ".join(str(exc).split()))
        return USAGE
    except KeyboardInterrupt:  # before the engine takes the signals
        say("interrupted")
        return INTERRUPTED


def _open_standard_streams() -> None:
    """Take the places of streams that the shell has closed, so that nothing else is opened there and written to."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one


def say(message: str) -> None:
    """Print the one line on stderr that goes with an exit code."""
    try:
        sys.stderr.write(f"Error: {message}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # there is nobody to tell


def _run(words: Sequence[str]) -> int:
    if (rest := _of_plugins(words)) is not None:
        from chronos.cli.rpr.plugins import plugins

        return plugins(rest)
    line = take_apart(words)
    if line.asks:
        from chronos.cli.rpr import help as pages

        if line.asks == "version":
            return show(f"rpr version {_version()}\n")
        return show(pages.page(line.subcommand) if line.subcommand else pages.overview())
    assert line.subcommand is not None
    from chronos.cli.rpr.asked import asked
    from chronos.cli.rpr.config import configured
    from chronos.cli.rpr.reading import read_flags
    from chronos.cli.rpr.repeating import repeat

    clock = SystemClock()
    name = line.subcommand.name
    values = configured(name, read_flags(name, line.flags), os.environ)
    if line.plugin:
        values |= {"plugin": line.plugin, "plugin_typed": dict(line.options)}
    return repeat(asked(line.subcommand, values, line.argv, clock), clock)


def _of_plugins(words: Sequence[str]) -> list[str] | None:
    """Return the words of `rpr plugins`, without it; None when it is something else."""
    config = 2 if words[:1] == ["--config"] else 1 if words and words[0].startswith("--config=") else 0
    if words[config : config + 1] != ["plugins"]:
        return None
    return [*words[:config], *words[config + 1 :]]


def _version() -> str:
    from chronos import __version__

    return __version__
