"""The scheduler: decides what is due, starts it, settles what became of it.

One turn proposes one entry: what is owed, and who may send. It is decided `claim_lead` ahead of the due
time, so that no disk stands between the due time and the first byte; the executor holds each attempt
until its moment. The scheduler never acts inside an event: it notes, wakes, and acts on its own turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Self

import structlog

from chronos.dispatch.port import Executor
from chronos.errors import StorageFull
from chronos.model.events import JOB_EVENTS, Event, EventType
from chronos.model.execution import Execution
from chronos.model.job import Job
from chronos.scheduler.agenda import Agenda
from chronos.scheduler.catchup import CatchupRunner
from chronos.scheduler.company import Company
from chronos.scheduler.deliveries import KeepBody, definition, held_beyond_s, host_called, may_overlap
from chronos.scheduler.elsewhere import Host
from chronos.scheduler.housekeeping import Housekeeper
from chronos.scheduler.lead import Lead
from chronos.scheduler.line import Line
from chronos.scheduler.longruns import LongRuns, TellCancelled
from chronos.scheduler.plan import Plan
from chronos.scheduler.ports import Commands, MakeExecutor, Probe, Readings
from chronos.scheduler.reports import FindRedactor, Reports
from chronos.scheduler.settings import SchedulerSettings
from chronos.scheduler.settler import Settler
from chronos.scheduler.sharing import Sharing
from chronos.scheduler.turn import Turn
from chronos.scheduler.waiters import Waiters
from chronos.scheduler.wakeups import Wakeups, ready_us
from chronos.store.tables import JOBS, OPEN, Shard
from chronos.telemetry import Telemetry
from chronos.timing.clock import Clock

log = structlog.get_logger(__name__)

IDLE_S = 1.0
SWEEP_S = 10.0
SWEEP_LATE_US = 5_000_000
SWEPT_AT_ONCE = 1_000
"""Executions looked at before others have their turn: a millisecond."""
LAST_TURN_S = 5.0
BEHIND_US = 20_000
"""What is due for longer and has not been claimed waits; claimed is it ahead of its time, as a rule."""
STUCK_S = 10.0
"""A turn that takes longer, or an instant that is undecided for longer, is no scheduling any more."""
BEGIN_AGAIN_S = (1.0, 30.0)
"""The first and the longest wait before beginning is tried again, when the log refuses."""


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
        tell_cancelled: TellCancelled | None = None,
        redactor: FindRedactor | None = None,
        company: Company | None = None,
    ) -> None:
        self.settings = settings or SchedulerSettings()
        self.telemetry = telemetry or Telemetry()
        self.agenda = Agenda(commands, readings, clock)
        self.calendars, self.book = self.agenda.calendars, self.agenda.book
        self.turnstile = self.agenda.turnstile
        self.line = Line()
        self._commands = commands
        self._readings = readings
        self._clock = clock
        self.incarnation = incarnation
        self._company = company
        self._settler = self._make_settler(keep_body, probe)
        self.executor: Executor = make_executor(self._settler.note)
        self._settler.executor = self.executor
        self._attend_long_runs(clock, tell_cancelled, redactor)
        self._catchup = CatchupRunner(commands, self.agenda)
        self._housekeeper = Housekeeper(commands, readings, self.settings, lambda: self.now_us)
        self._lead = Lead(self.book, self.settings.claim_lead_us)
        self._turn = Turn(
            commands,
            self.agenda,
            self._lead,
            self.line,
            self._settler,
            self._catchup.go_on,
            incarnation=incarnation,
            settings=self.settings,
            telemetry=self.telemetry,
            company=company,
        )
        self._sharing = self._share(company) if company is not None else None
        self._begin_life()
        self._wakeups = Wakeups(commands, self.line, self._waiters, self._settler.stop_soon, self._lead)
        commands.subscribe(self._on_events)

    def _share(self, company: Company) -> Sharing:
        view, settings = self._commands.view, self.settings
        beyond_s, overlap = partial(held_beyond_s, view, settings), partial(may_overlap, view, settings)

        def host_of(execution: Execution) -> Host | None:
            return host_called(definition(view, execution))

        return Sharing(company, self._readings, self._settler, self._turn.hand_over, beyond_s, overlap, host_of)

    def _begin_life(self) -> None:
        self._wake = asyncio.Event()
        self._begun = asyncio.Event()
        self._waits_for = ""
        self._turned_at = self._clock.boottime()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._planning: list[asyncio.Task[None]] = []
        self._ended: asyncio.Queue[asyncio.Task[None] | None] = asyncio.Queue()
        self._waiters = Waiters()

    def _make_settler(self, keep_body: KeepBody | None, probe: Probe | None) -> Settler:
        return Settler(
            self._commands,
            self._clock,
            self.agenda.find_plan,
            self.settings,
            keep_body,
            probe,
            self.telemetry,
            self._company,
        )

    def _attend_long_runs(
        self, clock: Clock, tell_cancelled: TellCancelled | None, redactor: FindRedactor | None
    ) -> None:
        self.long_runs = LongRuns(
            self._commands, clock, self.settings, settle=self._settler.note, tell_cancelled=tell_cancelled
        )
        self.reports = Reports(
            self._commands,
            clock,
            self.settings,
            settle=self._settler.settle_now,
            find=self._readings.execution,
            note_alive=self.long_runs.note_alive,
            redactor=redactor,
        )

    # Life.

    async def __aenter__(self) -> Self:
        """Begin: alone at once to plan, in company to do what this node is given, until it is told to `lead`."""
        if self._company is None:
            await self.lead()
        self._tasks = self._start({"settler": self._settler.run(), "reports": self.reports.run()})
        if self._sharing is not None:
            self._tasks += self._start(self._sharing.turns() | {"warmer": self._keep_warm()})
        return self

    async def lead(self) -> None:
        """Begin to plan; when the log has no room for that, as soon as it has. Reads are served meanwhile.

        Raises:
            Unavailable: The lead was lost meanwhile, or nobody can say.
        """
        await self._try_to_begin()
        turns = {
            "scheduler": self._run(),
            "catchup": self._make_up(),
            "sweeper": self._sweep_for_ever(),
            "housekeeper": self._housekeeper.run(),
            "long runs": self.long_runs.run(),
        }
        if self._sharing is not None:
            turns["lost"] = self._sharing.settle_what_is_lost()
        if not self._begun.is_set():
            turns["beginner"] = self._begin_later()
        self._planning = self._start(turns)

    async def follow(self) -> None:
        """Plan no more. What runs here goes on, and what it comes to is settled by whoever leads."""
        self._begun.clear()
        tasks, self._planning = self._planning, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.agenda.proposed_hwm_s = 0

    def _start(self, turns: Mapping[str, Coroutine[Any, Any, None]]) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(turn, name=name) for name, turn in turns.items()]
        for task in tasks:
            task.add_done_callback(self._ended.put_nowait)
        return tasks

    async def _try_to_begin(self) -> bool:
        """Move the mark to now and settle what an earlier life left; return whether the log took it."""
        self._turn.begin()
        try:
            await self._catchup.begin()
            shard, owing = self.shard, self.agenda.load()
            if shard.catchup_to_s:
                self._catchup.go_on(shard.catchup_from_s, shard.catchup_to_s, owing)
            if self._company is None:
                await self._settler.recover(list(self._readings.open_executions()), self.incarnation)
        except StorageFull as error:
            if not self._waits_for:
                self.agenda.load()
            self._waits_for = str(error)
            return False
        for execution in self._readings.open_executions():
            self._wakeups.rearm(execution.id)
        self.long_runs.begin(self._readings.open_executions())
        self._waits_for = ""
        self._begun.set()
        self._wake.set()
        return True

    async def _begin_later(self) -> None:
        wait_s, longest_s = BEGIN_AGAIN_S
        log.error("nothing is planned until there is room", reason=self._waits_for)
        await asyncio.sleep(wait_s)
        while not await self._try_to_begin():
            wait_s = min(2 * wait_s, longest_s)
            await asyncio.sleep(wait_s)
        log.info("planning begins")

    async def __aexit__(self, *exc: object) -> None:
        await self.stop(drain_s=0.0)

    async def stop(self, *, drain_s: float) -> None:
        """Start nothing new, let what runs finish for `drain_s` seconds, record the rest as unknown."""
        if not self._tasks:
            return
        if self._company is not None and drain_s:
            await self._company.leave()
        self._stopping = True
        self._begun.set()
        self._wake.set()
        tasks, self._tasks, self._planning = [*self._planning, *self._tasks], [], []
        for task in tasks:
            if task.get_name() not in _UNTIL_DRAINED:
                task.cancel()
        # Its last turn may have been granted the right to send: the executor hands that back as not sent.
        if planning := [task for task in tasks if task.get_name() == "scheduler"]:
            await asyncio.wait(planning, timeout=LAST_TURN_S)
        await self.executor.drain(drain_s)
        await self._settler.finish()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._ended.put_nowait(None)

    async def failure(self) -> None:
        """Return never, unless one of the scheduler's turns ends; then raise what ended it."""
        while (task := await self._ended.get()) is not None:  # beginning late is a turn that comes to its end
            if not task.cancelled() and not self._stopping:
                task.result()

    # What others may ask.

    @property
    def planned_to_s(self) -> int:
        """The high-water mark as it will be once everything proposed so far is folded."""
        return self.agenda.planned_to_s

    @property
    def shard(self) -> Shard:
        return self.agenda.shard

    @property
    def now_us(self) -> int:
        return self.agenda.now_us

    @property
    def is_behind(self) -> bool:
        """Whether something that is due waits to be decided, is being decided, or waits for the right to be sent."""
        if self.agenda.proposed_hwm_s > self.shard.hwm_s or self.shard.is_in_parts(self.now_us):
            return True  # whoever changes a schedule now makes that decision void
        late_us = self.now_us - BEHIND_US
        instant, at_us = self.book.peek(), self.line.peek()
        return (instant is not None and instant * 1_000_000 < late_us) or (at_us is not None and at_us < late_us)

    def plan_of(self, job: Job) -> Plan:
        """Return the compiled plan of `job` as it is now; raises what is wrong with its calendar."""
        return self.agenda.plan_of(job)

    def current(self, job_id: str) -> Job | None:
        """Return the job as it is in the state."""
        return self._commands.view.get(JOBS, job_id)

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
            "catching_up": shard.is_catching_up(self.now_us),
            "silent_until": shard.hwm_s if shard.hwm_s > self.now_us // 1_000_000 + 1 else None,
            "waits_for": self._waits_for or None,
        }

    def standstill(self) -> str:
        """Return why planning does not go on, as a sentence; empty while turns end and what is due is decided."""
        if self._stopping:
            return "The server is shutting down."
        if not self._begun.is_set():
            return self._waits_for or "The server is still starting."
        idle_s = self._clock.boottime() - self._turned_at
        if idle_s > STUCK_S:
            return f"No turn of planning has ended for {idle_s:.0f} s."
        instant = self.book.peek()
        behind_s = self.now_us / 1e6 - instant if instant is not None else 0.0
        return f"Planning is {behind_s:.0f} s behind." if behind_s > STUCK_S else ""

    # The turns.

    async def _run(self) -> None:
        await self._begun.wait()
        while not self._stopping:
            self._wake.clear()
            began = self._clock.boottime()
            busy = await self._turn.take()
            self._turned_at = self._clock.boottime()
            self.telemetry.observe("scheduler_tick_duration_seconds", self._turned_at - began)
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
        lead_us = self._lead.look(self.now_us)
        moments = [IDLE_S]
        instant = self.book.peek()
        if instant is not None:
            moments.append((instant * 1_000_000 - lead_us - self.now_us) / 1e6)
        at_us = self.line.peek()
        if at_us is not None:
            moments.append((at_us - self.now_us) / 1e6)
        # A hair more than needed: a timer that fires early would find nothing due and spin.
        return max(0.0005, min(moments) + 0.0002)

    async def _make_up(self) -> None:
        await self._begun.wait()
        await self._catchup.run()

    async def _sweep_for_ever(self) -> None:
        """Ask again for whoever waits and stands in no line. Nobody should; a lost wake-up must not be for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            late_us = self.now_us - SWEEP_LATE_US
            for number, execution in enumerate(self._readings.open_executions(), 1):
                if ready_us(execution) < late_us:
                    self._wakeups.rearm(execution.id)
                if number % SWEPT_AT_ONCE == 0:
                    await asyncio.sleep(0)
            self._wake.set()

    async def _keep_warm(self) -> None:
        """While another node plans, let nothing pile up."""
        while True:
            await asyncio.sleep(IDLE_S)
            if not self._begun.is_set():
                self.line.peek()  # forgets who has gone

    async def recall_here(self, execution_ids: list[str]) -> dict[str, str]:
        """Take back attempts that have not left this node; say of each id `dropped`, `sent` or `unknown`."""
        return await self._settler.recall_here(execution_ids)

    # What happens elsewhere, noted.

    def _on_events(self, events: Sequence[Event]) -> None:
        started: list[Execution] = []
        leave, ended = self.line.remove, self._wakeups.note_end
        last: Event | None = None  # a decision: who is granted right after it does not stand in the line first
        last_id = ""
        for event in events:
            kind, execution = event.type, event.execution
            if kind is _STARTED and execution is not None:  # all there is to it
                started.append(execution)
                if execution.id == last_id:
                    last, last_id = None, ""
                else:
                    leave(execution.id)
                continue
            if last is not None:
                self._note(last)
                last, last_id = None, ""
            if kind is _DECIDED and execution is not None:
                last, last_id = event, execution.id
            elif kind is _FINISHED and execution is not None:
                ended(execution)
                self.long_runs.note(kind, execution)
            else:
                self._note(event)
        if last is not None:
            self._note(last)
        self._wake.set()
        if self._sharing is not None and started:
            self._sharing.note(started)

    def _note(self, event: Event) -> None:
        kind = event.type
        if kind is _DROPPED:
            log.warning("dead letter dropped", execution=event.key, job=event.job_id, reason=event.note)
        elif event.execution is not None:
            self._wakeups.note(kind, event.execution)
            self.long_runs.note(kind, event.execution)
            if event.until_us and self._sharing is not None:
                self._sharing.note_held_back(event)
        elif kind in JOB_EVENTS:
            self._note_job(event)
        elif kind is EventType.DOCUMENT_CHANGED and self.calendars.is_calendar(event.key):
            self.agenda.replan(event.key)
        elif kind is EventType.CLOCK_RESET:
            self.agenda.begin_anew()
        elif kind is EventType.RANGE_SKIPPED and event.range is not None and event.range.reason in _MISSED:
            self.telemetry.count("missed_runs_total", event.range.count)

    def _note_job(self, event: Event) -> None:
        job = event.job
        assert job is not None
        if event.type is EventType.JOB_DELETED:
            self.agenda.drop(job.id)
            return
        self.agenda.index(job)
        if job.paused is None and event.type is not EventType.JOB_CREATED:
            self._wakeups.rearm_job(job.id)


_UNTIL_DRAINED = ("scheduler", "settler", "taker", "renewals")
"""Turns that go on while what runs comes to its end."""
_DECIDED, _STARTED = EventType.EXECUTION_DECIDED, EventType.EXECUTION_STARTED
_FINISHED = EventType.EXECUTION_FINISHED
_DROPPED = EventType.DEAD_LETTER_DROPPED
_MISSED = frozenset({"misfire", "expired"})
