"""`job trigger`, `enable`, `disable`, `pause`, `resume`, `backfill`: what is done with a job as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from chronos.cli.chronosctl.completing import job_names
from chronos.cli.chronosctl.exits import FAILED
from chronos.cli.chronosctl.lazy import leaf
from chronos.cli.chronosctl.output import emit, local_time, say
from chronos.cli.chronosctl.session import Session
from chronos.cli.chronosctl.views import execution_details, why_of
from chronos.cli.chronosctl.waiting import trigger_and_wait
from chronos.cli.chronosctl.when import parse_instant
from chronos.client import operations as ops


@leaf()
@click.argument("ref", metavar="JOB", shell_complete=job_names)
@click.option("--wait", is_flag=False, flag_value="1m", metavar="[DURATION]", help="Wait for its end (1m at most).")
@click.option("--force", is_flag=True, help="Start it even beside a run that is not over.")
@click.pass_context
def trigger(ctx: click.Context, ref: str, wait: str | None, force: bool) -> None:
    """Run a job now.

    With --wait the exit code is 0 when it succeeded, and 1 when it did not or is not over yet.

    \b
    Examples:
      chronosctl job trigger nightly
      chronosctl job trigger nightly --wait=5m && echo done
    """
    session: Session = ctx.obj
    if wait is None:
        run = session.on_job(ref, lambda job: ops.trigger_job(job, force=force))
        say(session, run, f"triggered {run.get('job_name') or ref}: {run['id']} ({run['status']})")
        return
    run = trigger_and_wait(session, ref, wait, force=force)
    emit(session, run, execution_details)
    if run["status"] != "success":
        why = why_of(run) or ("not over yet" if run.get("completed_at") is None else "no reason recorded")
        session.note(f"chronosctl: {run['id']} is {run['status']}: {why}")
        ctx.exit(FAILED)


@leaf()
@click.argument("refs", metavar="JOB…", nargs=-1, required=True, shell_complete=job_names)
@click.pass_obj
def enable(session: Session, refs: tuple[str, ...]) -> None:
    """Let disabled jobs fire again, from their next instant on."""
    _each(session, refs, ops.enable_job, "enabled")


@leaf()
@click.argument("refs", metavar="JOB…", nargs=-1, required=True, shell_complete=job_names)
@click.pass_obj
def disable(session: Session, refs: tuple[str, ...]) -> None:
    """Stop jobs from firing until they are enabled. What runs is left to end."""
    _each(session, refs, ops.disable_job, "disabled")


@leaf()
@click.argument("refs", metavar="JOB…", nargs=-1, required=True, shell_complete=job_names)
@click.option("--reason", default="", metavar="TEXT", help="Why; everybody sees it.")
@click.option("--until", metavar="INSTANT", help="Resume by itself then: 2027-01-01T09:00:00Z, or +2h.")
@click.pass_obj
def pause(session: Session, refs: tuple[str, ...], reason: str, until: str | None) -> None:
    """Stop jobs from firing, saying why and until when. What runs is left to end.

    \b
    Examples:
      chronosctl job pause nightly --reason 'moving the database' --until +2h
    """
    end = parse_instant(until, session.clock, option="--until") if until else None
    _each(session, refs, lambda job: ops.pause_job(job, reason=reason, until=end), "paused")


@leaf()
@click.argument("refs", metavar="JOB…", nargs=-1, required=True, shell_complete=job_names)
@click.pass_obj
def resume(session: Session, refs: tuple[str, ...]) -> None:
    """Let paused jobs fire again, from their next instant on. What was due meanwhile is not made up for."""
    _each(session, refs, ops.resume_job, "resumed")


@leaf()
@click.argument("ref", metavar="JOB", shell_complete=job_names)
@click.option("--since", required=True, metavar="INSTANT", help="Beginning of the range: 2027-01-01, or 2d (ago).")
@click.option("--until", default="now", show_default=True, metavar="INSTANT", help="End of the range.")
@click.pass_obj
def backfill(session: Session, ref: str, since: str, until: str) -> None:
    """Run the instants of a past range, one execution each.

    \b
    Examples:
      chronosctl job backfill nightly --since 2027-01-01 --until 2027-01-08
    """
    begin = parse_instant(since, session.clock, option="--since")
    end = parse_instant(until, session.clock, option="--until")
    answer = session.on_job(ref, lambda job: ops.backfill_job(job, since=begin, until=end))
    say(session, answer, f"backfilling {answer.get('count', 'the')} instants of {ref}")


def _each(session: Session, refs: tuple[str, ...], operation: Callable[[str], Any], done: str) -> None:
    changed = [session.on_job(ref, operation) for ref in refs]
    plain = changed[0] if len(changed) == 1 else changed
    emit(session, plain, lambda _: "\n".join(_sentence(done, job) for job in changed))


def _sentence(done: str, job: dict[str, Any]) -> str:
    text = f"{done} {job['name']}"
    if job.get("next_run"):
        text += f", next run {local_time(job['next_run'])}"
    if sent := job.get("already_sent"):
        text += f"; already on their way: {', '.join(sent)}"
    return text
