"""`job apply`: from files and what is there to a plan, and from the plan to changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from chronos.cli.chronosctl.changes import Change, changes
from chronos.cli.chronosctl.jobfiles import FileJob
from chronos.cli.chronosctl.pages import jobs_of
from chronos.cli.chronosctl.progress import progress
from chronos.cli.chronosctl.session import Session
from chronos.client import operations as ops
from chronos.errors import NotFound

CREATE, UPDATE, DELETE, KEEP = "create", "update", "delete", "unchanged"
_PAST = {CREATE: "created", UPDATE: "updated", DELETE: "deleted", KEEP: "unchanged"}


@dataclass(frozen=True)
class PlannedStep:
    """What happens to one job."""

    action: str
    name: str
    namespace: str
    wanted: FileJob | None = None
    current: dict[str, Any] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()

    def lines(self, *, dry_run: bool) -> Iterator[str]:
        """Yield what to tell of it: the job, then each field."""
        yield f"{self._verb(dry_run)} {self.name}"
        for change in self.changes:
            yield f"    {change}"

    def _verb(self, dry_run: bool) -> str:
        return f"would {self.action}" if dry_run and self.action != KEEP else _PAST[self.action]


@dataclass(frozen=True)
class Plan:
    """What happens to all of them, in the order of the files, deletions last."""

    steps: list[PlannedStep]

    def summary(self, *, dry_run: bool) -> str:
        """Return the counts as a sentence."""
        counts = {past: sum(step.action == action for step in self.steps) for action, past in _PAST.items()}
        told = ", ".join(f"{count} {past}" for past, count in counts.items() if count or past != "deleted")
        return f"{told} (nothing was changed: dry run)" if dry_run else told

    def plain(self, *, dry_run: bool) -> list[dict[str, Any]]:
        """Return the plan for programs."""
        return [
            {
                "action": step.action,
                "name": step.name,
                "namespace": step.namespace,
                "changes": [{"path": c.path, "old": c.old, "new": c.new} for c in step.changes],
                "dry_run": dry_run,
            }
            for step in self.steps
        ]


def plan_of(session: Session, jobs: list[FileJob], *, prune: tuple[str, str] | None) -> Plan:
    """Return what has to be done so that the server has what the files say."""
    steps = [_step_of(session, job) for job in progress(jobs, "comparing jobs")]
    if prune:
        kept = {(job.spec.namespace, job.spec.name) for job in jobs}
        for job in jobs_of(session, tags=dict([prune])):
            where = (job.get("namespace", "default"), job["name"])
            if where not in kept:
                steps.append(PlannedStep(DELETE, job["name"], where[0], current=job))
    return Plan(steps)


def carry_out(session: Session, plan: Plan) -> Plan:
    """Do what the plan says, and return what came of it.

    What was read is what is replaced: a job that has moved on meanwhile is a conflict. Credentials are compared by
    the server, which shows them to nobody: where they were the same as well, the job has stayed as it was.
    """
    return Plan([_done(session, step) for step in progress(plan.steps, "applying")])


def _done(session: Session, step: PlannedStep) -> PlannedStep:
    if step.action == KEEP:
        return step
    answer = session.fetch(replace(_operation_of(step), namespace=step.namespace))
    if step.action == UPDATE and answer["revision"] == step.current["revision"]:
        return replace(step, action=KEEP, changes=())
    return step


def _operation_of(step: PlannedStep) -> Any:
    if step.action == DELETE:
        return ops.delete_job(step.current["id"], revision=step.current.get("revision"))
    assert step.wanted is not None
    if step.action == CREATE:
        return ops.create_job(step.wanted.document)
    return ops.replace_job(step.current["id"], step.wanted.document, revision=step.current["revision"])


def _step_of(session: Session, job: FileJob) -> PlannedStep:
    name, namespace = job.spec.name, job.spec.namespace
    try:
        current = session.fetch(replace(ops.job(name), namespace=namespace))
    except NotFound:
        return PlannedStep(CREATE, name, namespace, job)
    found = tuple(changes(current, job.spec))
    return PlannedStep(UPDATE if found else KEEP, name, namespace, job, current, found)
