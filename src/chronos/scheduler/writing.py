"""Jobs as they are written: checked, sealed, and made to commands that say what they owe ahead."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from chronos.errors import JobNotFound
from chronos.model.job import Job, JobSpec
from chronos.model.sealing import Sealer
from chronos.model.target import Target
from chronos.scheduler.changes import NOTHING_AHEAD, Changes, owes_the_same
from chronos.scheduler.credentials import seal_credentials
from chronos.scheduler.dependencies import check_acyclic
from chronos.scheduler.loop import Scheduler
from chronos.scheduler.plan import check_spec
from chronos.scheduler.ports import Commands
from chronos.scheduler.proposing import Make
from chronos.scheduler.timetable import Timetable
from chronos.store.commands import Idem, PutJob
from chronos.store.tables import JOBS, NAMES

CheckTarget = Callable[[Target], None]


class Writes:
    """Makes what is proposed when a job is created or replaced; a command is made anew whenever planning has moved."""

    def __init__(
        self,
        commands: Commands,
        scheduler: Scheduler,
        changes: Changes,
        *,
        sealer: Sealer,
        check_target: CheckTarget,
    ) -> None:
        self._commands = commands
        self._scheduler = scheduler
        self._changes = changes
        self._sealer = sealer
        self._check_target = check_target

    def creation(self, job_id: str, spec: JobSpec, by: str, idem: Idem | None) -> Make:
        """Return what creates a job under a new id; raises what is wrong with it, naming the field."""
        normal, timetable = self._checked(spec)
        sealed = seal_credentials(normal, job_id, None, self._sealer)
        # A calendar may be another one by the time the command is made.
        like = None if timetable.is_anchored or normal.calendar is not None else timetable

        def command() -> PutJob:
            now_us = self._scheduler.now_us
            anchor_s = int(sealed.start_at.timestamp()) if sealed.start_at else now_us // 1_000_000
            owed_to = self._scheduler.planned_to_s
            future = Job(id=job_id, spec=sealed, revision=1, created_at_us=0, updated_at_us=0, anchor_s=anchor_s)
            ahead = NOTHING_AHEAD if sealed.enabled is False else self._changes.ahead(future, now_us, owed_to, like)
            return PutJob(
                job_id,
                sealed,
                by,
                0,
                ahead.owed,
                owed_to,
                anchor_s=anchor_s,
                idem=idem,
                comment="created",
                left_out_ahead=ahead.left_out,
            )

        return command

    def replacement_by_name(self, spec: JobSpec, by: str, idem: Idem | None) -> Make:
        """Return what replaces the job that has the name of `spec`; raises JobNotFound, or what is wrong with it."""
        named = self._commands.view.get(NAMES, f"{spec.namespace}/{spec.name}")
        old = self._commands.view.get(JOBS, named.job_id) if named is not None else None
        if old is None:
            raise JobNotFound(f"There is no job {spec.name!r}.", job=spec.name)
        return self.replacement(old, spec, None, by, idem, "edited")

    def replacement(
        self, old: Job, spec: JobSpec, revision: int | None, by: str, idem: Idem | None, comment: str
    ) -> Make:
        """Return what replaces the spec of `old`; raises what is wrong with it, naming the field."""
        sealed = seal_credentials(self._checked(spec)[0], old.id, old.spec, self._sealer)
        return lambda: self._replacement(old.id, sealed, revision, by, idem, comment)

    def _replacement(
        self, job_id: str, spec: JobSpec, revision: int | None, by: str, idem: Idem | None, comment: str
    ) -> PutJob:
        old = self._commands.view.get(JOBS, job_id)
        if old is None:
            raise JobNotFound
        now_us, owed_to = self._scheduler.now_us, self._scheduler.planned_to_s
        same = owes_the_same(old, spec)
        anchor_s = old.anchor_s if spec.schedules == old.spec.schedules else now_us // 1_000_000
        if spec.start_at is not None:
            anchor_s = int(spec.start_at.timestamp())
        paused = old.paused is not None and spec.enabled is not True
        future = replace(old, spec=spec, anchor_s=anchor_s)
        keeps_still = paused or same or spec.enabled is False
        ahead = NOTHING_AHEAD if keeps_still else self._changes.ahead(future, now_us, owed_to)
        return PutJob(
            job_id,
            spec,
            by,
            -1 if revision is None else revision,
            ahead.owed,
            owed_to,
            same_schedule=same,
            anchor_s=anchor_s,
            idem=idem,
            comment=comment,
            ranges=self._changes.passed_in_pause(old, now_us) if not same else [],
            undecided_us=self._changes.undecided_us(old, now_us, owed_to) if not same else 0,
            left_out_ahead=ahead.left_out,
        )

    def _checked(self, spec: JobSpec) -> tuple[JobSpec, Timetable]:
        """Return `spec` in normal form, and when it would be due; raises what is wrong with it, naming the field."""
        normal = spec.normal()
        assert normal.target is not None
        self._check_target(normal.target)
        timetable = check_spec(normal, self._scheduler.calendars.find, self._scheduler.now_us // 1_000_000)
        self._check_dependencies(normal)
        return normal, timetable

    def _check_dependencies(self, spec: JobSpec) -> None:
        if spec.dependencies is None:
            return

        def find(ref: str) -> Job | None:
            named = self._commands.view.get(NAMES, f"{spec.namespace}/{ref}")
            return self._commands.view.get(JOBS, named.job_id if named else ref)

        holder = self._commands.view.get(NAMES, f"{spec.namespace}/{spec.name}")
        check_acyclic(spec, {spec.name} | ({holder.job_id} if holder else set()), find)
