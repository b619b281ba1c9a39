"""Reads a job's revisions, and writes an old one again."""

from __future__ import annotations

from msgspec.structs import replace

from chronos.errors import Invalid, RevisionNotFound, Unprocessable
from chronos.features.versions.model import Diff, RolledBack, Version, VersionPage, VersionSummary
from chronos.features.versions.rules import as_text, changes, starred
from chronos.model.job import Job
from chronos.plugin import Jobs
from chronos.timing.clock import utc

Revisions = dict[int, tuple[Job, str]]


class Versions:
    """The versions of jobs, as the API offers them."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def page(self, ref: str, namespace: str, *, limit: int, cursor: str) -> VersionPage:
        """Return up to `limit` versions, newest first, from below `cursor` on.

        Raises:
            JobNotFound: There is no such job.
            Invalid: The cursor is none of ours.
        """
        revisions = await self._revisions(ref, namespace)
        below = _cursor(cursor)
        numbers = [n for n in sorted(revisions, reverse=True) if below is None or n < below]
        return VersionPage(
            versions=[_summary(revisions, n) for n in numbers[:limit]],
            total=len(revisions),
            next_cursor=str(numbers[limit - 1]) if len(numbers) > limit else None,
        )

    async def one(self, ref: str, namespace: str, number: str) -> Version:
        """Return a version, credentials starred.

        Raises:
            JobNotFound: There is no such job.
            RevisionNotFound: The job has no such version.
        """
        revisions = await self._revisions(ref, namespace)
        return _version(revisions, _existing(revisions, number))

    async def diff(self, ref: str, namespace: str, from_version: int | None, to_version: int | None) -> Diff:
        """Return what changed from one version to the other; the newest and the one before it by default.

        Raises:
            JobNotFound: There is no such job.
            RevisionNotFound: The job has no such version.
        """
        revisions = await self._revisions(ref, namespace)
        to_number = _existing(revisions, to_version or max(revisions))
        from_number = _existing(revisions, from_version or _before(revisions, to_number))
        found = changes(revisions[from_number][0].spec, revisions[to_number][0].spec)
        return Diff(
            job_id=revisions[to_number][0].id,
            from_version=from_number,
            to_version=to_number,
            changes=found,
            text=as_text(found, from_number, to_number),
        )

    async def roll_back(
        self, ref: str, namespace: str, number: str, *, by: str, if_match: int | None = None
    ) -> RolledBack:
        """Write an old version's content as a new version; whether the job is paused stays as it is.

        Args:
            if_match: The version the caller believes to be in force; None or -1 takes whatever is.

        Raises:
            JobNotFound: There is no such job.
            RevisionNotFound: The job has no such version.
            Unprocessable: That version is the one in force.
            VersionConflict: The job is at another version than `if_match`, or was changed meanwhile.
        """
        revisions = await self._revisions(ref, namespace)
        target, current = _existing(revisions, number), max(revisions)
        expected = current if if_match in (None, -1) else if_match
        assert expected is not None
        if target == current == expected:
            raise Unprocessable(
                f"Version {target} is the one in force; there is nothing to roll back.", field="version"
            )
        old, now = revisions[target][0], revisions[current][0]
        # Sealed credentials travel as they are kept; stars would mean "keep today's".
        job = await self._jobs.replace(
            now.id,
            replace(old.spec, enabled=None),
            namespace=namespace,
            revision=expected,
            by=by,
            comment=f"rolled back from v{current} to v{target}",
        )
        after = await self._revisions(now.id, namespace)
        return RolledBack(
            job=_version(after, job.revision),
            rolled_back_from=current,
            rolled_back_to=target,
            new_version=job.revision,
            changes=changes(now.spec, job.spec),
        )

    async def _revisions(self, ref: str, namespace: str) -> Revisions:
        found = await self._jobs.revisions(ref, namespace=namespace)
        return {job.revision: (job, comment) for job, comment in found}


def _existing(revisions: Revisions, number: int | str) -> int:
    # isdecimal, not int(): "+1" and "1_0" are not how a version is written.
    known = int(number) if isinstance(number, int) or (number.isascii() and number.isdecimal()) else 0
    if known not in revisions:
        raise RevisionNotFound(
            f"There is no version {number!s:.40}; the newest is {max(revisions)}.", newest=max(revisions)
        )
    return known


def _before(revisions: Revisions, number: int) -> int:
    return max((n for n in revisions if n < number), default=number)


def _cursor(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise Invalid("`cursor` is not one this server gave out; leave it out for the first page.", field="cursor")
    return int(text)


def _summary(revisions: Revisions, number: int) -> VersionSummary:
    job, comment = revisions[number]
    earlier = _before(revisions, number)
    return VersionSummary(
        job_id=job.id,
        version=number,
        at=utc(job.updated_at_us / 1e6),
        by=job.updated_by or job.created_by,
        comment=comment,
        current=number == max(revisions),
        fields_changed=[change.path for change in changes(revisions[earlier][0].spec, job.spec)],
    )


def _version(revisions: Revisions, number: int) -> Version:
    job, comment = revisions[number]
    return Version(
        job_id=job.id,
        version=number,
        at=utc(job.updated_at_us / 1e6),
        by=job.updated_by or job.created_by,
        comment=comment,
        current=number == max(revisions),
        spec=starred(job.spec),
    )
