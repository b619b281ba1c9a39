"""Events to features: after commit, one at a time, each subscriber behind a bounded queue of its own.

A durable subscriber keeps a cursor in the log's documents. After a crash, or when its queue ran over, it is told of the
gap (`EventType.GAP`), and looks at the state as it is; then what ended or was skipped meanwhile is read from history:
of that it hears at least once, and now and then twice. Of anything else in the gap it is told nothing more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Self

import structlog

from chronos.errors import ChronosError
from chronos.model.events import Event, EventType
from chronos.model.execution import TERMINAL, Execution, RangeRecord
from chronos.server.collections import Cursor, DocumentCollection
from chronos.store.queries import ALL, LIMIT_MAX
from chronos.telemetry import Telemetry
from chronos.timing.clock import Clock

if TYPE_CHECKING:
    from chronos.store.commandlog import CommandLog
    from chronos.store.queries import Queries

log = structlog.get_logger("chronos.events")

Handler = Callable[[Event], Awaitable[None]]

CURSOR_EVERY_S = 1.0
RETRY_FIRST_S = 1.0
RETRY_MAX_S = 60.0
PAGES_MAX = 50
STOP_S = 5.0


class Subscriber:
    """Somebody who listens, and the queue before him."""

    def __init__(
        self,
        types: frozenset[EventType],
        handler: Handler,
        *,
        durable: str,
        bound: int,
        wants: Callable[[Event], bool] | None = None,
    ) -> None:
        self.types = types
        self.handler = handler
        self.durable = durable
        self.bound = bound
        self.wants = wants
        self.queue: deque[Event] = deque()
        self.wake = asyncio.Event()
        self.is_behind = False
        self.is_making_up = False
        self.handled: Event | None = None
        self.since_us = 0
        self.index = 0  # the entry up to which everything was handled, as far as its cursor says

    @property
    def needs(self) -> int | None:
        """The first entry of which not everything was handled; None when there is none."""
        return self.index + 1 if self.queue or self.is_behind or self.is_making_up else None

    def offer(self, event: Event) -> bool:
        """Take `event` into the queue; return False when it had to be dropped."""
        if self.is_behind:
            return True  # history will tell
        if self._is_of_no_interest(event):
            self.handled = event  # there is nothing left to do up to here
            return True
        if len(self.queue) >= self.bound:
            self.is_behind = bool(self.durable)
            self.wake.set()
            return self.is_behind
        self.queue.append(event)
        self.wake.set()
        return True

    def _is_of_no_interest(self, event: Event) -> bool:
        # Asked only when everything before has been handled: what is still waiting may change the answer.
        is_up_to_date = not self.queue and not self.is_making_up
        return is_up_to_date and self.wants is not None and not self.wants(event)


class Subscribers:
    """Every subscriber of this node. `async with` starts them, after the log and before the scheduler.

    Attributes:
        is_asleep: Nobody is told of anything.
    """

    def __init__(
        self,
        commands: CommandLog,
        queries: Queries,
        cursors: DocumentCollection[Cursor],
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._commands = commands
        self._queries = queries
        self._cursors = cursors
        self._clock = clock
        self._telemetry = telemetry
        self._all: list[Subscriber] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.is_asleep = False
        commands.subscribe(self._on_events)

    def add(self, subscriber: Subscriber) -> None:
        self._all.append(subscriber)

    @property
    def durable(self) -> list[Subscriber]:
        """Those that keep a cursor."""
        return [subscriber for subscriber in self._all if subscriber.durable]

    async def __aenter__(self) -> Self:
        self._stopping = self.is_asleep = False
        for subscriber in self._all:
            if subscriber.durable:
                await self._resume(subscriber)
            self._tasks.append(asyncio.create_task(self._run(subscriber), name=f"events {subscriber.durable}"))
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stopping = True
        for subscriber in self._all:
            subscriber.wake.set()
        tasks, self._tasks = self._tasks, []
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for subscriber in self._all:
            await self._move_cursor(subscriber)

    def sleep(self) -> None:
        """Hear of nothing until they are entered again: another node's subscribers do. Their cursors stay."""
        self.is_asleep = True
        for subscriber in self._all:
            subscriber.queue.clear()
            subscriber.handled = None
            subscriber.is_behind = subscriber.is_making_up = False

    def _on_events(self, events: Sequence[Event]) -> None:
        if self.is_asleep:
            return
        types = {event.type for event in events}
        for subscriber in self._all:
            if types.isdisjoint(subscriber.types):
                continue
            for event in events:
                if event.type in subscriber.types and not subscriber.offer(event):
                    self._telemetry.count("events_dropped_total")

    async def _resume(self, subscriber: Subscriber) -> None:
        cursor = await self._cursors.get(subscriber.durable)
        if cursor is not None:
            subscriber.since_us, subscriber.index = cursor.time_us, cursor.index
            subscriber.is_behind = cursor.time_us < self._commands.time_us
            return
        # New here: what happened before it was installed is no business of his.
        subscriber.since_us, subscriber.index = self._commands.time_us, self._commands.applied
        start = Cursor(index=subscriber.index, seq=0, time_us=subscriber.since_us)
        await self._cursors.put(subscriber.durable, start, by="server")

    async def _run(self, subscriber: Subscriber) -> None:
        moved_at = self._clock.boottime()
        while not (self._stopping and not subscriber.queue):
            await self._rest(subscriber)
            while subscriber.queue:
                await self._handle(subscriber, subscriber.queue[0])
                subscriber.queue.popleft()
                if subscriber.durable and self._clock.boottime() - moved_at > CURSOR_EVERY_S:
                    await self._move_cursor(subscriber)
                    moved_at = self._clock.boottime()
            if subscriber.is_behind and not self._stopping:
                await self._make_up(subscriber)

    async def _rest(self, subscriber: Subscriber) -> None:
        if subscriber.queue or subscriber.is_behind:
            return
        subscriber.wake.clear()
        try:
            async with asyncio.timeout(CURSOR_EVERY_S if subscriber.durable else None):
                await subscriber.wake.wait()
        except TimeoutError:
            await self._move_cursor(subscriber)

    async def _handle(self, subscriber: Subscriber, event: Event) -> None:
        delay_s = RETRY_FIRST_S
        while True:
            try:
                await subscriber.handler(event)
            except Exception:  # the edge of a subscriber: one that fails must not stop the others
                log.exception("subscriber_failed", event_type=event.type.value, durable=subscriber.durable)
                if not subscriber.durable or self._stopping:
                    return
                await asyncio.sleep(delay_s)
                delay_s = min(RETRY_MAX_S, delay_s * 2)
            else:
                if event.type is not EventType.GAP:  # what lies in it is still to be told
                    subscriber.handled = event
                return

    async def _move_cursor(self, subscriber: Subscriber) -> None:
        event = subscriber.handled
        if event is None or not subscriber.durable:
            return
        subscriber.handled = None
        subscriber.since_us, subscriber.index = event.time_us, event.index
        cursor = Cursor(index=event.index, seq=event.seq, time_us=event.time_us)
        try:
            await self._cursors.put(subscriber.durable, cursor, by="server")
        except ChronosError as exc:
            log.warning("cursor_not_moved", durable=subscriber.durable, reason=str(exc))

    async def _make_up(self, subscriber: Subscriber) -> None:
        """Tell of the gap, and what ended in it, from history; then listen again."""
        await self._move_cursor(subscriber)
        log.info("subscriber_catching_up", durable=subscriber.durable)
        subscriber.is_behind = False  # from here on the queue fills again; what is told twice does no harm
        subscriber.is_making_up = True
        if EventType.GAP in subscriber.types:
            await self._handle(subscriber, self._gap(subscriber))
        async for event in self._missed(subscriber):
            await self._handle(subscriber, event)
        subscriber.is_making_up = False

    def _gap(self, subscriber: Subscriber) -> Event:
        return Event(
            type=EventType.GAP,
            index=self._commands.applied,
            seq=0,
            time_us=self._commands.time_us,
            since_index=subscriber.index + 1,
            note="What happened in between is told as far as history knows it; anything else, look up.",
        )

    async def _missed(self, subscriber: Subscriber) -> AsyncIterator[Event]:
        found: list[Event] = []
        cursor, since_us = "", subscriber.since_us
        for _ in range(PAGES_MAX):
            page = await self._queries.executions(
                ALL, statuses=tuple(TERMINAL), ended_since_us=since_us, cursor=cursor, limit=LIMIT_MAX
            )
            events = [_event_of(record, subscriber.index) for record in page.items]
            found += [e for e in events if e.type in subscriber.types and e.time_us >= since_us]
            cursor = page.cursor
            if not cursor:
                break
        else:
            log.warning("events_lost", durable=subscriber.durable, reason="more ended than are looked at")
        for event in sorted(found, key=lambda e: e.time_us):
            yield event


def _event_of(record: Execution | RangeRecord, index: int) -> Event:
    """Return the event that a record tells of; nobody knows its entry any more, but that it lies behind `index`."""
    if isinstance(record, Execution):
        return Event(
            type=EventType.EXECUTION_FINISHED,
            index=index,
            seq=0,
            time_us=record.ended_at_us,
            namespace=record.namespace,
            job_id=record.job_id,
            execution=record,
        )
    return Event(
        type=EventType.RANGE_SKIPPED,
        index=index,
        seq=0,
        time_us=record.decided_at_us,
        namespace=record.namespace,
        job_id=record.job_id,
        range=record,
    )
