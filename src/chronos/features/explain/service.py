"""Gathers what is known of an instant, and has it explained."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from msgspec.structs import replace

from chronos.errors import JobNotFound, Unprocessable
from chronos.features.explain.model import Explanation, Neighbour
from chronos.features.explain.timetable import resolve_wall
from chronos.features.explain.verdict import Case, after_s, became, before_s, explain, id_of, neighbours, record_of
from chronos.features.explain.wording import at_s as instant_of
from chronos.features.explain.wording import local
from chronos.model.job import Job
from chronos.scheduler.evidence import Evidence, Life
from chronos.timing.civil import END_S


class Jobs(Protocol):
    """Knows the versions of jobs (`plugin.Jobs`)."""

    async def revisions(self, ref: str, *, namespace: str) -> list[tuple[Job, str]]: ...


class Explainer:
    """Answers why.

    Args:
        evidence: Asked for when a question comes: features are installed before it is there.
    """

    def __init__(self, jobs: Jobs, evidence: Callable[[], Evidence]) -> None:
        self._jobs = jobs
        self._evidence = evidence

    async def explain(self, ref: str, namespace: str, at: str) -> Explanation:
        """Return why the job ran at `at`, or why not.

        Raises:
            JobNotFound: There is no such job, and none that was deleted and is still known.
            Unprocessable: `at` is no instant.
        """
        lives = await self._lives(ref, namespace)
        life, at_s, asked = await self._instant(lives, at)
        case = await self._case(life, at_s, asked)
        before, after = neighbours(case)
        answer = explain(case)
        return replace(
            answer,
            before=await self._neighbour(life, before, answer.timezone),
            after=await self._neighbour(life, after, answer.timezone),
        )

    async def _case(self, life: Life, at_s: int, asked: str) -> Case:
        evidence = self._evidence()
        job = life.newest
        return Case(
            life=life,
            at_s=at_s,
            progress=evidence.progress(),
            calendar_of=evidence.calendars_at(at_s),
            records=await evidence.records(job, at_s),
            slots=evidence.slots(job.id),
            asked=asked,
        )

    async def _lives(self, ref: str, namespace: str) -> list[Life]:
        """Return the job, and before it those deleted ones that had its name, the newest first."""
        found: list[Life] = []
        missing: JobNotFound | None = None
        try:
            versions = await self._jobs.revisions(ref, namespace=namespace)
            found.append(Life(sorted(versions, key=lambda version: version[0].revision)))
        except JobNotFound as error:
            missing = error
        found += self._evidence().deleted(ref, namespace)
        if not found:
            raise missing or JobNotFound(job=ref)
        return found

    async def _instant(self, lives: list[Life], at: str) -> tuple[Life, int, str]:
        """Return which of the jobs of one name is meant, the instant, and a note on how it was understood."""
        if not at.strip():
            return lives[0], await self._last_instant(lives[0]), ""
        at_s, asked = _parsed(at, lives[0].newest.spec.timezone)
        there = [life for life in lives if life.in_force(at_s) is not None]
        return (there or lives)[0], at_s, asked

    async def _last_instant(self, life: Life) -> int:
        """Return the last instant up to now; of a job that had none its last run, or the first instant to come."""
        evidence = self._evidence()
        now_s = evidence.progress().now_us // 1_000_000
        calendar_of = evidence.calendars_at(now_s)
        last = before_s(life, now_s + 1, calendar_of)
        if last is not None:
            return last
        run = await evidence.last_run_s(life.newest)
        following = after_s(life, now_s, calendar_of)
        return run if run is not None else following if following is not None else now_s + 1

    async def _neighbour(self, life: Life, at_s: int | None, timezone: str) -> Neighbour | None:
        if at_s is None:
            return None
        record = record_of(await self._evidence().records(life.newest, at_s))
        return Neighbour(
            at=instant_of(at_s),
            local=local(at_s, timezone),
            became=became(record) if record is not None else "",
            record_id=id_of(record) if record is not None else "",
        )


def _parsed(text: str, timezone: str) -> tuple[int, str]:
    allowed = "write an instant such as 2027-01-01T09:00:00Z, or a wall time in the job's zone without an offset"
    try:
        stated = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Unprocessable(f"`at` is `{text[:64]}`; {allowed}.", field="at") from None
    if stated.tzinfo is None:
        seconds = int(stated.replace(tzinfo=UTC).timestamp())
        at_s, note = resolve_wall(seconds, timezone) if 2 * 86_400 < seconds < END_S - 86_400 else (seconds, "")
    else:
        at_s, note = int(stated.timestamp()), ""
    if not 0 <= at_s < END_S:
        raise Unprocessable(f"`at` is `{text[:64]}`; the year must be between 1970 and 2499.", field="at")
    return at_s, note
