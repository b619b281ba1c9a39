"""One turn of planning: composes the entry that says what is owed and who may send, and acts on the verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from operator import itemgetter

import structlog

from chronos.dispatch.port import Delivery
from chronos.errors import ChronosError, Invalid
from chronos.failpoints import reach
from chronos.model.execution import Execution
from chronos.model.job import Job
from chronos.scheduler.agenda import Agenda
from chronos.scheduler.company import Company
from chronos.scheduler.crowd import Crowd
from chronos.scheduler.deliveries import definition, delivery_of, host_called
from chronos.scheduler.lead import Lead
from chronos.scheduler.line import Line
from chronos.scheduler.plan import GRACE_MIN_S
from chronos.scheduler.planner import Verdict, add_owed
from chronos.scheduler.ports import Commands
from chronos.scheduler.settings import SchedulerSettings
from chronos.scheduler.settler import Settler
from chronos.scheduler.stages import note_granted
from chronos.scheduler.wakeups import ready_us
from chronos.store.commands import BeginCatchup, Catchup, Command, Decide, Start, StartAttempt
from chronos.store.fold.starting import is_held
from chronos.store.port import Result
from chronos.store.tables import JOBS, OPEN, Shard
from chronos.telemetry import Telemetry

log = structlog.get_logger(__name__)

REFUSED_S = 1.0
DUE_MAX = 15_000
"""Jobs decided in one entry: what is more is decided job by job, behind the mark."""
ENTRY_BYTES = 900_000
"""What one entry may take in the log; the log refuses more than a mebibyte."""
OWED_BYTES, RANGE_BYTES, ATTEMPT_BYTES = 58, 512, 144
"""What an instant that is owed, a range and a request to start take at most, about; names and reasons are short."""
TOO_MUCH_S = 0.05
SPAN_S = 86_400
STEPS_MAX = 2_000
"""Of a turn over more than a day: steps of counting (`Plan.steps`), about."""
SLICE = 100
"""Executions dealt with before others have their turn: some milliseconds."""
PUT_BACK_SLICE = 400
"""The same of jobs that are put back into the book: a millisecond."""
_RANK = itemgetter(0, 1)


class Turn:
    """Takes turns, one after the other. `catch_up` is called with what is left to be made up for: a span, its jobs."""

    def __init__(
        self,
        commands: Commands,
        agenda: Agenda,
        lead: Lead,
        line: Line,
        settler: Settler,
        catch_up: Callable[[int, int, list[str]], None],
        *,
        incarnation: str,
        settings: SchedulerSettings,
        telemetry: Telemetry,
        company: Company | None = None,
    ) -> None:
        self._commands = commands
        self._agenda = agenda
        self._lead = lead
        self._line = line
        self._settler = settler
        self._catch_up = catch_up
        self._incarnation = incarnation
        self._settings = settings
        self._telemetry = telemetry
        self._company = company
        self._crowd = Crowd(agenda, settings.part_jobs)

    def begin(self) -> None:
        """Begin anew: what another life of this has left open, others go on with."""
        self._crowd.forget()

    async def take(self) -> bool:
        """Propose one entry if anything is due; return whether there was."""
        await self._commands.told()  # until then the agenda may not know what the version in the state stands for
        now_us = self._agenda.now_us
        shard = self._agenda.shard
        if self._crowd.is_open(shard):
            await self._go_on_with_the_crowd(shard, now_us)
            return True
        self._crowd.forget()  # it is over, or was given up by a reset of the clock
        to_s = self._to_s(shard, now_us)
        has_to_wait = shard.is_in_parts(now_us) or (bool(shard.catchup_to_s) and self._is_too_much(shard, to_s, now_us))
        if has_to_wait:
            to_s = shard.hwm_s
        first_s = self._agenda.book.peek()
        due = self._agenda.book.due(to_s) if to_s > shard.hwm_s else []
        if first_s is not None and self._is_better_in_parts(due, first_s, shard, to_s, now_us):
            await self._decide_in_parts(due, shard, to_s, now_us)
            return True
        verdict = None if self._takes_long(due, shard.hwm_s, to_s) else await self._decide(due, shard, to_s, now_us)
        if verdict is None:
            await self._decide_behind_the_mark(due, shard, now_us)
            due, verdict = [], Verdict()  # whoever stands in the line goes on meanwhile
        asked = self._ask(now_us, (ENTRY_BYTES - _bytes_of(verdict)) // ATTEMPT_BYTES)
        if due or asked:
            await self._propose(due, verdict, asked, shard, to_s, now_us)
        elif has_to_wait:
            await asyncio.sleep(TOO_MUCH_S)
        return bool(due or asked or has_to_wait)

    async def _propose(
        self, due: list[str], verdict: Verdict, asked: list[StartAttempt], shard: Shard, to_s: int, now_us: int
    ) -> None:
        entry: list[Command] = []
        if due:
            occurrences, ranges = verdict.occurrences, verdict.ranges
            nodes = self._company.share() if self._company is not None else []
            entry.append(
                Decide(0, shard.hwm_s, to_s, shard.plan_version, occurrences, ranges, self._incarnation, nodes)
            )
            self._agenda.proposed_hwm_s = to_s
        if asked:
            entry.append(Start(asked))
        try:
            results = await self._commands.submit(entry)
        except Invalid as error:
            # Bigger than it was taken to be: asked again it would be bigger still.
            log.warning("planning goes in steps", reason=str(error))
            self._put_back([], shard.hwm_s, asked)
            await self._decide_behind_the_mark(due, shard, now_us)
            return
        except ChronosError as error:
            self._put_back(due, shard.hwm_s, asked)
            log.warning("planning waits", reason=str(error))
            await asyncio.sleep(REFUSED_S)
            return
        if due:
            to_s = self._after_decide(results[0], shard, to_s)
        await self._hand_over_all(results)
        await self._advance(due, to_s)
        if asked:
            self._after_start(asked, results[-1], now_us)

    # A crowd in parts.

    def _is_better_in_parts(self, due: list[str], first_s: int, shard: Shard, to_s: int, now_us: int) -> bool:
        """Whether somebody who writes would wait for long behind these, and there is time: parts take longer."""
        if not self._crowd.is_worth_it(len(due)) or not self._commands.is_asked or shard.catchup_to_s:
            return False
        if self._lead.is_short(len(due), first_s, now_us):
            return False
        now_s = now_us // 1_000_000
        return len(due) <= DUE_MAX and first_s > now_s - GRACE_MIN_S and to_s > now_s and to_s - shard.hwm_s <= SPAN_S

    async def _decide_in_parts(self, due: list[str], shard: Shard, to_s: int, now_us: int) -> None:
        """Let the mark jump, and decide the first part."""
        self._crowd.gather(due, shard.hwm_s, to_s)
        begin = BeginCatchup(0, shard.hwm_s, to_s, shard.plan_version)
        await self._propose_part(begin, due, shard, now_us)

    async def _go_on_with_the_crowd(self, shard: Shard, now_us: int) -> None:
        if self._crowd.is_outdated:
            self._catch_up(shard.catchup_from_s, shard.catchup_to_s, self._crowd.left(shard))
            self._crowd.forget()
        else:
            await self._propose_part(None, [], shard, now_us)

    async def _propose_part(self, begin: BeginCatchup | None, due: list[str], shard: Shard, now_us: int) -> None:
        """Propose the next part; before the first one comes `begin`, which lets the mark jump over what is `due`."""
        cursor = shard.cursor if begin is None else ""
        cursor_to, verdict = await self._crowd.next_part(cursor, now_us, now_us + self._lead.claim_us)
        nodes = self._company.share() if self._company is not None else []
        part = Catchup(
            0, cursor, cursor_to, shard.plan_version, verdict.occurrences, verdict.ranges, self._incarnation, nodes
        )
        asked = self._ask(now_us, max(0, ENTRY_BYTES - _bytes_of(verdict)) // ATTEMPT_BYTES)
        entry: list[Command] = [part] if begin is None else [begin, part]
        if begin is not None:
            self._agenda.proposed_hwm_s = begin.to_s
        try:
            results = await self._commands.submit([*entry, Start(asked)] if asked else entry)
        except ChronosError as error:
            if begin is not None:
                self._crowd.forget()
            self._put_back(due, shard.hwm_s, asked)
            log.warning("planning waits", reason=str(error))
            await asyncio.sleep(REFUSED_S)
            return
        decided = results[len(entry) - 1]
        to_s = self._after_decide(decided, shard, begin.to_s if begin is not None else shard.hwm_s)
        is_over = not cursor_to if decided.ok else begin is not None  # all is decided, or nothing has begun
        if is_over:
            self._crowd.forget()
        await self._hand_over_all(results)
        await self._advance(due, to_s)
        if asked:
            self._after_start(asked, results[-1], now_us)

    # What is owed.

    def _to_s(self, shard: Shard, now_us: int) -> int:
        """Return up to which second to decide: as far as the lead reaches; of a crowd that is late, its first second.

        What is later than its grace is decided as a whole, for its missed-run policy looks at all of it.
        """
        to_s = (now_us + self._lead.look(now_us)) // 1_000_000
        first = self._agenda.book.peek()
        if first is None or first >= to_s or _is_late(shard, now_us):
            return to_s
        crowd = self._agenda.book.crowd(to_s, DUE_MAX)
        return to_s if crowd * (to_s - first + 1) <= DUE_MAX else max(first, shard.hwm_s + 1)

    def _is_too_much(self, shard: Shard, to_s: int, now_us: int) -> bool:
        """Whether one entry cannot hold it: it would go to the catch-up, and has to wait while that is busy."""
        fit = ENTRY_BYTES // (OWED_BYTES + RANGE_BYTES) if _is_late(shard, now_us) else DUE_MAX
        return self._agenda.book.crowd(to_s, fit + 1) > fit

    def _takes_long(self, due: list[str], from_s: int, to_s: int) -> bool:
        """Whether to say what is owed would keep everybody else waiting; the catch-up does it in small steps."""
        if len(due) > DUE_MAX:
            return True
        if to_s - from_s <= SPAN_S:
            return False
        plans = [plan for job_id in due if (plan := self._agenda.book.get(job_id)) is not None]
        return sum(plan.steps(from_s, to_s) for plan in plans) > STEPS_MAX

    async def _decide(self, due: list[str], shard: Shard, to_s: int, now_us: int) -> Verdict | None:
        """Return what these owe; None when that is more than one entry holds."""
        total = Verdict()
        # Who is not due by then stands in the line, and asks on a later turn.
        claim_to_us = now_us + self._lead.claim_us
        find, is_alone = self._agenda.book.get, self._company is None
        for number, job_id in enumerate(due, 1):
            if number % SLICE == 0:
                if _bytes_of(total) > ENTRY_BYTES:
                    break  # the catch-up works it out anew, and what is late already has no time for that
                await asyncio.sleep(0)
            plan = find(job_id)
            if plan is None or plan.job.paused is not None:
                continue
            claims_us = claim_to_us if is_alone or self._may_go_anywhere(plan.job, now_us) else 0
            add_owed(total, plan, after_s=shard.hwm_s, to_s=to_s, now_us=now_us, claim_to_us=claims_us)
        return total if _bytes_of(total) <= ENTRY_BYTES else None

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
            await asyncio.sleep(REFUSED_S)
        for job_id in due:
            self._agenda.book.advance(job_id, now_s if moved else shard.hwm_s)
        if moved:
            self._catch_up(shard.hwm_s, now_s, due)
        else:
            await asyncio.sleep(TOO_MUCH_S)

    def _after_decide(self, result: Result, before: Shard, to_s: int) -> int:
        """Return after which second who was due is due next."""
        agenda = self._agenda
        if result.ok:
            agenda.turnstile.release("planning")
            return to_s
        # The schedules or the mark changed while this was on its way: nothing was decided, so ask again.
        agenda.proposed_hwm_s = agenda.shard.hwm_s
        agenda.turnstile.hold("planning")
        return before.hwm_s

    async def _advance(self, due: list[str], to_s: int) -> None:
        for first in range(0, len(due), PUT_BACK_SLICE):
            if first:
                await asyncio.sleep(0)
            # Never beyond the mark: the clock may have been reset meanwhile.
            after_s = min(to_s, self._agenda.shard.hwm_s)
            for job_id in due[first : first + PUT_BACK_SLICE]:
                self._agenda.book.advance(job_id, after_s)

    def _put_back(self, due: list[str], hwm_s: int, asked: list[StartAttempt]) -> None:
        self._agenda.proposed_hwm_s = self._agenda.shard.hwm_s
        for job_id in due:
            self._agenda.book.advance(job_id, hwm_s)
        for attempt in asked:
            self._line.add(attempt.execution_id, attempt.not_before_us)
        self._agenda.turnstile.release("planning")

    # Who may send.

    def _ask(self, now_us: int, most: int) -> list[StartAttempt]:
        """At most `most` of those who wait, and now ask for the right to send: higher priority first, then earlier."""
        view = self._commands.view
        most = min(most, self._settings.batch_max)
        waiting = self._line.due(now_us, most)
        nodes = self._company.share() if waiting and self._company is not None else [self._incarnation]
        ranked: list[tuple[int, int, StartAttempt]] = []
        for key in waiting:
            execution = view.get(OPEN, key)
            if execution is not None and execution.running_attempt is None:
                at_us = max(now_us, ready_us(execution))
                senders = self._senders(execution, nodes, now_us)
                attempt = StartAttempt(key, execution.next_attempt, senders[len(ranked) % len(senders)], at_us)
                ranked.append((-execution.priority, at_us, attempt))
        ranked.sort(key=_RANK)
        return [attempt for _, _, attempt in ranked]

    def _senders(self, execution: Execution, nodes: Sequence[str], now_us: int) -> Sequence[str]:
        """Return the nodes that the next attempt of an execution may go to."""
        if self._company is None or len(nodes) == 1:
            return nodes
        if not execution.attempts and self._company.elsewhere.is_quiet(now_us):
            return nodes
        host = host_called(definition(self._commands.view, execution))
        return self._company.elsewhere.senders(host, execution, nodes, now_us)

    def _may_go_anywhere(self, job: Job, now_us: int) -> bool:
        """Whether any node may send it; if not, it is decided first, and then a node is chosen that does."""
        elsewhere = self._company.elsewhere if self._company is not None else None
        return elsewhere is None or elsewhere.is_quiet(now_us) or elsewhere.is_open(host_called(job), now_us)

    def _after_start(self, asked: list[StartAttempt], result: Result, asked_at_us: int) -> None:
        granted: list[Execution] = result.value or []
        if len(granted) == len(asked):
            return
        got = {execution.id for execution in granted}
        for attempt in asked:
            if attempt.execution_id not in got:
                self._ask_again_when_due(attempt, asked_at_us)

    async def _hand_over_all(self, results: list[Result]) -> None:
        if self._company is None:  # else each node takes what is its own from the log
            await self.hand_over([granted for result in results for granted in result.value or ()])

    async def hand_over(self, granted: list[Execution]) -> None:
        """Give what may start, and is still wanted, to the executor of this node."""
        granted.sort(key=_by_priority)
        for first in range(0, len(granted), SLICE):
            if first:
                await asyncio.sleep(0)
            self._hand_over(granted[first : first + SLICE])

    def _hand_over(self, granted: list[Execution]) -> None:
        note_granted(self._telemetry, granted, self._agenda.now_us)
        deliveries: list[Delivery] = []
        for execution in granted:
            job = self._wanted(execution)
            if job is None:
                self._settler.note_not_sent(execution)
            else:
                deliveries.append(delivery_of(execution, job, self._settings))
        if deliveries:
            reach("start.granted")
            self._settler.executor.submit(deliveries)
            self._telemetry.count("scheduled_runs_total", len(deliveries))

    def _wanted(self, execution: Execution) -> Job | None:
        """Return what to run; None if it was paused, deleted or cancelled between the grant and this moment."""
        view = self._commands.view
        now, job = view.get(OPEN, execution.id), view.get(JOBS, execution.job_id)
        if now is execution and job is not None and job.revision == execution.revision and job.paused is None:
            return job  # nearly always: nothing has happened since
        if now is None or now.cancel_requested or job is None or is_held(job, execution):
            return None
        return job if job.revision == execution.revision else definition(view, execution)

    def _ask_again_when_due(self, attempt: StartAttempt, asked_at_us: int) -> None:
        """Claimed ahead, an occupied slot meant "not yet": ask once more at the due time, when it is decided."""
        execution = self._commands.view.get(OPEN, attempt.execution_id)
        if execution is None or execution.running_attempt is not None:
            return
        if attempt.not_before_us > min(asked_at_us, self._commands.time_us):
            self._line.add(execution.id, attempt.not_before_us)


def _by_priority(execution: Execution) -> tuple[int, int]:
    return -execution.priority, execution.attempts[-1].not_before_us


def _is_late(shard: Shard, now_us: int) -> bool:
    """Whether something may be later than its grace, and then goes by its missed-run policy."""
    return shard.hwm_s <= now_us // 1_000_000 - GRACE_MIN_S


def _bytes_of(verdict: Verdict) -> int:
    return OWED_BYTES * len(verdict.occurrences) + RANGE_BYTES * len(verdict.ranges)
