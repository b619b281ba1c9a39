"""`chronosctl job`: the table of its commands, and the two that only look."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any

import click

from chronos.cli.chronosctl.completing import job_names
from chronos.cli.chronosctl.lazy import Lazy, LazyGroup, leaf
from chronos.cli.chronosctl.output import emit
from chronos.cli.chronosctl.session import Session


@click.group(
    cls=LazyGroup,
    lazy={
        "list": Lazy("job:list_jobs", "Show jobs and when they run next."),
        "get": Lazy("job:get", "Show one job."),
        "create": Lazy("job_write:create", "Make a job, by flags or from files."),
        "apply": Lazy("job_write:apply", "Make jobs what files say; show what changes."),
        "update": Lazy("job_write:update", "Change single fields of a job."),
        "delete": Lazy("job_write:delete", "Delete jobs."),
        "trigger": Lazy("job_state:trigger", "Run a job now."),
        "enable": Lazy("job_state:enable", "Let a disabled job fire again."),
        "disable": Lazy("job_state:disable", "Stop a job from firing."),
        "pause": Lazy("job_state:pause", "Stop a job from firing, saying why and until when."),
        "resume": Lazy("job_state:resume", "Let a paused job fire again."),
        "backfill": Lazy("job_state:backfill", "Run the instants of a past range."),
        "import": Lazy("job_files:import_jobs", "Create jobs from job files or a crontab."),
        "export": Lazy("job_files:export", "Print jobs as a file that can be imported."),
        "versions": Lazy("job_versions:versions", "Show the versions of a job."),
        "diff": Lazy("job_versions:diff", "Show what changed between two versions."),
        "rollback": Lazy("job_versions:rollback", "Make an old version the current one."),
    },
)
def job() -> None:
    """Create, change, run, import and export jobs.

    A job is named by its name, its id, or the beginning of either that fits one job only.
    """


@leaf("list")
@click.option("--enabled/--disabled", "enabled", default=None, help="Only jobs that fire, or only those that do not.")
@click.option("--text", metavar="TEXT", help="Only jobs with this in name or description.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Only jobs with this tag; repeatable.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1_000, show_default=True)
@click.pass_obj
def list_jobs(session: Session, enabled: bool | None, text: str | None, tags: tuple[str, ...], limit: int) -> None:
    """Show jobs and when they run next.

    \b
    Examples:
      chronosctl job list --tag team=billing
      chronosctl job list --disabled -o json | jq -r '.[].name'
    """
    from chronos.cli.chronosctl.jobflags import split_pair
    from chronos.cli.chronosctl.pages import jobs_of
    from chronos.cli.chronosctl.views import jobs_table

    wanted = dict(split_pair(text, "--tag") for text in tags)
    found = list(islice(jobs_of(session, enabled=enabled, text=text, tags=wanted, limit=limit), limit))
    emit(session, found, partial(jobs_table, is_narrowed=enabled is not None or bool(text or tags)))


@leaf()
@click.argument("ref", metavar="JOB", shell_complete=job_names)
@click.pass_obj
def get(session: Session, ref: str) -> None:
    """Show one job.

    \b
    Examples:
      chronosctl job get nightly-backup
      chronosctl job get nightly-backup -o yaml
    """
    from chronos.cli.chronosctl.views import job_details
    from chronos.client import operations as ops

    found: Any = session.on_job(ref, ops.job)
    emit(session, found, job_details)
