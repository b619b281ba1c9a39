"""The fold against a simple model: random commands, and what must hold after each of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.store.fold.harness import BEGIN_S, NODE, Dict, Machine, S, a_machine, a_range, owed

from chronos.model.execution import Execution, Kind, RangeRecord, Status
from chronos.model.job import Concurrency, Job
from chronos.store.commands import Cancel, DeleteJob, NewLeader, Next, Owed, Redrive
from chronos.store.machine import apply
from chronos.store.tables import DEAD, JOBS, META, NAMES, OPEN, SLOTS

NAMES_USED = ("a", "b", "c")
POLICIES = ("allow", "forbid", "queue", "replace")
OUTCOMES = (Next.SUCCEED, Next.RETRY, Next.FAIL, Next.AGAIN, Next.CANCEL)


class Fold(RuleBasedStateMachine):
    """Jobs that are due every second; the model is the list of instants that each has come to owe."""

    def __init__(self) -> None:
        super().__init__()
        self.machine: Machine = a_machine()
        self.planned: dict[str, Counter[int]] = {}
        self.numbers = 0
        self.seen: dict[tuple[str, int], Execution] = {}
        self.tokens: list[tuple[int, ...]] = []
        self.highest = (0, 0)

    @initialize()
    def begin(self) -> None:
        self.create("a", "forbid", 1, True)

    # What people do.

    @rule(
        name=st.sampled_from(NAMES_USED), policy=st.sampled_from(POLICIES), limit=st.integers(1, 3), holds=st.booleans()
    )
    def create(self, name: str, policy: str, limit: int, holds: bool) -> None:
        self.numbers += 1
        result = self.machine.put(
            name,
            job_id=f"J{self.numbers:03d}",
            expect=0,
            concurrency=policy,
            max_concurrent=limit,
            queue_limit=limit,
            retry_policy={"retry_holds_slot": holds},
        )
        if result.ok:
            self.planned[result.value.id] = Counter()

    @rule(data=st.data(), policy=st.sampled_from(POLICIES), same=st.booleans(), keep=st.booleans())
    def edit(self, data: st.DataObject, policy: str, same: bool, keep: bool) -> None:
        job = self.a_job(data)
        if job is None:
            return
        ahead = self.ahead(job) if keep else []
        assert self.machine.put(
            job.name, job_id=job.id, concurrency=policy, owed=ahead, same=same, description=f"at {job.revision}"
        ).ok
        if not same and job.paused is None:
            self.came_to_owe(ahead)

    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        job = self.a_job(data)
        if job is not None:
            self.machine.pause(job)

    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        job = self.a_job(data)
        if job is None or job.paused is None:
            return
        ahead = self.ahead(job)
        self.machine.resume(job, ahead)
        self.came_to_owe(ahead)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        job = self.a_job(data)
        if job is not None:
            assert self.machine.do(DeleteJob(job.id, "ann")).ok

    @rule(data=st.data(), force=st.booleans())
    def trigger(self, data: st.DataObject, force: bool) -> None:
        job = self.a_job(data)
        if job is not None:
            self.numbers += 1
            self.machine.trigger(job, f"t{self.numbers}", force=force)

    @rule(data=st.data(), count=st.integers(1, 3))
    def backfill(self, data: st.DataObject, count: int) -> None:
        job = self.a_job(data)
        if job is not None:
            self.numbers += 1
            self.machine.backfill(job, *range(-count, 0), name=f"b{self.numbers}")

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        execution = self.one_open(data)
        if execution is not None:
            assert self.machine.do(Cancel(execution.id, "ann")).ok

    @rule(data=st.data())
    def redrive(self, data: st.DataObject) -> None:
        dead = sorted(key for table, key in self.machine.view.rows if table == DEAD.name)
        if dead:
            self.machine.do(Redrive([data.draw(st.sampled_from(dead))], "ann"))

    # What the scheduler does.

    @rule(micros=st.integers(1, 700_000))
    def pass_time(self, micros: int) -> None:
        # Planning keeps ahead of time, as the scheduler sees to.
        self.machine.now_us = min(self.machine.now_us + micros, (self.machine.shard.hwm_s + 1) * S - 1)

    @rule(seconds=st.integers(1, 3), skip=st.booleans(), claim=st.booleans())
    def decide(self, seconds: int, skip: bool, claim: bool = False) -> None:
        begin = self.machine.shard.hwm_s - BEGIN_S
        instants: list[Owed] = []
        ranges: list[RangeRecord] = []
        for job in self.jobs():
            if job.paused is not None:
                continue
            span = [s for s in range(begin + 1, begin + seconds + 1) if (BEGIN_S + s) * S > job.owed_since_us]
            if skip and span:
                ranges.append(a_range(job, span[0], span[-1]))
            else:
                instants += [owed(job, second, claim=claim) for second in span]
            self.planned[job.id].update(span)
        assert self.machine.decide(begin + seconds, *instants, ranges=ranges).ok

    @rule(data=st.data(), n=st.sampled_from([None, None, None, 1, 2]), ahead=st.booleans())
    def start(self, data: st.DataObject, n: int | None, ahead: bool) -> None:
        execution = self.one_open(data)
        if execution is None:
            return
        ready_s = max(execution.effective_us, execution.retry_at_us) / S - BEGIN_S
        before = max(ready_s, self.machine.now_us / S - BEGIN_S)
        if ahead or before <= self.machine.now_us / S - BEGIN_S:
            self.machine.start(execution.id, not_before=before, n=n)

    @rule()
    def turn(self) -> None:
        """What the scheduler does all day: decide the next second, and start all that is due."""
        self.decide(1, skip=False)
        self.machine.now_us = self.machine.shard.hwm_s * S
        ready = [e.id for e in self.open() if e.running_attempt is None and e.retry_at_us <= self.machine.now_us]
        self.machine.start(*ready)

    @rule(data=st.data(), what=st.sampled_from(OUTCOMES), unknown=st.booleans())
    def settle(self, data: st.DataObject, what: Next, unknown: bool) -> None:
        running = [execution for execution in self.open() if execution.running_attempt is not None]
        if running:
            key = data.draw(st.sampled_from(running)).id
            self.machine.settle(key, what, unknown=unknown and what is Next.RETRY, reason="why")

    @rule(data=st.data(), what=st.sampled_from((Next.SUCCEED, Next.FAIL)))
    @precondition(lambda self: bool(self.seen))
    def settle_late(self, data: st.DataObject, what: Next) -> None:
        ended = self.seen[data.draw(st.sampled_from(sorted(self.seen)))]
        if ended.attempts:
            self.machine.settle_attempt(ended.id, ended.attempts[0], what)

    @rule()
    def lead(self) -> None:
        self.machine.do(NewLeader("n1", NODE))

    # What must hold.

    @invariant()
    def every_planned_instant_has_one_record(self) -> None:
        found: dict[str, Counter[int]] = {job_id: Counter() for job_id in self.planned}
        for execution in [*self.open(), *self.machine.ended.values()]:
            if execution.kind is Kind.SCHEDULE and execution.series == 0:
                found[execution.job_id][execution.scheduled_s - BEGIN_S] += 1
        for record in self.machine.ranges.values():
            found[record.job_id].update(range(record.first_s - BEGIN_S, record.last_s - BEGIN_S + 1))
            assert record.count == record.last_s - record.first_s + 1
        for job_id, instants in self.planned.items():
            assert found[job_id] == Counter(set(instants)), job_id

    @invariant()
    def what_has_ended_does_not_change(self) -> None:
        for row, execution in self.seen.items():
            assert self.machine.ended[row] == execution
        self.seen = dict(self.machine.ended)

    @invariant()
    def marks_and_terms_never_decrease(self) -> None:
        now = (self.machine.shard.hwm_s, self.machine.meta.term)
        assert now[0] >= self.highest[0]
        assert now[1] >= self.highest[1]
        self.highest = now

    @invariant()
    def slots_and_open_executions_agree(self) -> None:
        held: Counter[str] = Counter()
        for (table, job_id), slots in self.machine.view.rows.items():
            if table != SLOTS.name:
                continue
            held.update([*slots.holding, *slots.waiting])
            for key in [*slots.holding, *slots.waiting]:
                assert self.machine.open(key).job_id == job_id
            for key in slots.waiting:
                assert self.machine.open(key).running_attempt is None
        assert held == Counter(execution.id for execution in self.open())
        for execution in self.open():
            assert not execution.is_terminal

    @invariant()
    def a_slot_has_one_holder(self) -> None:
        for job in self.jobs():
            if job.spec.concurrency is Concurrency.ALLOW or job.revision > 1:
                continue  # an edit may tighten the policy over runs that go on
            holding = [self.machine.open(key) for key in self.machine.slots(job).holding]
            assert sum(not execution.force for execution in holding) <= 1

    @invariant()
    def attempts_are_numbered_without_gaps(self) -> None:
        for execution in [*self.open(), *self.machine.ended.values()]:
            assert [attempt.n for attempt in execution.attempts] == list(range(1, len(execution.attempts) + 1))
            assert all(attempt.series == execution.series for attempt in execution.attempts)
            settled = [attempt for attempt in execution.attempts if attempt is not execution.running_attempt]
            assert execution.tries + execution.unknowns == len(settled)

    @invariant()
    def a_redrive_begins_a_series_and_attempts_of_each_are_numbered_from_one(self) -> None:
        rows: dict[str, dict[int, Execution]] = {}
        for execution in [*self.machine.ended.values(), *self.open()]:
            series = rows.setdefault(execution.id, {})
            assert execution.series not in series, "two records of one series"
            series[execution.series] = execution
        for series in rows.values():
            assert sorted(series) == list(range(len(series)))
            numbers = [(attempt.series, attempt.n) for n in sorted(series) for attempt in series[n].attempts]
            assert len(set(numbers)) == len(numbers)
            for number, execution in series.items():
                assert [attempt.n for attempt in execution.attempts] == list(range(1, len(execution.attempts) + 1))
                # Only what has failed for good is started anew.
                assert number == max(series) or execution.status is Status.FAILED

    @invariant()
    def what_was_decided_is_as_many_instants_as_there_are_records_of(self) -> None:
        executions = Counter(
            execution.job_id
            for execution in [*self.open(), *self.machine.ended.values()]
            if execution.kind is Kind.SCHEDULE and execution.series == 0
        )
        skipped: Counter[str] = Counter()
        for record in self.machine.ranges.values():
            skipped[record.job_id] += record.count
        for job_id, instants in self.planned.items():
            assert executions[job_id] + skipped[job_id] == len(instants), job_id
            assert all(BEGIN_S + instant <= self.machine.shard.hwm_s for instant in instants), "decided beyond the mark"

    @invariant()
    def what_waits_and_what_holds_a_slot_is_what_is_open_and_nothing_else(self) -> None:
        waiting: set[str] = set()
        holding: set[str] = set()
        for (table, _), slots in self.machine.view.rows.items():
            if table == SLOTS.name:
                waiting.update(slots.waiting)
                holding.update(slots.holding)
        opened = {execution.id: execution for execution in self.open()}
        assert not waiting & holding
        assert waiting | holding == opened.keys()
        for key, execution in opened.items():
            assert not execution.is_terminal
            # Who has the right to send holds a slot; who was never started holds none.
            assert execution.running_attempt is None or key in holding
            assert execution.attempts or key in waiting
        for execution in self.machine.ended.values():
            again = opened.get(execution.id)
            assert again is None or again.series > execution.series, "what has ended is open"

    @invariant()
    def figures_add_up(self) -> None:
        meta, jobs = self.machine.meta, self.jobs()
        rows: Counter[str] = Counter(table for table, _ in self.machine.view.rows)
        assert meta.jobs == len(jobs) == rows[NAMES.name]
        assert meta.jobs_enabled == sum(job.paused is None for job in jobs)
        assert meta.dead == rows[DEAD.name]
        assert rows[META.name] == 1

    def teardown(self) -> None:
        """Replaying the same commands yields the same state."""
        again = Dict()
        for at, command in self.machine.log:
            for key, value in apply(again, command, at).puts.items():
                if value is None:
                    again.rows.pop(key, None)
                else:
                    again.rows[key] = value
        assert again.rows == self.machine.view.rows

    # The model's own view.

    def jobs(self) -> list[Job]:
        return self._rows(JOBS.name)

    def open(self) -> list[Execution]:
        return self._rows(OPEN.name)

    def _rows(self, table: str) -> list[Any]:
        return [value for (name, _), value in sorted(self.machine.view.rows.items()) if name == table]

    def a_job(self, data: st.DataObject) -> Job | None:
        jobs = self.jobs()
        return data.draw(st.sampled_from(jobs)) if jobs else None

    def one_open(self, data: st.DataObject) -> Execution | None:
        found = self.open()
        return data.draw(st.sampled_from(found)) if found else None

    def ahead(self, job: Job) -> list[Owed]:
        first = self.machine.now_us // S - BEGIN_S + 1
        return [owed(job, second) for second in range(first, self.machine.shard.hwm_s - BEGIN_S + 1)]

    def came_to_owe(self, ahead: list[Owed]) -> None:
        for one in ahead:
            second = one.scheduled_s - BEGIN_S
            # Only the newest can be new: what lies before a recorded instant was decided with it, or before the job.
            if second > max(self.planned[one.job_id], default=0):
                self.planned[one.job_id][second] += 1


Fold.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestFold = Fold.TestCase
