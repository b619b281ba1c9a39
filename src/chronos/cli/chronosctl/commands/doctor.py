"""`chronosctl doctor`."""

from __future__ import annotations

import click

from chronos.cli.chronosctl.exits import FAILED
from chronos.cli.chronosctl.lazy import leaf
from chronos.cli.chronosctl.output import colours_wanted, emit, visible
from chronos.cli.chronosctl.session import Session

_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "problem": ("PROBLEM", "red")}


@leaf()
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Find what is wrong here, and what to do about it.

    The exit code is 1 when there is a problem. With --data-dir the server's folder is looked at, too.

    \b
    Examples:
      chronosctl doctor
      chronosctl doctor --data-dir ./data
    """
    from chronos.cli.chronosctl.doctor import examine
    from chronos.cli.chronosctl.finding import Level

    session: Session = ctx.obj
    found = list(examine(session))
    plain = [{"level": one.level.value, "what": one.what, "advice": one.advice} for one in found]
    emit(session, plain, lambda rows: "\n".join(map(_line, rows)))
    if any(one.level is Level.BAD for one in found):
        ctx.exit(FAILED)


def _line(row: dict[str, str]) -> str:
    word, colour = _MARKS[row["level"]]
    mark = f"{word:<7}"
    shown = click.style(mark, fg=colour) if colours_wanted() else mark
    advice = f"\n         → {visible(row['advice'])}" if row["advice"] else ""
    return f"{shown}  {visible(row['what'])}{advice}"
