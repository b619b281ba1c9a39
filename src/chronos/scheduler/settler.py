"""Turns what became of attempts into settlements, and stops what is to be stopped."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable

import structlog
from msgspec.structs import replace

from chronos.dispatch.breaker import BREAKER
from chronos.dispatch.port import Delivered, Done, Executor, Lost, NotSent, Refused
from chronos.errors import ChronosError, StorageFull
from chronos.model.execution import Attempt, Execution
from chronos.model.job import Job, OnUnknown, Pause
from chronos.model.target import HttpTarget
from chronos.scheduler.company import Company
from chronos.scheduler.deliveries import KeepBody, definition, host_called
from chronos.scheduler.outcomes import delivered, late_result, lost, next_step
from chronos.scheduler.plan import Plan
from chronos.scheduler.ports import Commands, Probe
from chronos.scheduler.settings import SchedulerSettings
from chronos.scheduler.stages import note_settled
from chronos.store.commands import Next, SetPause, Settle, Settlement
from chronos.store.tables import OPEN, SHARDS, Shard
from chronos.telemetry import Telemetry
from chronos.timing.clock import Clock

log = structlog.get_logger(__name__)

FindPlan = Callable[[str], Plan | None]
"""Returns the plan of the job with this id as it is now; None without one."""

BATCH_MAX = 2_000
ENTRY_BYTES = 512 * 1024
STORAGE_WAIT_S = 1.0
LEADER_WAIT_S = 0.2
"""What could not be written because nobody leads is tried again soon: what waits behind it may be late already."""
LAST_TRIES = 5
LAST_ANSWER_S = 15.0
"""How long a stop waits for the log to answer: what it does not say is unknown then."""
PROBE_S = 10.0
PROBES_AT_ONCE = 100
PAUSE_AGAIN_S = 0.25
FLIGHTS_MAX = 4
"""Batches of results that are on their way to the log at a time."""
WORTH_A_FLIGHT = 500
"""While a batch is on its way, the next one leaves when it has this many results, or when that one is back."""


class Settler:
    """One task settles in batches; events and executors only leave notes."""

    executor: Executor

    def __init__(
        self,
        commands: Commands,
        clock: Clock,
        find_plan: FindPlan,
        settings: SchedulerSettings,
        keep_body: KeepBody | None = None,
        probe: Probe | None = None,
        telemetry: Telemetry | None = None,
        company: Company | None = None,
    ) -> None:
        self._commands = commands
        self._company = company
        self._clock = clock
        self._find_plan = find_plan
        self._settings = settings
        self._keep_body = keep_body
        self._probe = probe
        self._telemetry = telemetry or Telemetry()
        self._done: deque[Done] = deque()
        self._stops: deque[Execution] = deque()
        self._settling: dict[str, Done] = {}
        self._flights: set[asyncio.Task[bool]] = set()
        self._refused = False
        self._wait_s = STORAGE_WAIT_S
        self._gone: set[str] = set()
        self._wake = asyncio.Event()

    # Notes.

    def note(self, done: list[Done]) -> None:
        """Take over attempts that ended. As many can wait here as were in flight."""
        self._done.extend(done)
        self._wake.set()

    def note_not_sent(self, execution: Execution) -> None:
        """Take back the attempt of an execution that no executor was given."""
        attempt = execution.running_attempt
        assert attempt is not None
        self.note([Done(execution.id, attempt.n, NotSent("recalled"), self._now_us, self._now_us)])

    def note_lost(self, executions: Iterable[Execution], reason: str) -> None:
        """Take for lost what other nodes had begun: nobody will say what became of it."""
        for execution in executions:
            attempt = execution.running_attempt
            if attempt is not None:
                self.note([Done(execution.id, attempt.n, Lost(reason), attempt.started_at_us, self._now_us)])

    def stop_soon(self, execution: Execution) -> None:
        """Stop an execution's running attempt on the next turn."""
        self._stops.append(execution)
        self._wake.set()

    # Turns.

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._stop_what_is_to_stop()
            if not await self._settle_what_is_done():
                await asyncio.sleep(self._wait_s)
                self._wake.set()
            await self._pause_what_is_gone()

    async def _settle_what_is_done(self) -> bool:
        """Send off what has been noted, until nothing is left or something is to be stopped first.

        Several batches are on their way at a time: an entry that takes long to fold holds up none behind it on its
        way to the disk.

        Returns:
            Whether everything could be written so far; what could not is noted again.
        """
        while self._done and not self._stops:
            if len(self._flights) >= FLIGHTS_MAX:
                await asyncio.wait(self._flights, return_when=asyncio.FIRST_COMPLETED)
            self._land()
            if self._refused or (self._flights and len(self._done) < WORTH_A_FLIGHT):
                break  # a flight that lands wakes the next turn
            self._send_off()
        self._land()
        refused, self._refused = self._refused, False
        return not refused

    def _send_off(self) -> None:
        batch = [self._done.popleft() for _ in range(min(len(self._done), BATCH_MAX))]
        self._settling |= {done.execution_id: done for done in batch}
        flight = asyncio.create_task(self._settle(batch))
        self._flights.add(flight)
        flight.add_done_callback(lambda _: self._wake.set())

    def _land(self) -> None:
        """Take in what has come back; raise what has gone wrong with it."""
        for flight in [flight for flight in self._flights if flight.done()]:
            self._flights.discard(flight)
            self._refused |= not flight.result()

    async def settle_now(self, done: Done) -> None:
        """Settle one attempt whose end was told from outside; return when that is durable.

        Raises:
            ChronosError: It could not be written; nothing has changed.
        """
        probed = await self._probe_those_lost([done])
        settled = probed.get(0) or self._settled(done, self._now_us)
        if settled is not None:
            await self._commands.submit([Settle([settled])])

    async def finish(self) -> None:
        """Settle what has been noted so far; gives up when it cannot be written, and it is unknown then."""
        failures = 0
        while failures < LAST_TRIES:
            while self._done and len(self._flights) < FLIGHTS_MAX:
                self._send_off()
            if self._flights:
                _, unanswered = await asyncio.wait(self._flights, timeout=LAST_ANSWER_S)
                if unanswered:
                    log.error("results are not answered", waiting=len(self._settling))
                    return
            self._land()
            if not self._done:
                return
            if self._refused:
                self._refused = False
                failures += 1
                await asyncio.sleep(STORAGE_WAIT_S)

    async def _settle(self, batch: list[Done]) -> bool:
        """Settle one entry's worth; return whether it could be written."""
        try:
            return await self._settle_together(batch)
        finally:
            for done in batch:
                if self._settling.get(done.execution_id) is done:
                    del self._settling[done.execution_id]

    async def _settle_together(self, batch: list[Done]) -> bool:
        probed = await self._probe_those_lost(batch)
        size, results, now_us, gone = 0, [], self._now_us, set()
        for place, done in enumerate(batch):
            if size > ENTRY_BYTES:
                self._done.extendleft(reversed(batch[place:]))
                batch = batch[:place]
                break
            if isinstance(done.outcome, Refused) and done.outcome.gone and (execution := self._running(done)):
                gone.add(execution.job_id)
            settled = probed.get(place) or self._settled(done, now_us)
            if settled is not None:
                results.append(settled)
                size += _bytes_of(settled)
        if not results:
            return True
        try:
            await self._commands.submit([Settle(results)])
        except ChronosError as error:
            # What came back is kept until there is room for it: forgetting it would send it again.
            self._done.extendleft(reversed(batch))
            self._wait_s = STORAGE_WAIT_S if isinstance(error, StorageFull) else LEADER_WAIT_S
            log.warning("results wait", reason=str(error), waiting=len(self._done))
            return False
        note_settled(self._telemetry, batch, self._now_us)
        self._gone |= gone
        return True

    async def _probe_those_lost(self, batch: list[Done]) -> dict[int, Settlement]:
        """Ask the targets that can be asked whether an attempt has reached them; return what follows by its place."""
        asked: list[tuple[int, Coroutine[None, None, Settlement]]] = []
        for place, done in enumerate(batch):
            if not isinstance(done.outcome, Lost) or (execution := self._running(done)) is None:
                continue
            job, attempt = definition(self._commands.view, execution), execution.running_attempt
            assert job is not None, "what runs has a definition"
            assert attempt is not None
            if job.spec.on_unknown is OnUnknown.PROBE:
                asked.append((place, self._probed(execution, job, attempt, done.outcome.reason)))
        found: dict[int, Settlement] = {}
        for first in range(0, len(asked), PROBES_AT_ONCE):
            some = asked[first : first + PROBES_AT_ONCE]
            answers = await asyncio.gather(*(probe for _, probe in some))
            found |= {place: answer for (place, _), answer in zip(some, answers, strict=True)}
        return found

    def _running(self, done: Done) -> Execution | None:
        """Return the execution whose running attempt has ended; None when the attempt holds nothing any more."""
        execution = self._commands.view.get(OPEN, done.execution_id)
        attempt = execution.running_attempt if execution is not None else None
        if attempt is None or attempt.n != done.attempt:
            return None
        return execution if self._company is None or self._is_ours(attempt, done) else None

    def _is_ours(self, attempt: Attempt, done: Done) -> bool:
        """Whether what is known here of an attempt is about this node's; a number may be used again by another's."""
        assert self._company is not None
        if attempt.node == self._company.incarnation or attempt.is_accepted:
            return True
        return isinstance(done.outcome, Lost) and self._company.is_gone(attempt.node)

    def _settled(self, done: Done, now_us: int) -> Settlement | None:
        execution = self._running(done)
        if execution is None:
            log.info("late result", execution=done.execution_id, attempt=done.attempt)
            return late_result(done)
        if isinstance(done.outcome, Delivered):
            settled = delivered(execution, done, done.outcome)
            return self._with_body(settled, done) if done.outcome.answer.body else settled
        job = definition(self._commands.view, execution)
        assert job is not None, "what runs has a definition"
        following_us = self._following_us(execution, now_us) if job.spec.retry_policy.give_up_at_next else None
        settled = next_step(
            execution,
            job,
            done,
            now_us=now_us,
            settings=self._settings,
            next_instant_us=following_us,
            others_us=self._others_us(job, done, now_us),
        )
        return self._with_body(settled, done)

    def _others_us(self, job: Job, done: Done, now_us: int) -> int | None:
        """Return when another node may be asked for what this one's breaker holds back; None where it cannot be."""
        if self._company is None or not isinstance(done.outcome, NotSent) or done.outcome.reason != BREAKER:
            return None
        host = host_called(job)
        return self._company.others_us(host, now_us) if host is not None else None

    def _following_us(self, execution: Execution, now_us: int) -> int | None:
        """Return when the job is due next; None when it is not, or paused."""
        plan = self._find_plan(execution.job_id)
        if plan is None or plan.job.paused is not None:
            return None
        following = plan.next_s(max(now_us // 1_000_000, execution.scheduled_s))
        return following * 1_000_000 if following is not None else None

    def _with_body(self, settled: Settlement, done: Done) -> Settlement:
        if self._keep_body is None:
            return settled
        body = getattr(getattr(done.outcome, "answer", None), "body", b"")
        if not body:
            return settled
        reference = self._keep_body(done.execution_id, done.attempt, body)
        return _replace_attempt(settled, body_ref=reference)

    async def _pause_what_is_gone(self) -> None:
        """A target that answered 410 has said that it will not come back; pausing is what the job asked for."""
        for job_id in sorted(self._gone):
            plan = self._find_plan(job_id)
            target = plan.job.target if plan is not None and plan.job.paused is None else None
            if not isinstance(target, HttpTarget) or not target.pause_on_gone:
                self._gone.discard(job_id)
                continue
            assert plan is not None
            try:
                [result] = await self._commands.submit([self._pause_of(plan)])
            except ChronosError as error:
                log.warning("pausing waits", job=job_id, reason=str(error))
                return
            if result.ok:
                self._gone.discard(job_id)
                await self.recall(list(result.facts.get("recall", ())))
            else:  # planning is behind, and has to decide first what the job owed before it was paused
                asyncio.get_running_loop().call_later(PAUSE_AGAIN_S, self._wake.set)

    def _pause_of(self, plan: Plan) -> SetPause:
        mark_s = (self._commands.view.get(SHARDS, "0") or Shard()).hwm_s
        following = plan.next_s(max(mark_s, plan.since_us // 1_000_000))
        return SetPause(
            plan.job.id,
            Pause(reason="the target answered 410 Gone"),
            "chronos",
            owed_to=mark_s,
            undecided_us=following * 1_000_000 if following is not None else 0,
        )

    # Stopping.

    async def recall(self, execution_ids: list[str]) -> list[str]:
        """Take back attempts that have not left, on whichever node; return the ids of those that had."""
        if self._company is None or not execution_ids:
            return await self._recall_sent(execution_ids)
        held = self._by_node(execution_ids)
        own = held.pop(self._company.incarnation, [])
        others = [self._company.recall(node, keys) for node, keys in held.items()]
        answers = await asyncio.gather(self._recall_sent(own), *others)
        return [key for keys in answers for key in keys]

    def _by_node(self, execution_ids: list[str]) -> dict[str, list[str]]:
        assert self._company is not None
        held: dict[str, list[str]] = {}
        for key in execution_ids:
            execution = self._commands.view.get(OPEN, key)
            attempt = execution.running_attempt if execution is not None else None
            node = attempt.node if attempt is not None and not attempt.is_accepted else self._company.incarnation
            held.setdefault(node, []).append(key)
        return held

    async def _recall_sent(self, execution_ids: list[str]) -> list[str]:
        answers = await self.recall_here(execution_ids)
        return [key for key, answer in answers.items() if answer == "sent"]

    async def recall_here(self, execution_ids: list[str]) -> dict[str, str]:
        """Take back attempts that have not left this node; say of each id `dropped`, `sent` or `unknown`."""
        if not execution_ids:
            return {}
        waiting = {done.execution_id: done for done in self._done} | self._settling
        answers = await self.executor.recall(execution_ids)
        taken: list[Execution] = []
        for key, answer in answers.items():
            execution = self._commands.view.get(OPEN, key)
            if answer == "dropped":
                if execution is not None and execution.running_attempt is not None:
                    taken.append(execution)
            elif self._has_ended(key, execution, waiting):
                answers[key] = "sent"
        await self._take_back(taken)
        return answers

    def _has_ended(self, key: str, execution: Execution | None, waiting: dict[str, Done]) -> bool:
        """Whether an attempt that the executor no longer knows was sent; else it was never handed over."""
        if key in waiting:
            return not isinstance(waiting[key].outcome, NotSent)
        attempt = execution.running_attempt if execution is not None else None
        return attempt is None or attempt.is_accepted

    async def _take_back(self, taken: list[Execution]) -> None:
        results = [
            Settlement(execution.id, execution.running_attempt, Next.AGAIN, reason=execution.reason)
            for execution in taken
            if execution.running_attempt is not None
        ]
        if not results:
            return
        try:
            await self._commands.submit([Settle(results)])
        except ChronosError as error:
            # They will not leave; that they did not is written as soon as there is room.
            log.warning("results wait", reason=str(error), waiting=len(results))
            for execution in taken:
                self.note_not_sent(execution)

    async def _stop_what_is_to_stop(self) -> None:
        ids = []
        while self._stops:
            ids.append(self._stops.popleft().id)
        if not ids:
            return
        sent = await self._recall_sent(ids)
        if sent:
            await self.executor.cancel(sent)

    # Recovery.

    async def recover(self, open_executions: list[Execution], incarnation: str) -> None:
        """Settle, as unknown, the attempts that an earlier life of this node had begun."""
        results: list[Settlement] = []
        probes: list[Coroutine[None, None, Settlement]] = []
        for execution in open_executions:
            attempt = execution.running_attempt
            if attempt is None or attempt.node == incarnation or attempt.is_accepted:
                continue  # what its target has taken on goes on without us
            job = definition(self._commands.view, execution)
            if job is None:
                continue
            reason = "the server stopped while this attempt was in flight"
            if job.spec.on_unknown is OnUnknown.PROBE:
                probes.append(self._probed(execution, job, attempt, reason))
            else:
                results.append(lost(execution, job, attempt, reason, now_us=self._now_us, settings=self._settings))
        for start in range(0, len(probes), PROBES_AT_ONCE):
            results += await asyncio.gather(*probes[start : start + PROBES_AT_ONCE])
        for start in range(0, len(results), BATCH_MAX):
            await self._commands.submit([Settle(results[start : start + BATCH_MAX])])

    async def _probed(self, execution: Execution, job: Job, attempt: Attempt, reason: str) -> Settlement:
        unknown = lost(execution, job, attempt, reason, now_us=self._now_us, settings=self._settings)
        if self._probe is None or job.spec.probe_url is None:
            return unknown
        try:
            async with asyncio.timeout(PROBE_S):
                ran = await self._probe(job, execution.id)
        except TimeoutError:
            ran = None
        if ran:
            return Settlement(execution.id, unknown.attempt, Next.SUCCEED, unknown=True, reason="probed: it ran")
        return unknown

    @property
    def _now_us(self) -> int:
        return int(self._clock.time() * 1_000_000)


def _bytes_of(settled: Settlement) -> int:
    """About how many bytes a settlement takes in the log; never less than it does."""
    attempt = settled.attempt
    size = 512 + len(attempt.excerpt) if attempt.excerpt.isascii() else 512 + 4 * len(attempt.excerpt)
    size += 4 * (len(attempt.error) + len(settled.reason))
    return size + 4 * sum(map(len, attempt.notes)) if attempt.notes else size


def _replace_attempt(settled: Settlement, *, body_ref: str) -> Settlement:
    return replace(settled, attempt=replace(settled.attempt, body_ref=body_ref))
