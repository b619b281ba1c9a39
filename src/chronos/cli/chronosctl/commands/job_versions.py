"""`job versions`, `diff`, `rollback`."""

from __future__ import annotations

from itertools import islice
from typing import Any

import click

from chronos.cli.chronosctl.completing import job_names
from chronos.cli.chronosctl.lazy import leaf
from chronos.cli.chronosctl.output import emit, local_time, say, table, visible, visible_text
from chronos.cli.chronosctl.pages import pages
from chronos.cli.chronosctl.session import Session
from chronos.client import operations as ops

_PAGE = 100


@leaf()
@click.argument("ref", metavar="JOB", shell_complete=job_names)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.pass_obj
def versions(session: Session, ref: str, limit: int) -> None:
    """Show the versions of a job, newest first."""
    job = session.on_job(ref, ops.job)
    size = min(limit, _PAGE)
    walk = pages(session, "versions", lambda cursor: ops.job_versions(job["id"], cursor=cursor, limit=size))
    emit(session, list(islice(walk, limit)), _versions_table)


@leaf()
@click.argument("ref", metavar="JOB", shell_complete=job_names)
@click.option("--from", "old", type=int, metavar="VERSION", help="By default the one before --to.")
@click.option("--to", "new", type=int, metavar="VERSION", help="By default the newest.")
@click.pass_obj
def diff(session: Session, ref: str, old: int | None, new: int | None) -> None:
    """Show what changed between two versions of a job, field by field."""
    answer = session.on_job(ref, lambda job: ops.job_diff(job, old=old, new=new))
    emit(session, answer, _diff_text)


@leaf()
@click.argument("ref", metavar="JOB", shell_complete=job_names)
@click.argument("version", type=int)
@click.pass_obj
def rollback(session: Session, ref: str, version: int) -> None:
    """Write an old version's content as a new version."""
    answer = session.on_job(ref, lambda job: ops.rollback_job(job, version))
    say(session, answer, f"rolled {ref} back to version {version}, as version {answer.get('new_version', '?')}")


def _versions_table(found: list[Any]) -> str:
    rows = [
        (
            f"{item.get('version')}{' *' if item.get('current') else ''}",
            local_time(item.get("at")),
            item.get("by"),
            ", ".join(item.get("fields_changed") or []) or "-",
            item.get("comment"),
        )
        for item in found
    ]
    return table(("VERSION", "WRITTEN", "BY", "CHANGED", "COMMENT"), rows)


def _diff_text(answer: Any) -> str:
    if answer.get("text"):
        return visible_text(str(answer["text"])).rstrip()
    lines = [
        f"{visible(change.get('path'))}: {visible(change.get('old'))} → {visible(change.get('new'))}"
        for change in answer.get("changes", [])
    ]
    return "\n".join(lines) or "The versions do not differ."
