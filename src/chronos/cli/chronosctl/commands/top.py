"""`chronosctl top`: what the server is doing, live or once."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import click

from chronos.cli.chronosctl.lazy import leaf
from chronos.cli.chronosctl.output import emit
from chronos.cli.chronosctl.session import Session
from chronos.errors import Invalid

INTERVAL_S = (0.5, 60.0)
PATIENCE_S = 5.0
"""The live screen waits so long for one answer at most; it asks again anyway."""


@leaf()
@click.option("--once", is_flag=True, help="Print it once, as text or as -o says, and end.")
@click.option("--interval", metavar="DURATION", default="2s", show_default=True, help="How often to ask, 500ms to 1m.")
@click.option("--sort", type=click.Choice(["last", "failures", "name"]), default="last", help="Order of failing jobs.")
@click.pass_obj
def top(session: Session, once: bool, interval: str, sort: str) -> None:
    """Watch what the server is doing: rate, lateness, what runs, waits and fails, the next minute's load.

    \b
    Keys: s sort, r ask now, p pause, ? help, q quit.

    \b
    Examples:
      chronosctl top
      chronosctl top --once
      chronosctl top --once -o json | jq .start_lateness_ms.p99
    """
    interval_s = _interval_s(interval)
    if once:
        _print(session, sort)
        return
    if session.output != "table":
        raise Invalid(f"The live screen is no {session.output}; add --once.")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Invalid("The live screen needs a terminal; add --once to print it once.")
    _watch(session, interval_s, sort)


def _print(session: Session, sort: str) -> None:
    from chronos.cli.chronosctl.stats import stats_text
    from chronos.client import operations as ops

    width = shutil.get_terminal_size((100, 24)).columns
    emit(session, session.fetch(ops.stats()), lambda plain: stats_text(plain, width=width, sort=sort))


def _watch(session: Session, interval_s: float, sort: str) -> None:
    from chronos.cli.chronosctl.livescreen import Top
    from chronos.client import operations as ops

    client = session.connect(timeout_s=min(session.timeout_s, PATIENCE_S), tries_max=1)

    def fetch() -> dict[str, Any]:
        answer: dict[str, Any] = client.fetch(ops.stats())
        return answer

    try:
        error = Top(fetch, interval_s=interval_s, server=session.server, sort=sort).run()
    finally:
        client.close()
    if error is not None:
        raise error


def _interval_s(text: str) -> float:
    from chronos.timing.duration import SECOND_US, parse_duration

    interval_s = parse_duration(text) / SECOND_US
    least, most = INTERVAL_S
    if not least <= interval_s <= most:
        raise Invalid(f"--interval: `{text}` is not between 500ms and 1m.")
    return interval_s
