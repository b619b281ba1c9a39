"""What cannot be printed: the reader has left, the terminal is gone, the disk is full."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback

from chronos.errors import Unavailable


def ended(code: int, program: str) -> int:
    """Return the exit code of a program that is done, once what it printed is written; 1 when that was lost.

    Python would try at its end, print a traceback, and exit with 120 whatever the code was.

    Args:
        code: What it would exit with if all was written.
        program: What the line begins with that says what was lost.
    """
    why = let_go_of_output()
    if code == 0 and why is not None and not isinstance(why, BrokenPipeError):
        code = lost(why, program)
        let_go_of_output()
    return code


def lost(why: OSError, program: str) -> int:
    """Say that what was to be printed was lost, and return the exit code that says so, too."""
    with contextlib.suppress(OSError):  # there may be nobody to tell
        print(f"{program}: {_unwritten(why)}", file=sys.stderr, flush=True)
    return 1


def show(text: str) -> int:
    """Print it and return 0, the exit code of a program that has done so. A reader who has left has seen enough.

    Raises:
        Unavailable: It cannot be written.
    """
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        pass
    except OSError as exc:
        raise Unavailable(_unwritten(exc)) from exc
    return 0


def is_of_echo(exc: OSError) -> bool:
    """Return whether it was printing that failed, and nothing else that is written."""
    import click  # not for those who print without it: it takes longer to load than they have

    *_, (frame, _) = traceback.walk_tb(exc.__traceback__)
    return frame.f_code is click.echo.__code__


def let_go_of_output() -> OSError | None:
    """Write what still waits, or forget it for good; return why what was to be printed was lost, None if nothing was.

    What was lost of the errors is not told: they are what it would be told with.
    """
    why = None
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError as exc:
            if stream is sys.stdout:
                why = exc
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    return why


def _unwritten(exc: OSError) -> str:
    return f"cannot write output: {exc.strerror or exc}"
