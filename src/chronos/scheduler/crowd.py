"""A crowd that is decided in parts: whoever writes meanwhile waits in the log behind one part, not behind all of it.

The mark jumps over the instant first, as after an outage, and the jobs are decided behind it in the order of their
ids: the state says how far that has come, so that anybody can go on with it. It takes more entries than to decide all
in one, so that it is done only while somebody outside writes.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right

from chronos.scheduler.agenda import Agenda
from chronos.scheduler.planner import Verdict, add_owed
from chronos.store.tables import Shard

PARTS_MAX = 16
"""Each is a commit, and the lead has to last for all of them."""
SLICE = 50
"""Jobs looked at before others have their turn: a millisecond."""


class Crowd:
    """The jobs that are due in a span, and have yet to be decided; none as a rule.

    Args:
        part_jobs: How many are decided together, at least.
    """

    def __init__(self, agenda: Agenda, part_jobs: int) -> None:
        self._agenda = agenda
        self._part_jobs = part_jobs
        self.forget()

    def forget(self) -> None:
        """Leave what is open to others."""
        self._ids: list[str] = []
        self._span = (0, 0)
        self._part = self._replanned = 0

    def is_worth_it(self, jobs: int) -> bool:
        """Whether so many are more than one part."""
        return jobs > self._part_jobs

    def gather(self, due: list[str], from_s: int, to_s: int) -> None:
        """Hold the jobs that owe something in (`from_s`, `to_s`]: all that do, by the calendars as they are now."""
        self._ids = sorted(due)
        self._span = from_s, to_s
        self._part = max(self._part_jobs, -(-len(due) // PARTS_MAX))
        self._replanned = self._agenda.replanned

    def is_open(self, shard: Shard) -> bool:
        """Whether the span that is open is this crowd's."""
        return bool(shard.catchup_to_s) and self._span == (shard.catchup_from_s, shard.catchup_to_s)

    @property
    def is_outdated(self) -> bool:
        """Whether others may owe something by now, under a calendar that has changed."""
        return self._replanned != self._agenda.replanned

    def left(self, shard: Shard) -> list[str]:
        """Return who is still to be decided."""
        return self._ids[bisect_right(self._ids, shard.cursor) :]

    async def next_part(self, cursor: str, now_us: int, claim_to_us: int) -> tuple[str, Verdict]:
        """Return up to which id the next part goes, empty when it is the last, and what its jobs owe."""
        first = bisect_right(self._ids, cursor)
        part = self._ids[first : first + self._part]
        cursor_to = part[-1] if first + len(part) < len(self._ids) else ""
        return cursor_to, await self._owed(part, now_us, claim_to_us)

    async def _owed(self, part: list[str], now_us: int, claim_to_us: int) -> Verdict:
        from_s, to_s = self._span
        total = Verdict()
        for number, job_id in enumerate(part, 1):
            if number % SLICE == 0:
                await asyncio.sleep(0)
            plan = self._agenda.book.get(job_id)
            if plan is None or plan.job.paused is not None:
                continue
            add_owed(total, plan, after_s=from_s, to_s=to_s, now_us=now_us, claim_to_us=claim_to_us)
        return total
