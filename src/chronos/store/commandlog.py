"""The only door through which anything is ever written.

A submission waits in the queue, travels in an entry with others (group commit: whatever has come in while the
entry before was on its way), is folded when the entry is durable, and is answered last:

    submit ─▶ queue ─▶ append (one in flight) ─▶ fold, commit ─▶ listeners ─▶ [flush, if it is searched for] ─▶ answer

Appending and folding overlap: entry n is folded while n + 1 is on its way to the disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence, Set
from contextlib import suppress
from typing import Any, TypeVar

from msgspec import Struct

from chronos.errors import Draining, LogDamaged, SnapshotNeeded, StorageFull, Unavailable
from chronos.failpoints import reach
from chronos.model.events import Event, EventType
from chronos.store.batch import OF_EXECUTIONS, Pace, Queue, Submission, encode_submissions
from chronos.store.commands import Command, NewLeader, Seal, decode_entry
from chronos.store.entryfold import StepwiseFold, events_of, fold_in_steps
from chronos.store.port import At, Changes, Log, LogRow, Result, View
from chronos.store.refolding import without_rows
from chronos.store.state import WRITE_THROUGH, State, is_searched
from chronos.store.steps import Step, in_one_go
from chronos.store.tables import Table
from chronos.store.verdict import accepted
from chronos.telemetry import Telemetry
from chronos.timing.clock import Chance, Clock

T = TypeVar("T")

Listener = Callable[[Sequence[Event]], None]

RECOVERY_FLUSH_ENTRIES = 500
EVENTS_AT_ONCE = 400
"""What listeners are told of before others have their turn."""
EVERYTHING = frozenset(EventType)
ASKED_S = 2.0
"""So long after somebody outside had something written, more is expected."""


class CommandLogSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How commands are put together and how much may wait.

    Attributes:
        entry_bytes: An entry is closed at this size; one submission alone may be bigger.
        flush_interval_ms: How long state may lag behind the log on disk.
        busy_flush_ms: The same while more than `busy_rows` change a second: what begins and ends in between is never
            written, and a crash costs the start a second or two of folding.
        spacing_ms: The least time between two commits while there are more than `busy_commits` a second.
        patience_ms: The same while only the scheduler waits for the next.
        write_through: Whether what is searched for is in state's file before it is answered; there are processes then
            that search the file. Without them it is so only while more than `overlaid_max` jobs have changed that the
            file does not have: searches lay those over it, one by one.
    """

    entry_bytes: int = 512 * 1024
    entry_commands: int = 1_000
    submission_bytes_max: int = 1024 * 1024
    queue_commands_max: int = 50_000
    queue_bytes_max: int = 64 * 1024 * 1024
    flush_interval_ms: int = 250
    busy_flush_ms: int = 3_000
    busy_rows: int = 3_000
    spacing_ms: int = 4
    patience_ms: int = 12
    busy_commits: int = 50
    write_through: bool = True
    overlaid_max: int = 2_000


class _Appended(Struct, frozen=True):
    """An entry that is durable and not yet folded."""

    at: At
    submissions: list[Submission]


class CommandLog:
    """Proposes commands, folds them when they are durable, and tells what became of them.

    Attributes:
        failed: Set when the log can no longer be written; the server ends with exit code 75 then.
        failure: Why.
        view: The state up to `applied`.
        time_us: Log time of the last entry folded.
    """

    def __init__(
        self,
        log: Log,
        state: State,
        clock: Clock,
        chance: Chance,
        *,
        settings: CommandLogSettings | None = None,
        fold: StepwiseFold | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._log = log
        self._state = state
        self._clock = clock
        self._chance = chance
        self._settings = settings or CommandLogSettings()
        self._fold = fold or _machine()
        self._telemetry = telemetry or Telemetry()
        self._queue = Queue(
            self._settings.queue_commands_max, self._settings.queue_bytes_max, self._settings.submission_bytes_max
        )
        spacing_s, patience_s = self._settings.spacing_ms / 1_000, self._settings.patience_ms / 1_000
        self._pace = Pace(spacing_s, patience_s, self._settings.busy_commits)
        self._inflight: list[Submission] = []
        self._appended: deque[_Appended] = deque()
        self._parked: deque[tuple[int, Submission, list[Result]]] = deque()
        self._listeners: list[tuple[Listener, bool, frozenset[EventType]]] = []
        self._submitted, self._durable = asyncio.Event(), asyncio.Event()
        self._dirty, self._urgent, self._told = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._told.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._epoch: Any = None
        self._last = 0
        self._last_time_us = 0
        self._full = self._log_full = False
        self._changed = self._changes_a_second = self._unflushed = 0
        self._closed: Unavailable | None = Unavailable("The server is still starting.")
        self._stage = 0
        self.failed = asyncio.Event()
        self.failure: BaseException | None = None

    @property
    def view(self) -> View:
        return self._state

    @property
    def applied(self) -> int:
        return self._state.applied_index

    @property
    def durable(self) -> int:
        """The last entry known to be durable; `applied` follows it."""
        return self._last

    @property
    def time_us(self) -> int:
        return self._state.time_us

    @property
    def waiting(self) -> int:
        """How many commands wait for their entry."""
        return self._queue.commands

    @property
    def is_asked(self) -> bool:
        """Whether somebody outside has had something written in the last seconds. Only who appends knows."""
        return self._clock.boottime() - self._queue.asked_s < ASKED_S

    async def told(self) -> None:
        """Return when listeners know all that `view` shows."""
        while not self._told.is_set():
            await self._told.wait()

    @property
    def unwritten(self) -> int:
        """The last entry that changes what is searched for and has yet to reach state's file; 0 when there is none."""
        return self._parked[-1][0] if self._parked else 0

    @property
    def storage_full(self) -> bool:
        """Whether the last write to log or state failed for lack of space."""
        return self._full or self._log_full

    def read_ahead(self, table: Table[Any], keys: Sequence[str]) -> None:
        """Have at hand what `view` will be asked for; see `State.read_ahead`."""
        self._state.read_ahead(table, keys)

    def subscribe(self, listener: Listener, *, recovered: bool = False, of: Set[EventType] = EVERYTHING) -> None:
        """Call `listener` with the events of every entry, in order, after it is folded and before it is answered;
        a few hundred at a time.

        It must be quick, and must not raise.

        Args:
            recovered: Also for entries that `start` folds again after a crash. Never act outwards on those.
            of: What it is told of; nothing else, and no call without any.
        """
        self._listeners.append((listener, recovered, frozenset(of)))

    async def start(self, node: str, incarnation: str, *, on_recovered: Callable[[float], None] | None = None) -> None:
        """Fold what state lacks, then commit one boot record. Nothing is accepted before it is durable.

        Args:
            on_recovered: Called once with log time of the last entry, in seconds since the epoch (0 when the log is
                empty), before anything here asks the clock: by then it may be one that is not to be believed.

        Raises:
            LogDamaged: State is ahead of the log: entries it has folded are gone.
            SnapshotNeeded: The log begins behind what state has.
        """
        self._epoch = await self._log.campaign()
        missing = await self._recover()
        if on_recovered is not None:
            on_recovered(self._last_time_us / 1e6)
        self._run_stages()
        boot = self._enqueue([NewLeader(node, incarnation), *without_rows(missing)])
        await boot
        self._closed = None

    def _run_stages(self) -> None:
        self._tasks = [asyncio.create_task(run()) for run in (self._append_all, self._fold_all, self._flush_all)]
        for task in self._tasks:
            task.add_done_callback(self._on_end)

    async def look(self, *, on_recovered: Callable[[float], None] | None = None) -> None:
        """Fold what state lacks, as `start` does, to look at it: nothing is written, and nothing taken in."""
        await self._recover()
        if on_recovered is not None:
            on_recovered(self._last_time_us / 1e6)

    async def stop(self) -> None:
        """Answer what was submitted, flush, and end. Stopping twice, or unstarted, does nothing."""
        self._closed = self._closed or Draining()
        wakers = (self._submitted, self._durable, self._dirty)
        # In the order in which work flows, so that each finds all that there will ever be.
        for stage, (task, wake) in enumerate(zip(self._tasks, wakers, strict=False)):
            self._stage = stage + 1
            wake.set()
            self._urgent.set()
            await asyncio.wait([task])
        self._tasks = []

    async def propose(self, command: Command) -> Result:
        """Return what came of `command` when it is durable and folded.

        Raises:
            ChronosError: The one named by the verdict, or what `submit` raises.
        """
        return accepted((await self.submit([command]))[0])

    def submit(self, commands: Sequence[Command]) -> asyncio.Future[list[Result]]:
        """Enqueue commands for one entry and return at once. The order of calls is the order in the log.

        Returns:
            A future of one verdict a command. It fails with `StorageFull` when nothing was written, and with
            `Unavailable` when nobody can say.

        Raises:
            Overloaded: Too much waits already.
            Draining: The server is shutting down.
            StorageFull: The disk is full.
        """
        if self._closed is not None:
            raise self._closed
        if self._full:
            raise StorageFull
        return self._enqueue(commands)

    def _enqueue(self, commands: Sequence[Command]) -> asyncio.Future[list[Result]]:
        answer: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        submission = Submission(commands, answer, since_s=self._clock.boottime())
        self._queue.put(submission)
        self._submitted.set()
        return submission.answer

    async def _recover(self) -> list[Seal]:
        """Fold what state lacks; return the seals to which no rows came of it."""
        first, self._last = await self._log.bounds()
        applied = self._state.applied_index
        if applied > self._last:
            raise LogDamaged(
                f"State has folded entry {applied}, but the log ends at {self._last}: log and state do not belong "
                "together. Restore both from one backup; or, if the log has lost its end, "
                f"`chronos recover --truncate-at {self._last}` lets it go on behind what state has.",
                last_good=self._last,
            )
        if applied + 1 < first:
            raise SnapshotNeeded(f"State ends at entry {applied}, but the log begins at {first}.", first=first)
        await self._state.refold(await self._seals_behind(applied))
        async for row in self._missing(applied):
            entry = decode_entry(row.data)
            self._apply_again(entry.commands, At(row.index, entry.time_us))
            if row.index % RECOVERY_FLUSH_ENTRIES == 0:
                await self._state.flush()
        missing = await self._state.refold([])
        self._last_time_us = self._state.time_us
        return missing

    async def _seals_behind(self, applied: int) -> list[Seal]:
        entries = (decode_entry(row.data) async for row in self._missing(applied))
        return [command async for entry in entries for command in entry.commands if isinstance(command, Seal)]

    async def _missing(self, applied: int) -> AsyncIterator[LogRow]:
        """Yield what lay behind `applied` when the log was asked how far it goes: others may go on writing."""
        async for row in self._log.tail(applied + 1):
            if row.index > self._last:
                return
            yield row

    async def _append_all(self) -> None:
        settings = self._settings
        while True:
            if self._queue and not self._stage and (wait_s := self._wait_s()):
                await asyncio.sleep(min(wait_s, settings.spacing_ms / 1_000))  # somebody impatient may come meanwhile
                continue
            taken = self._queue.take(settings.entry_commands, settings.entry_bytes)
            if taken:
                self._pace.note(self._clock.boottime())
                await self._append(taken)
            elif self._stage >= 1:
                return
            else:
                self._submitted.clear()
                await self._submitted.wait()

    def _wait_s(self) -> float:
        return self._pace.wait_s(self._clock.boottime(), is_patient=self._queue.is_patient)

    async def _append(self, submissions: list[Submission]) -> None:
        time_us = max(int(self._clock.time() * 1_000_000), self._last_time_us)
        data = self._encode(submissions, time_us)
        self._inflight = submissions
        try:
            await self._log.append(self._last + 1, data, self._epoch)
        except StorageFull as exc:
            self._log_full = True
            for submission in submissions:
                submission.fail(exc)
            return
        self._log_full = False
        self._inflight = []
        # The oldest stands for its entry: it has waited for the entry before, too.
        self._telemetry.observe("log_commit_seconds", self._clock.boottime() - submissions[0].since_s)
        self._last, self._last_time_us = self._last + 1, time_us
        self._appended.append(_Appended(At(self._last, time_us), submissions))
        self._durable.set()

    def _encode(self, submissions: list[Submission], time_us: int) -> bytes:
        return encode_submissions(submissions, time_us, self._chance.bytes(16))

    async def _fold_all(self) -> None:
        while True:
            while self._appended:
                # It stays in its place until it is answered: if the log fails meanwhile, who waits for it is told.
                await self._fold_one(self._appended[0])
                self._appended.popleft()
            if self._stage >= 2:
                return
            self._durable.clear()
            await self._durable.wait()

    async def _fold_one(self, entry: _Appended) -> None:
        reach("entry.appended")
        began = self._clock.boottime()
        commands = [command for submission in entry.submissions for command in submission.commands]
        changed = await _taken_in_turns(fold_in_steps(self._fold, self._state, commands, entry.at))
        events = events_of(changed)
        self._state.commit(changed, entry.at.index, entry.at.time_us)
        await self._tell_in_turns(events)
        self._telemetry.observe("log_fold_seconds", self._clock.boottime() - began)
        self._telemetry.observe("log_entry_commands", len(commands))
        self._answer(entry, iter(changed))

    def _answer(self, entry: _Appended, changes: Iterator[Changes]) -> None:
        is_through = self._settings.write_through or self._state.overlaid > self._settings.overlaid_max
        for submission in entry.submissions:
            own = [next(changes) for _ in submission.commands]
            results = [change.result for change in own]
            puts = sum([len(change.puts) for change in own])
            self._changed += puts
            self._unflushed += puts
            if is_through and any(
                _is_searched(command, change) for command, change in zip(submission.commands, own, strict=True)
            ):
                self._parked.append((entry.at.index, submission, results))
                self._urgent.set()
            else:
                submission.succeed(results)
        self._dirty.set()

    def _apply_again(self, commands: Sequence[Command], at: At) -> None:
        """Fold an entry that state lacks after a crash."""
        changes = in_one_go(fold_in_steps(self._fold, self._state, commands, at))
        self._state.commit(changes, at.index, at.time_us)
        if events := events_of(changes):
            self._tell(events, recovering=True)

    async def _tell_in_turns(self, events: Sequence[Event]) -> None:
        self._told.clear()
        try:
            for first in range(0, len(events), EVENTS_AT_ONCE):
                self._tell(events[first : first + EVENTS_AT_ONCE], recovering=False)
                if first + EVENTS_AT_ONCE < len(events):
                    await asyncio.sleep(0)
        finally:
            self._told.set()
        if len(events) > EVENTS_AT_ONCE:
            await asyncio.sleep(0)  # who has waited for this goes before the next entry

    def _tell(self, events: Sequence[Event], *, recovering: bool) -> None:
        kinds = {event.type for event in events}
        for listener, recovered, of in self._listeners:
            if kinds.isdisjoint(of) or (recovering and not recovered):
                continue
            listener(events if kinds <= of else [event for event in events if event.type in of])

    async def _flush_all(self) -> None:
        while True:
            await self._dirty.wait()
            if self._stage < 3:
                await self._wait_for_flush()
            last = self._stage >= 3  # asked now: the end may have come during the wait
            self._dirty.clear()
            self._urgent.clear()
            await self._flush()
            if last:
                return

    async def _wait_for_flush(self) -> None:
        settings, began = self._settings, self._clock.boottime()
        is_busy = self._changes_a_second > settings.busy_rows
        interval = (settings.busy_flush_ms if is_busy else settings.flush_interval_ms) / 1000
        if self._full:  # what is urgent is answered from the log alone then
            return await asyncio.sleep(interval)
        with suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await self._urgent.wait()
        elapsed = max(self._clock.boottime() - began, settings.flush_interval_ms / 1000)
        self._changed, self._changes_a_second = 0, round(self._changed / elapsed)
        return None

    async def _flush(self) -> None:
        began, rows, self._unflushed = self._clock.boottime(), self._unflushed, 0
        try:
            await self._state.flush(patiently=not self._parked)
        except StorageFull:
            self._full = True
            self._dirty.set()
            self._unflushed += rows
            upto = self._state.applied_index
        else:
            self._full = False
            upto = self._state.flushed_index
            self._telemetry.observe("state_flush_seconds", self._clock.boottime() - began)
            self._telemetry.observe("state_flush_rows", rows)
        while self._parked and self._parked[0][0] <= upto:
            _, submission, results = self._parked.popleft()
            submission.succeed(results)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """One of the three has ended. Unless all are being stopped, nothing can be written any more."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self.failure is not None or (error is None and self._stage):
            return
        self.failure = error
        gone = Unavailable(f"The log cannot be written: {error!r}. The server ends; ask again in a moment.")
        self._closed = gone
        for submission in self._all_waiting():
            submission.fail(gone)
        for other in self._tasks:
            other.cancel()
        self.failed.set()

    def _all_waiting(self) -> list[Submission]:
        waiting = [*self._inflight, *(s for entry in self._appended for s in entry.submissions)]
        waiting += [submission for _, submission, _ in self._parked]
        while self._queue:
            waiting += self._queue.take(self._settings.queue_commands_max, self._settings.queue_bytes_max)
        self._appended.clear()
        self._parked.clear()
        return waiting


async def _taken_in_turns(steps: Step[T]) -> T:
    """Take all steps, each in a turn of its own: nothing but this changes the state that they look at."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found
        await asyncio.sleep(0)


def _is_searched(command: Command, change: Changes) -> bool:
    """Whether a search has to find what changed before it is acknowledged."""
    if isinstance(command, OF_EXECUTIONS):
        return False  # these change ten thousand executions at a time, and nothing that is searched for in the file
    return any(place[0] in WRITE_THROUGH and is_searched(place) for place in change.puts)


def _machine() -> StepwiseFold:
    from chronos.store.machine import apply_in_steps

    return apply_in_steps
