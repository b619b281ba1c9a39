"""The next-run index: which job is due next. Lives in memory, is rebuilt at start, never written.

A million jobs fit: of each there is an id, a number (its slot), its next instant, and one whole number in a heap. Plans
are made of the definitions in the state when somebody asks for them, and only the last asked for are kept.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable

from chronos.scheduler.plan import Plan

PLANS_KEPT = 16_384
"""Twice as many plans at most stay in memory; one is some kilobytes with its job."""

SLOT_BITS = 26
"""Jobs are counted to 67 million; an instant and a slot fit into one number of two digits."""

_SLOT = (1 << SLOT_BITS) - 1
_NEVER = -1


class Book:
    """The next instant of each job, and a heap of them.

    A job whose next instant changes leaves its old heap entry behind; an entry counts only if it is the job's newest.

    Args:
        plan_of: Makes the plan of the job with this id as it is in the state; None when it cannot be planned.
    """

    def __init__(self, plan_of: Callable[[str], Plan | None], plans_kept: int = PLANS_KEPT) -> None:
        self._plan_of = plan_of
        self._plans_kept = plans_kept
        self._plans: dict[str, Plan] = {}
        self._older_plans: dict[str, Plan] = {}
        self._begin()

    def _begin(self) -> None:
        self._slots: dict[str, int] = {}
        self._ids: list[str] = []
        self._next = array("q")
        self._free: list[int] = []
        self._heap: list[int] = []
        self._owing = 0

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._slots

    def load(self, rows: Iterable[tuple[str, int | None]]) -> None:
        """Hold these jobs and no others: (id, next instant, or None for one that owes nothing now)."""
        self._plans, self._older_plans = {}, {}
        self._begin()
        slots, ids, instants, heap = self._slots, self._ids, self._next, self._heap
        for slot, (job_id, instant) in enumerate(rows):
            slots[job_id] = slot
            ids.append(job_id)
            if instant is None:
                instants.append(_NEVER)
            else:
                instants.append(instant)
                heap.append(instant << SLOT_BITS | slot)
        self._owing = len(heap)
        heapq.heapify(heap)

    def put(self, plan: Plan, after_s: int) -> None:
        """Index `plan`; its first instant lies after `after_s` and after what the job last owed.

        Instants that a calendar leaves out count, too: they need a record in their time.
        """
        slot = self._hold(plan)
        self._schedule(slot, plan.next_planned_s(max(after_s, plan.since_us // 1_000_000)))

    def keep(self, plan: Plan) -> None:
        """Remember a job that owes nothing now (it is paused)."""
        self._schedule(self._hold(plan), None)

    def remove(self, job_id: str) -> None:
        self._plans.pop(job_id, None)
        self._older_plans.pop(job_id, None)
        slot = self._slots.pop(job_id, None)
        if slot is not None:
            self._schedule(slot, None)
            self._ids[slot] = ""
            self._free.append(slot)

    def get(self, job_id: str) -> Plan | None:
        """Return the plan of a job as it is now; None for one that is not held."""
        plan = self.known(job_id)
        if plan is None and job_id in self._slots:
            plan = self._plan_of(job_id)
            if plan is not None:
                self._remember(plan)
        return plan

    def known(self, job_id: str) -> Plan | None:
        """Return the plan of a job if it lies ready."""
        plan = self._plans.get(job_id)
        if plan is None and (plan := self._older_plans.get(job_id)) is not None:
            self._remember(plan)
        return plan

    def peek(self) -> int | None:
        """Return the earliest next instant, or None when nothing is due ever."""
        heap = self._heap
        while heap:
            instant = heap[0] >> SLOT_BITS
            if self._next[heap[0] & _SLOT] == instant:
                return instant
            heapq.heappop(heap)
        return None

    def due(self, to_s: int) -> list[str]:
        """Take out and return the jobs with an instant up to `to_s`, earliest first; `advance` puts them back."""
        found: dict[int, list[str]] = {}
        heap, end = self._heap, (to_s + 1) << SLOT_BITS
        instants, ids = self._next, self._ids
        while heap and heap[0] < end:
            entry = heapq.heappop(heap)
            slot, instant = entry & _SLOT, entry >> SLOT_BITS
            if instants[slot] == instant:
                instants[slot] = _NEVER
                found.setdefault(instant, []).append(ids[slot])
        self._owing -= sum(map(len, found.values()))
        return [job_id for together in found.values() for job_id in sorted(together)]

    def crowd(self, to_s: int, most: int) -> int:
        """Return how many are due up to `to_s`, about, and no more than `most`. Costs as many steps as it counts."""
        heap, end = self._heap, (to_s + 1) << SLOT_BITS
        size = len(heap)
        level, count = [0] if heap and heap[0] < end else [], 0
        while level and count < most:
            count += len(level)
            below = [child for place in level[: most - count] for child in (2 * place + 1, 2 * place + 2)]
            level = [place for place in below if place < size and heap[place] < end]
        return min(count, most)

    def within(self, to_s: int, most: int) -> tuple[list[tuple[int, str]], int]:
        """Return the (instant, job id) of jobs due up to `to_s`, in no order, and for how many each stands.

        Each stands for one alone, unless there are more than `most`: then every n-th of all jobs is looked at.
        """
        heap, end = self._heap, (to_s + 1) << SLOT_BITS
        places, found = [0], set[int]()
        while places and len(found) <= most:
            place = places.pop()
            if place < len(heap) and heap[place] < end:
                found.add(heap[place])
                places += (2 * place + 1, 2 * place + 2)
        if not places:
            return self._living(found), 1
        each = len(heap) // most + 1
        return self._living({entry for entry in heap[::each] if entry < end}), each

    def _living(self, entries: Iterable[int]) -> list[tuple[int, str]]:
        """Return the heap's entries that count: each is its job's newest."""
        return [
            (entry >> SLOT_BITS, self._ids[entry & _SLOT])
            for entry in entries
            if self._next[entry & _SLOT] == entry >> SLOT_BITS
        ]

    def advance(self, job_id: str, after_s: int) -> None:
        """Put a job back, due next after `after_s`."""
        plan = self.get(job_id)
        if plan is not None and plan.job.paused is None:
            instant = plan.next_planned_s(max(after_s, plan.since_us // 1_000_000))
            self._schedule(self._slots[job_id], instant)

    def upcoming(self, most: int) -> list[tuple[int, str]]:
        """Return about the `most` earliest (instant, job id), of those that run."""
        runs = [(self._runs_at(job_id, instant), job_id) for instant, job_id in self._earliest(most)]
        return sorted((instant, job_id) for instant, job_id in runs if instant is not None)

    def _runs_at(self, job_id: str, instant: int) -> int | None:
        plan = self.get(job_id)
        return plan.next_s(instant - 1) if plan is not None else None

    def _earliest(self, most: int) -> list[tuple[int, str]]:
        """Walk down the heap from its top; what is left behind in it counts for the bound."""
        heap = self._heap
        frontier = [(heap[0], 0)] if heap else []
        found: dict[int, int] = {}
        for _ in range(max(0, len(heap) - self._owing) + most):
            if not frontier or len(found) == most:
                break
            entry, place = heapq.heappop(frontier)
            slot, instant = entry & _SLOT, entry >> SLOT_BITS
            if self._next[slot] == instant:
                found[slot] = instant
            for child in (2 * place + 1, 2 * place + 2):
                if child < len(heap):
                    heapq.heappush(frontier, (heap[child], child))
        return [(instant, self._ids[slot]) for slot, instant in found.items()]

    def _hold(self, plan: Plan) -> int:
        """Give a job its slot, and remember its plan instead of the one before."""
        job_id = plan.job.id
        self._older_plans.pop(job_id, None)
        self._remember(plan)
        slot = self._slots.get(job_id)
        if slot is not None:
            return slot
        if self._free:
            slot = self._free.pop()
            self._ids[slot] = job_id
        else:
            slot = len(self._ids)
            self._ids.append(job_id)
            self._next.append(_NEVER)
        self._slots[job_id] = slot
        return slot

    def _remember(self, plan: Plan) -> None:
        if len(self._plans) >= self._plans_kept:
            self._plans, self._older_plans = {}, self._plans
        self._plans[plan.job.id] = plan

    def _schedule(self, slot: int, instant: int | None) -> None:
        before, after = self._next[slot], _NEVER if instant is None else instant
        if before == after:
            return
        self._next[slot] = after
        self._owing += (after != _NEVER) - (before != _NEVER)
        if after != _NEVER:
            heapq.heappush(self._heap, after << SLOT_BITS | slot)
        if len(self._heap) > 2 * self._owing + 1_000:
            self._heap = [at << SLOT_BITS | place for place, at in enumerate(self._next) if at != _NEVER]
            heapq.heapify(self._heap)
