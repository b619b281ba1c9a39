"""`chronosctl clock`: the server's clock against the log's."""

from __future__ import annotations

from typing import Any

import click

from chronos.cli.chronosctl.lazy import Lazy, LazyGroup, leaf
from chronos.cli.chronosctl.output import emit, local_time, pairs, say
from chronos.cli.chronosctl.session import Session


@click.group(
    cls=LazyGroup,
    lazy={
        "status": Lazy("clock:status", "Compare the node's clock with the log's."),
        "accept": Lazy("clock:accept", "Accept a wall clock that has jumped."),
        "reset": Lazy("clock:reset", "Count what is due from now on, whatever was decided before."),
    },
)
def clock() -> None:
    """The server's clock: see, accept, reset."""


@leaf()
@click.pass_obj
def status(session: Session) -> None:
    """Compare the node's clock with the log's."""
    from chronos.client import operations as ops

    emit(session, session.fetch(ops.clock()), _clock_text)


@leaf()
@click.pass_obj
def accept(session: Session) -> None:
    """Accept a wall clock that has jumped, and plan by it."""
    from chronos.client import operations as ops

    say(session, session.fetch(ops.accept_clock()), "the clock is accepted")


@leaf()
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def reset(session: Session, yes: bool) -> None:
    """Open a new restore epoch: what is due is counted from now on, whatever was decided before."""
    from chronos.cli.chronosctl.asking import confirm
    from chronos.client import operations as ops

    if not yes:
        confirm("What was due and did not run yet is given up. Go on?")
    answer = session.fetch(ops.reset_clock())
    say(session, answer, f"the clock is reset (restore epoch {answer.get('restore_epoch', '?')})")


def _clock_text(plain: Any) -> str:
    return pairs(
        [
            ("Wall clock", local_time(plain.get("now"))),
            ("Planning by", local_time(plain.get("planning_time"))),
            ("Log time", local_time(plain.get("log_time"))),
            ("Decided up to", local_time(plain.get("high_water_mark"))),
            ("Silent until", plain.get("silent_until") and local_time(plain["silent_until"])),
            ("Held", bool(plain.get("held"))),
            ("Restore epoch", plain.get("restore_epoch")),
            ("What to do", plain.get("note") or None),
        ]
    )
