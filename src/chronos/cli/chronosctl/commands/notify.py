"""`chronosctl notify`: who is told when something fails, and whether word gets through."""

from __future__ import annotations

from itertools import islice
from typing import Any

import click

from chronos.cli.chronosctl.completing import job_names
from chronos.cli.chronosctl.exits import FAILED
from chronos.cli.chronosctl.lazy import Lazy, LazyGroup, leaf
from chronos.cli.chronosctl.output import emit, local_time, table
from chronos.cli.chronosctl.session import Session

_PAGE_MAX = 100
_NOBODY = "Nobody is told. `notify` in the server's configuration, or in a job, says whom to tell."


@click.group(
    cls=LazyGroup,
    lazy={
        "channels": Lazy("notify:channels", "Show who is told, of what."),
        "test": Lazy("notify:test", "Send a test message now."),
        "waiting": Lazy("notify:waiting", "Show messages that have not arrived yet."),
        "lost": Lazy("notify:lost", "Show messages that were given up."),
    },
)
def notify() -> None:
    """Who is told when a job fails, and whether word gets through."""


@leaf()
@click.argument("ref", metavar="[JOB]", required=False, shell_complete=job_names)
@click.pass_obj
def channels(session: Session, ref: str | None) -> None:
    """Show who is told, of what: the server's channels, or those that count for a job.

    \b
    Examples:
      chronosctl notify channels
      chronosctl notify channels nightly
    """
    from chronos.client import operations as ops

    everywhere = ops.notify_channels()
    answer = session.on_job(ref, lambda job: ops.notify_channels(job=job)) if ref else session.fetch(everywhere)
    emit(session, answer, _channels_text)


@leaf()
@click.argument("ref", metavar="[JOB]", required=False, shell_complete=job_names)
@click.pass_context
def test(ctx: click.Context, ref: str | None) -> None:
    """Send a test message now, over the server's channels or a job's own.

    The exit code is 1 when one of them did not take it.

    \b
    Examples:
      chronosctl notify test
      chronosctl notify test nightly
    """
    from chronos.client import operations as ops

    session: Session = ctx.obj
    answer = session.on_job(ref, lambda job: ops.try_notify(job=job)) if ref else session.fetch(ops.try_notify())
    emit(session, answer, _tried_table)
    if not all(one.get("ok") for one in answer.get("results", [])):
        ctx.exit(FAILED)


@leaf()
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.pass_obj
def waiting(session: Session, limit: int) -> None:
    """Show messages that have not arrived yet and are tried again, oldest first."""
    from chronos.cli.chronosctl.pages import pages
    from chronos.client import operations as ops

    size = min(limit, _PAGE_MAX)
    walk = pages(session, "waiting", lambda cursor: ops.waiting_notices(cursor=cursor, limit=size))
    emit(session, list(islice(walk, limit)), _waiting_table)


@leaf()
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.pass_obj
def lost(session: Session, limit: int) -> None:
    """Show messages that were given up, newest first, and why."""
    from chronos.cli.chronosctl.pages import pages
    from chronos.client import operations as ops

    size = min(limit, _PAGE_MAX)
    walk = pages(session, "lost", lambda cursor: ops.lost_notices(cursor=cursor, limit=size))
    emit(session, list(islice(walk, limit)), _lost_table)


def _channels_text(answer: dict[str, Any]) -> str:
    rows = [(one.get("type"), one.get("name"), ", ".join(answer.get("on", []))) for one in answer.get("channels", [])]
    whose = "The job says whom to tell:" if answer.get("source") == "job" else "The server says whom to tell:"
    return f"{whose}\n\n{table(('TYPE', 'CHANNEL', 'ON'), rows)}" if rows else _NOBODY


def _tried_table(answer: dict[str, Any]) -> str:
    results = answer.get("results", [])
    rows = [(one.get("channel"), "sent" if one.get("ok") else "failed", one.get("reason")) for one in results]
    return table(("CHANNEL", "RESULT", "WHY"), rows)


def _waiting_table(found: list[dict[str, Any]]) -> str:
    if not found:
        return "No message waits."
    rows = [
        (
            one.get("event"),
            one.get("job_name"),
            one.get("channel"),
            one.get("attempts"),
            local_time(one.get("queued_at")),
            local_time(one.get("next_try_at")),
        )
        for one in found
    ]
    return table(("EVENT", "JOB", "CHANNEL", "TRIES", "SINCE", "NEXT TRY"), rows)


def _lost_table(found: list[dict[str, Any]]) -> str:
    if not found:
        return "No message was lost."
    rows = [
        (
            local_time(one.get("lost_at")),
            one.get("event"),
            one.get("job_name"),
            one.get("channel"),
            one.get("attempts"),
            one.get("reason"),
        )
        for one in found
    ]
    return table(("LOST", "EVENT", "JOB", "CHANNEL", "TRIES", "WHY"), rows)
