"""`chronosctl explain`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from chronos.cli.chronosctl.completing import job_names
from chronos.cli.chronosctl.lazy import leaf
from chronos.cli.chronosctl.output import emit, visible
from chronos.cli.chronosctl.session import Session


@leaf()
@click.argument("ref", metavar="JOB", shell_complete=job_names)
@click.option(
    "--at",
    metavar="INSTANT",
    help="RFC 3339, or a wall time in the job's zone; 2h is two hours ago. By default its last instant.",
)
@click.pass_obj
def explain(session: Session, ref: str, at: str | None) -> None:
    """Say why a job ran at an instant, or why it did not.

    First the verdict, then the facts it rests on, each with the id of the record that says so. Works for jobs
    that were deleted, and for instants to come.

    \b
    Examples:
      chronosctl explain nightly-backup
      chronosctl explain nightly-backup --at '2027-03-14 02:30'
      chronosctl explain nightly-backup --at 2027-03-14T07:00:00Z -o json | jq -r .reason
    """
    from chronos.client import operations as ops

    wanted = _instant(session, at) if at is not None else None
    answer = session.on_job(ref, lambda job: ops.explain_job(job, at=wanted))
    emit(session, answer, as_text)


def _instant(session: Session, text: str) -> str:
    """Return what the server is asked: a wall time without an offset as it is, for it knows the job's zone."""
    from chronos.cli.chronosctl.when import parse_instant

    try:
        return datetime.fromisoformat(text.strip()).isoformat()
    except ValueError:
        return parse_instant(text, session.clock, option="--at").isoformat()


def as_text(answer: Any) -> str:
    """Return the answer for people: the verdict, then the facts, then the neighbours."""
    lines = [visible(answer.get("verdict")), f"  asked about {visible(answer.get('local'))} ({answer.get('timezone')})"]
    lines.append(f"  reason {visible(answer.get('reason'))}, version {visible(answer.get('version'))}{_record(answer)}")
    lines.append("")
    lines += [_fact(fact, told=answer.get("record_id") or "") for fact in answer.get("facts") or []]
    for name in ("before", "after"):
        if neighbour := answer.get(name):
            lines.append(f"  {name:<10}{_neighbour(neighbour)}")
    return "\n".join(lines)


def _record(answer: Any) -> str:
    return f", record {visible(answer['record_id'])}" if answer.get("record_id") else ", no record"


def _fact(fact: Any, *, told: str) -> str:
    """Return a line; the record is named where it is another than the one told on top."""
    record, text = fact.get("record_id") or "", visible(fact.get("text"))
    named = f"  [{visible(record)}]" if record and record != told and record not in text else ""
    return f"  {visible(fact.get('kind')).replace('_', ' '):<10}{text}{named}"


def _neighbour(neighbour: Any) -> str:
    became = f": {visible(neighbour['became'])}" if neighbour.get("became") else ""
    record = f"  [{visible(neighbour['record_id'])}]" if neighbour.get("record_id") else ""
    return f"{visible(neighbour.get('local'))}{became}{record}"
