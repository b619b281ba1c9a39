"""`job create`, `apply`, `update`, `delete`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from chronos.cli.chronosctl.applying import Plan, carry_out, plan_of
from chronos.cli.chronosctl.asking import confirm
from chronos.cli.chronosctl.completing import job_names
from chronos.cli.chronosctl.jobfiles import FileJob, check_job, read_jobs
from chronos.cli.chronosctl.jobflags import document_of, job_flags, patch_of, split_pair
from chronos.cli.chronosctl.lazy import leaf
from chronos.cli.chronosctl.output import emit, local_time, say
from chronos.cli.chronosctl.progress import progress
from chronos.cli.chronosctl.session import Session
from chronos.client import operations as ops
from chronos.errors import Invalid, VersionConflict

_RACES_MAX = 3


@leaf()
@click.argument("name", required=False)
@click.argument("argv", nargs=-1, metavar="[-- COMMAND…]", type=click.UNPROCESSED)
@click.option("-f", "--file", "files", multiple=True, metavar="FILE", help="Job file, YAML or JSON; - is stdin.")
@click.option("--disabled", is_flag=True, help="Create it, but do not let it fire yet.")
@job_flags
@click.pass_obj
def create(
    session: Session, /, name: str | None, argv: tuple[str, ...], files: tuple[str, ...], disabled: bool, **flags: Any
) -> None:
    """Make a job, by flags or from files.

    \b
    Examples:
      chronosctl job create nightly --schedule '0 2 * * *' --url https://example.com/backup
      chronosctl job create tidy --schedule @daily -- /usr/bin/find /tmp -mtime +7 -delete
      chronosctl job create -f jobs.yaml
    """
    jobs = _jobs_to_create(session, name, argv, files, disabled, flags)
    made = []
    for job in progress(jobs, "creating jobs"):
        body = {**job.document, "enabled": False} if disabled else job.document
        made.append(session.fetch(_in_namespace(ops.create_job(body), job)))
    emit(session, made[0] if len(made) == 1 and not files else made, lambda _: "\n".join(map(_created, made)))


def _jobs_to_create(
    session: Session,
    name: str | None,
    argv: tuple[str, ...],
    files: tuple[str, ...],
    disabled: bool,
    flags: dict[str, Any],
) -> list[FileJob]:
    document = document_of(flags, argv)
    if files:
        if name or document:
            raise Invalid("Describe the job by flags or by -f FILE, not both.")
        return read_jobs(files, namespace=session.namespace)
    if not name:
        raise Invalid("Give the job a name, or a file with -f.")
    if session.namespace:
        document["namespace"] = session.namespace
    return [check_job({"name": name, **document}, "job create")]


def _created(job: Any) -> str:
    following = job.get("next_run")
    when = f", next run {local_time(following)}" if following else ""
    return f"created {job['name']} ({job['id']}){when}"


@leaf()
@click.option("-f", "--file", "files", multiple=True, required=True, metavar="FILE", help="Job file; - is stdin.")
@click.option("--dry-run", is_flag=True, help="Show what would change and change nothing.")
@click.option("--prune", is_flag=True, help="Delete jobs with the tag of --tag that no file has.")
@click.option("--tag", metavar="KEY=VALUE", help="Which jobs --prune may delete.")
@click.pass_obj
def apply(session: Session, files: tuple[str, ...], dry_run: bool, prune: bool, tag: str | None) -> None:
    """Make jobs what files say: create what is missing, replace what differs, leave the rest alone.

    \b
    Examples:
      chronosctl job apply -f jobs.yaml --dry-run
      chronosctl job apply -f jobs/*.yaml --prune --tag owner=billing
    """
    if prune != bool(tag):
        raise Invalid("--prune and --tag belong together: the tag says which jobs may be deleted.")
    jobs = read_jobs(files, namespace=session.namespace)
    plan = plan_of(session, jobs, prune=split_pair(tag, "--tag") if tag else None)
    if not dry_run:
        plan = carry_out(session, plan)
    emit(session, plan.plain(dry_run=dry_run), lambda _: _told(plan, dry_run))


def _told(plan: Plan, dry_run: bool) -> str:
    lines = [line for step in plan.steps for line in step.lines(dry_run=dry_run)]
    return "\n".join([*lines, plan.summary(dry_run=dry_run)])


@leaf()
@click.argument("ref", metavar="JOB", shell_complete=job_names)
@click.option("--untag", multiple=True, metavar="KEY", help="Take a tag away; repeatable.")
@click.option("--name", "new_name", metavar="NAME", help="Rename the job.")
@click.option("--revision", type=int, help="Only if the job is still at this revision.")
@job_flags
@click.pass_obj
def update(
    session: Session, /, ref: str, untag: tuple[str, ...], new_name: str | None, revision: int | None, **flags: Any
) -> None:
    """Change single fields of a job; what is not named stays.

    \b
    Examples:
      chronosctl job update nightly --schedule '30 2 * * *'
      chronosctl job update nightly --tag team=ops --untag owner
    """
    if not document_of(flags) and not untag and not new_name:
        raise Invalid("Say what to change, for example --schedule '30 2 * * *'.")
    for race in range(1, _RACES_MAX + 1):
        current = session.on_job(ref, ops.job)
        patch = patch_of(current, flags, untag)
        if new_name:
            patch["name"] = new_name
        at = current["revision"] if revision is None else revision
        try:
            changed = session.fetch(ops.patch_job(current["id"], patch, revision=at))
        except VersionConflict:
            # What the flags say does not depend on what was read, so that reading again is safe.
            if revision is not None or race == _RACES_MAX:
                raise
        else:
            say(session, changed, f"updated {changed['name']} (revision {changed.get('revision', '?')})")
            return


@leaf()
@click.argument("refs", metavar="JOB…", nargs=-1, required=True, shell_complete=job_names)
@click.option("-y", "--yes", is_flag=True, help="Do not ask when a job is named by the beginning of its name only.")
@click.pass_obj
def delete(session: Session, refs: tuple[str, ...], yes: bool) -> None:
    """Delete jobs. Their history stays until its retention is over.

    \b
    Examples:
      chronosctl job delete nightly
    """
    gone = []
    for ref in refs:
        job = session.on_job(ref, ops.job)
        if ref not in (job["name"], job["id"]) and not yes:
            confirm(f"`{ref}` is {job['name']} ({job['id']}). Delete it?")
        answer = session.fetch(ops.delete_job(job["id"]))
        gone.append({"id": job["id"], "name": job["name"], **(answer if isinstance(answer, dict) else {})})
    emit(session, gone, lambda _: "\n".join(f"deleted {job['name']} ({job['id']})" for job in gone))


def _in_namespace(operation: Any, job: FileJob) -> Any:
    return replace(operation, namespace=job.spec.namespace) if "namespace" in job.document else operation
