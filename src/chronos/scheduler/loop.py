"""The scheduler: decides what is due, starts it, settles what became of it.

One turn proposes one entry: what is owed, and who may send. It is decided `claim_lead` ahead of the due
time, so that no disk stands between the due time and the first byte; the executor holds each attempt
until its moment. The scheduler never acts inside an event: it notes, wakes, and acts on its own turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Self

import structlog

from chronos.dispatch.port import Delivery, Executor
from chronos.errors import ChronosError
from chronos.model.events import Event, EventType
from chronos.model.execution import Execution, Kind, execution_id
from chronos.model.job import Job
from chronos.scheduler.book import Book
from chronos.scheduler.calendars import Calendars
from chronos.scheduler.catchup import CatchupRunner
from chronos.scheduler.deliveries import KeepBody, definition, delivery_of
from chronos.scheduler.line import Line
from chronos.scheduler.plan import Plan
from chronos.scheduler.planner import Verdict, owed
from chronos.scheduler.ports import Commands, MakeExecutor, Probe, Readings
from chronos.scheduler.settings import SchedulerSettings
from chronos.scheduler.settler import Settler
from chronos.scheduler.turnstile import Turnstile
from chronos.scheduler.waiters import Waiters
from chronos.store.commands import BeginCatchup, Command, Decide, ExpireDead, Start, StartAttempt
from chronos.store.fold.starting import is_held
from chronos.store.port import Result
from chronos.store.tables import JOBS, OPEN, SHARDS, SLOTS, Shard, Slots
from chronos.telemetry import Telemetry
from chronos.timing.clock import Clock

log = structlog.get_logger(__name__)

IDLE_S = 1.0
SWEEP_S = 10.0
SWEEP_LATE_US = 5_000_000
HOUSEKEEPING_S = 60.0
WAITING_REARMED = 16
DUE_MAX = 5_000
"""Jobs decided in one entry: what is more is decided job by job, behind the mark."""
TOO_MUCH_S = 0.05
LAST_TURN_S = 5.0


class Scheduler:
    """Drives one node. `async with` starts it after the log has started, and stops it before."""

    def __init__(
        self,
        commands: Commands,
        readings: Readings,
        clock: Clock,
        make_executor: MakeExecutor,
        *,
        incarnation: str,
        settings: SchedulerSettings | None = None,
        telemetry: Telemetry | None = None,
        keep_body: KeepBody | None = None,
        probe: Probe | None = None,
    ) -> None:
        self.settings = settings or SchedulerSettings()
        self.telemetry = telemetry or Telemetry()
        self.calendars = Calendars(commands.view)
        self.book = Book()
        self.line = Line()
        self._commands = commands
        self._readings = readings
        self._clock = clock
        self.incarnation = incarnation
        self._settler = Settler(commands, clock, self.book, self.settings, keep_body, probe)
        self.executor: Executor = make_executor(self._settler.note)
        self._settler.executor = self.executor
        self.turnstile = Turnstile()
        self._catchup = CatchupRunner(commands, self)
        self._unplanned: dict[str, str] = {}
        self._proposed_hwm_s = 0
        self._wake = asyncio.Event()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._waiters = Waiters()
        commands.subscribe(self._on_events)

    # Life.

    async def __aenter__(self) -> Self:
        await self._catchup.begin()
        self._load()
        await self._recover()
        self._tasks = [
            asyncio.create_task(turn, name=name)
            for name, turn in (
                ("scheduler", self._run()),
                ("settler", self._settler.run()),
                ("catchup", self._catchup.run()),
                ("sweeper", self._sweep_for_ever()),
                ("housekeeper", self._keep_house()),
            )
        ]
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop(drain_s=0.0)

    async def stop(self, *, drain_s: float) -> None:
        """Start nothing new, let what runs finish for `drain_s` seconds, record the rest as unknown."""
        if not self._tasks:
            return
        self._stopping = True
        self._wake.set()
        for task in self._tasks:
            if task.get_name() not in ("scheduler", "settler"):
                task.cancel()
        # Its last turn may have been granted the right to send: the executor hands that back as not sent.
        await asyncio.wait([task for task in self._tasks if task.get_name() == "scheduler"], timeout=LAST_TURN_S)
        await self.executor.drain(drain_s)
        await self._settler.finish()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def failure(self) -> None:
        """Return never, unless one of the scheduler's turns ends; then raise what ended it."""
        waiting = set(self._tasks)
        while waiting:  # making up for an outage is a turn that comes to its end
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled() and not self._stopping:
                    task.result()

    # What others may ask.

    @property
    def planned_to_s(self) -> int:
        """The high-water mark as it will be once everything proposed so far is folded."""
        return max(self._proposed_hwm_s, self.shard.hwm_s)

    @property
    def shard(self) -> Shard:
        return self._commands.view.get(SHARDS, "0") or Shard()

    @property
    def now_us(self) -> int:
        return int(self._clock.time() * 1_000_000)

    def plan_of(self, job: Job) -> Plan:
        """Return the compiled plan of `job` as it is now; raises what is wrong with its calendar."""
        known = self.book.get(job.id)
        if known is not None and known.job.revision == job.revision:
            return known
        return Plan(job, self.calendars.find)

    async def recall(self, execution_ids: list[str]) -> list[str]:
        """Take back attempts that have not left; return the ids of those that had."""
        return await self._settler.recall(execution_ids)

    async def wait(self, execution_id: str, seconds: float) -> Execution | None:
        """Return the execution as it ended, or None when it has not ended after `seconds`."""
        if self._commands.view.get(OPEN, execution_id) is None:
            return None
        return await self._waiters.wait(execution_id, seconds)

    def status(self) -> dict[str, Any]:
        """Return how planning stands, for people and metrics."""
        shard = self.shard
        return {
            "high_water_mark": shard.hwm_s,
            "planned_jobs": len(self.book),
            "waiting": len(self.line),
            "in_flight": self.executor.in_flight(),
            "catching_up": bool(shard.catchup_to_s),
            "silent_until": shard.hwm_s if shard.hwm_s > self.now_us // 1_000_000 + 1 else None,
        }

    # The turn.

    async def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            began = self._clock.boottime()
            busy = await self._turn()
            self.telemetry.observe("scheduler_tick_duration_seconds", self._clock.boottime() - began)
            if not busy:
                await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self._rest_s()):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _rest_s(self) -> float:
        """How long until something may be due; never longer than a second, so that a stepped clock is seen."""
        lead_us = self.settings.claim_lead_us
        moments = [IDLE_S]
        instant = self.book.peek()
        if instant is not None:
            moments.append((instant * 1_000_000 - lead_us - self.now_us) / 1e6)
        at_us = self.line.peek()
        if at_us is not None:
            moments.append((at_us - self.now_us) / 1e6)
        # A hair more than needed: a timer that fires early would find nothing due and spin.
        return max(0.0005, min(moments) + 0.0002)

    async def _turn(self) -> bool:
        """Propose one entry if anything is due; return whether there was."""
        now_us = self.now_us
        shard = self.shard
        to_s = (now_us + self.settings.claim_lead_us) // 1_000_000
        due = self.book.due(to_s) if to_s > shard.hwm_s else []
        verdict = self._decide(due, shard, to_s, now_us)
        if len(due) > DUE_MAX or len(verdict.occurrences) + len(verdict.ranges) > 2 * DUE_MAX:
            await self._decide_behind_the_mark(due, shard, now_us)
            return True
        asked = self._ask(verdict, now_us)
        entry: list[Command] = []
        if due:
            entry.append(Decide(0, shard.hwm_s, to_s, shard.plan_version, verdict.occurrences, verdict.ranges))
            self._proposed_hwm_s = to_s
        if asked:
            entry.append(Start(asked))
        if not entry:
            return False
        try:
            results = await self._commands.submit(entry)
        except ChronosError as error:
            self._put_back(due, shard.hwm_s, asked)
            self.turnstile.release("planning")
            log.warning("planning waits", reason=str(error))
            await asyncio.sleep(IDLE_S)
            return True
        self._after_decide(due, results[0] if due else None, shard, to_s)
        if asked:
            self._after_start(asked, results[-1], now_us)
        return True

    async def _decide_behind_the_mark(self, due: list[str], shard: Shard, now_us: int) -> None:
        """More is due than one entry holds: let the catch-up decide it, once its time has come."""
        moved = False
        now_s = now_us // 1_000_000
        try:
            if now_s > shard.hwm_s and not shard.catchup_to_s:
                [result] = await self._commands.submit([BeginCatchup(0, shard.hwm_s, now_s)])
                moved = result.ok
        except ChronosError as error:
            log.warning("planning waits", reason=str(error))
            await asyncio.sleep(IDLE_S)
        for job_id in due:
            self.book.advance(job_id, now_s if moved else shard.hwm_s)
        if moved:
            self._catchup.go_on()
        else:
            await asyncio.sleep(TOO_MUCH_S)

    def _decide(self, due: list[str], shard: Shard, to_s: int, now_us: int) -> Verdict:
        total = Verdict()
        for job_id in due:
            plan = self.book.get(job_id)
            if plan is None or plan.job.paused is not None:
                continue
            one = owed(plan, after_s=shard.hwm_s, to_s=to_s, now_us=now_us)
            total.occurrences += one.occurrences
            total.ranges += one.ranges
        return total

    def _ask(self, verdict: Verdict, now_us: int) -> list[StartAttempt]:
        """Who asks for the right to send: those who wait, then those just decided whose job is idle."""
        lead_us = self.settings.claim_lead_us
        asked: list[StartAttempt] = []
        for key in self.line.due(now_us, self.settings.batch_max):
            execution = self._commands.view.get(OPEN, key)
            if execution is not None and execution.running_attempt is None:
                asked.append(self._attempt(execution, max(now_us, _ready_us(execution))))
        # Who does not fit into this entry stands in the line once it is decided, and asks on the next turn.
        for occurrence in verdict.occurrences[: max(0, self.settings.batch_max - len(asked))]:
            if occurrence.effective_us <= now_us + lead_us and self._is_idle(occurrence.job_id):
                key = _schedule_id(occurrence.job_id, occurrence.scheduled_s)
                at_us = max(now_us, occurrence.effective_us)
                asked.append(StartAttempt(key, 1, self.incarnation, at_us))
        if len(asked) > 1:
            asked.sort(key=self._rank)
        return asked

    def _rank(self, asked: StartAttempt) -> tuple[int, int]:
        execution = self._commands.view.get(OPEN, asked.execution_id)
        return (-(execution.priority if execution else 5), asked.not_before_us)

    def _is_idle(self, job_id: str) -> bool:
        slots = self._commands.view.get(SLOTS, job_id)
        return slots is None or not (slots.holding or slots.waiting)

    def _attempt(self, execution: Execution, not_before_us: int) -> StartAttempt:
        return StartAttempt(execution.id, len(execution.attempts) + 1, self.incarnation, not_before_us)

    def _after_decide(self, due: list[str], result: Result | None, before: Shard, to_s: int) -> None:
        if result is None:
            return
        if not result.ok:
            # The schedules or the mark changed while this was on its way: nothing was decided, so ask again.
            self._proposed_hwm_s = self.shard.hwm_s
            to_s = min(before.hwm_s, self.shard.hwm_s)
            self.turnstile.hold("planning")
        else:
            self.turnstile.release("planning")
        for job_id in due:
            self.book.advance(job_id, to_s)

    def _after_start(self, asked: list[StartAttempt], result: Result, asked_at_us: int) -> None:
        granted: list[Execution] = result.value or []
        deliveries: list[Delivery] = []
        for execution in granted:
            if self._is_unwanted(execution):
                self._settler.note_not_sent(execution)
                continue
            job = definition(self._commands.view, execution)
            assert job is not None, "what may start has a definition"
            deliveries.append(delivery_of(execution, job, self.settings))
        if deliveries:
            self.executor.submit(deliveries)
            self.telemetry.count("scheduled_runs_total", len(deliveries))
        got = {execution.id for execution in granted}
        for attempt in asked:
            if attempt.execution_id not in got:
                self._ask_again_when_due(attempt, asked_at_us)

    def _is_unwanted(self, execution: Execution) -> bool:
        """Whether it was paused, deleted or cancelled between the grant and this moment."""
        now = self._commands.view.get(OPEN, execution.id)
        job = self._commands.view.get(JOBS, execution.job_id)
        return now is None or now.cancel_requested or job is None or is_held(job, execution)

    def _ask_again_when_due(self, attempt: StartAttempt, asked_at_us: int) -> None:
        """Claimed ahead, an occupied slot meant "not yet": ask once more at the due time, when it is decided."""
        execution = self._commands.view.get(OPEN, attempt.execution_id)
        if execution is None or execution.running_attempt is not None:
            return
        if attempt.not_before_us > min(asked_at_us, self._commands.time_us):
            self.line.add(execution.id, attempt.not_before_us)

    def _put_back(self, due: list[str], hwm_s: int, asked: list[StartAttempt]) -> None:
        self._proposed_hwm_s = self.shard.hwm_s
        for job_id in due:
            self.book.advance(job_id, hwm_s)
        for attempt in asked:
            self.line.add(attempt.execution_id, attempt.not_before_us)

    # What happens elsewhere, noted.

    def _on_events(self, events: Sequence[Event]) -> None:
        for event in events:
            self._note(event)
        self._wake.set()

    def _note(self, event: Event) -> None:
        kind = event.type
        if kind in _JOB_EVENTS:
            self._note_job(event)
        elif event.execution is not None:
            self._note_execution(kind, event.execution)
        elif kind is EventType.DOCUMENT_CHANGED and self.calendars.is_calendar(event.key):
            self._replan_calendar(event.key)
        elif kind is EventType.CLOCK_RESET:
            self._proposed_hwm_s = 0
            self._load()
        elif kind is EventType.RANGE_SKIPPED and event.range is not None and event.range.reason in _MISSED:
            self.telemetry.count("missed_runs_total", event.range.count)

    def _note_job(self, event: Event) -> None:
        job = event.job
        assert job is not None
        if event.type is EventType.JOB_DELETED:
            self.book.remove(job.id)
            self._unplanned.pop(job.id, None)
            return
        self._index(job)
        if job.paused is None and event.type is not EventType.JOB_CREATED:
            slots = self._commands.view.get(SLOTS, job.id) or Slots()
            for key in [*slots.holding, *slots.waiting]:
                self._rearm(key)

    def _note_execution(self, kind: EventType, execution: Execution) -> None:
        if kind in (EventType.EXECUTION_DECIDED, EventType.EXECUTION_RETRYING):
            self.line.add(execution.id, _ready_us(execution) - self._lead_us(execution))
            if kind is EventType.EXECUTION_RETRYING:
                self._rearm_waiting(execution.job_id)
        elif kind is EventType.EXECUTION_STARTED:
            self.line.remove(execution.id)
        elif kind is EventType.EXECUTION_CANCELLING:
            self._settler.stop_soon(execution)
        elif kind is EventType.EXECUTION_FINISHED:
            self.line.remove(execution.id)
            self._waiters.tell(execution)
            self._rearm_waiting(execution.job_id)

    def _rearm_waiting(self, job_id: str) -> None:
        """A slot may have become free: let the first in line ask."""
        slots = self._commands.view.get(SLOTS, job_id)
        for key in slots.waiting[:WAITING_REARMED] if slots else ():
            self._rearm(key)

    def _lead_us(self, execution: Execution) -> int:
        """A run by hand is due now; everything that has a time of its own is claimed ahead of it."""
        return 0 if execution.kind is Kind.MANUAL and not execution.attempts else self.settings.claim_lead_us

    def _rearm(self, execution_id: str) -> None:
        execution = self._commands.view.get(OPEN, execution_id)
        if execution is not None and execution.running_attempt is None and execution_id not in self.line:
            self.line.add(execution_id, _ready_us(execution))

    def _index(self, job: Job) -> None:
        """Plan `job` from the folded mark on: a decision still on its way is refused if the schedules changed."""
        try:
            plan = Plan(job, self.calendars.find)
        except ChronosError as error:
            # Its calendar is gone or leaves nothing: the job stays, silent, and says so.
            log.error("job cannot be planned", job=job.name, namespace=job.namespace, reason=str(error))
            self.book.remove(job.id)
            self._unplanned[job.id] = self.calendars.key_of(job) or ""
            return
        self._unplanned.pop(job.id, None)
        if job.paused is not None:
            self.book.keep(plan)
        else:
            self.book.put(plan, self.shard.hwm_s)

    def _replan_calendar(self, key: str) -> None:
        self.calendars.forget(key)
        for plan in self.book.plans():
            if self.calendars.key_of(plan.job) == key:
                self._index(plan.job)
        for job_id in [job_id for job_id, needed in self._unplanned.items() if needed == key]:
            job = self.current(job_id)
            if job is not None:
                self._index(job)

    # Start, and the belt beside the braces.

    def _load(self) -> None:
        for job in self._readings.all_jobs():
            self._index(job)

    async def _recover(self) -> None:
        await self._settler.recover(list(self._readings.open_executions()), self.incarnation)
        for execution in self._readings.open_executions():
            self._rearm(execution.id)

    async def _sweep_for_ever(self) -> None:
        """Ask again for whoever waits and stands in no line. Nobody should; a lost wake-up must not be for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for execution in self._readings.open_executions():
                if _ready_us(execution) < self.now_us - SWEEP_LATE_US:
                    self._rearm(execution.id)
            self._wake.set()

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            before_us = self.now_us - self.settings.dead_letter_days * 86_400_000_000
            try:
                await self._commands.submit([ExpireDead(before_us)])
            except ChronosError as error:
                log.warning("dead letters expire later", reason=str(error))

    def current(self, job_id: str) -> Job | None:
        """Return the job as it is in the state."""
        return self._commands.view.get(JOBS, job_id)


_JOB_EVENTS = frozenset(
    {
        EventType.JOB_CREATED,
        EventType.JOB_UPDATED,
        EventType.JOB_DELETED,
        EventType.JOB_PAUSED,
        EventType.JOB_RESUMED,
    }
)
_MISSED = frozenset({"misfire", "expired"})


def _ready_us(execution: Execution) -> int:
    return max(execution.effective_us, execution.retry_at_us)


def _schedule_id(job_id: str, instant_s: int) -> str:
    return execution_id(job_id, Kind.SCHEDULE, str(instant_s), instant_s)
