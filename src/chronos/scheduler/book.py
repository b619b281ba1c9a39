"""The next-run index: which job is due next. Lives in memory, is rebuilt at start, never written."""

from __future__ import annotations

import heapq

from chronos.scheduler.plan import Plan


class Book:
    """Plans by job id, and a heap of their next instants.

    A changed plan leaves its old heap entry behind; an entry counts only if it is the job's newest.
    """

    def __init__(self) -> None:
        self._plans: dict[str, Plan] = {}
        self._next: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._plans)

    def put(self, plan: Plan, after_s: int) -> None:
        """Index `plan`; its first instant lies after `after_s` and after what the job last owed.

        Instants that a calendar leaves out count, too: they need a record in their time.
        """
        job_id = plan.job.id
        self._plans[job_id] = plan
        self._schedule(job_id, plan.next_planned_s(max(after_s, plan.since_us // 1_000_000)))

    def keep(self, plan: Plan) -> None:
        """Remember the plan of a job that owes nothing now (it is paused)."""
        self._plans[plan.job.id] = plan
        self._next.pop(plan.job.id, None)

    def remove(self, job_id: str) -> None:
        self._plans.pop(job_id, None)
        self._next.pop(job_id, None)

    def get(self, job_id: str) -> Plan | None:
        return self._plans.get(job_id)

    def plans(self) -> list[Plan]:
        return list(self._plans.values())

    def peek(self) -> int | None:
        """Return the earliest next instant, or None when nothing is due ever."""
        while self._heap:
            instant, job_id = self._heap[0]
            if self._next.get(job_id) == instant:
                return instant
            heapq.heappop(self._heap)
        return None

    def due(self, to_s: int) -> list[str]:
        """Take out and return the jobs with an instant up to `to_s`, earliest first; `advance` puts them back."""
        found: list[str] = []
        while (instant := self.peek()) is not None and instant <= to_s:
            _, job_id = heapq.heappop(self._heap)
            del self._next[job_id]
            found.append(job_id)
        return found

    def advance(self, job_id: str, after_s: int) -> None:
        """Put a job back, due next after `after_s`."""
        plan = self._plans.get(job_id)
        if plan is not None and plan.job.paused is None:
            self._schedule(job_id, plan.next_planned_s(max(after_s, plan.since_us // 1_000_000)))

    def upcoming(self, most: int) -> list[tuple[int, str]]:
        """Return about the `most` earliest (instant, job id), of those that run."""
        found = heapq.nsmallest(most, ((instant, job_id) for job_id, instant in self._next.items()))
        runs = [(self._plans[job_id].next_s(instant - 1), job_id) for instant, job_id in found]
        return sorted((instant, job_id) for instant, job_id in runs if instant is not None)

    def _schedule(self, job_id: str, instant: int | None) -> None:
        if instant is None:
            self._next.pop(job_id, None)
            return
        if self._next.get(job_id) != instant:
            self._next[job_id] = instant
            heapq.heappush(self._heap, (instant, job_id))
        if len(self._heap) > 2 * len(self._next) + 1_000:
            self._heap = [(at, key) for key, at in self._next.items()]
            heapq.heapify(self._heap)
