"""The live view: what happens, to everybody who watches, each behind a queue of their own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from chronos.model.events import Event, EventType
from chronos.server.rest.documents import execution_document

RING = 1_000
QUEUE = 1_000
WATCHERS_MAX = 200
HEARTBEAT_S = 15.0

SHOWN = frozenset(
    {
        EventType.EXECUTION_DECIDED,
        EventType.EXECUTION_STARTED,
        EventType.EXECUTION_RETRYING,
        EventType.EXECUTION_PROGRESS,
        EventType.EXECUTION_CANCELLING,
        EventType.EXECUTION_FINISHED,
        EventType.EXECUTION_REDRIVEN,
        EventType.JOB_CREATED,
        EventType.JOB_UPDATED,
        EventType.JOB_DELETED,
        EventType.JOB_PAUSED,
        EventType.JOB_RESUMED,
    }
)

Wanted = Callable[[Event], bool]
Mark = tuple[int, int]


class Live:
    """Hands committed events to watchers. One that cannot keep up is told of the gap and goes on behind it."""

    def __init__(self) -> None:
        self._ring: deque[Event] = deque(maxlen=RING)
        self._watchers: set[_Watcher] = set()
        self._closed = False
        self._on_close: list[Callable[[], None]] = []

    def on_events(self, events: Sequence[Event]) -> None:
        """Take note of what was committed, of what is `SHOWN`. Called on the event loop; returns at once."""
        self._ring.extend(events)
        for watcher in self._watchers:
            for event in events:
                watcher.offer(event)

    def known(self) -> list[Event]:
        """Return the last events, the oldest first."""
        return list(self._ring)

    def begin_with(self, events: Sequence[Event]) -> None:
        """Take what was `known` elsewhere for what happened last; those who watch already have missed something."""
        self._ring.clear()
        self._ring.extend(events)
        for watcher in self._watchers:
            watcher.miss()

    def when_closed(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the streams are ended."""
        self._on_close.append(listener)

    @property
    def is_full(self) -> bool:
        return self._closed or len(self._watchers) >= WATCHERS_MAX

    def close(self) -> None:
        """End every stream; new ones end at once."""
        self._closed = True
        for watcher in self._watchers:
            watcher.wake.set()
        for listener in self._on_close:
            listener()

    async def watch(self, wanted: Wanted, *, after: Mark | None) -> AsyncIterator[bytes]:
        """Yield server-sent events for as long as the client stays.

        Args:
            after: The last event the client has seen; what came after it is sent first, as far as it is
                still known, else a `gap`.
        """
        watcher = _Watcher(wanted)
        if after is not None:
            watcher.catch_up(self._ring, after)
        self._watchers.add(watcher)
        try:
            yield b": watching\n\n"
            while not self._closed:
                for event in watcher.take():
                    yield event
                await watcher.rest()
                if not watcher.wake.is_set():
                    yield b": heartbeat\n\n"
        finally:
            self._watchers.discard(watcher)


class _Watcher:
    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._queue: deque[Event] = deque()
        self._missed = False
        self.wake = asyncio.Event()

    def offer(self, event: Event) -> None:
        if not self._wanted(event):
            return
        if len(self._queue) >= QUEUE:
            self._queue.clear()
            self._missed = True
        self._queue.append(event)
        self.wake.set()

    def miss(self) -> None:
        self._missed = True
        self.wake.set()

    def catch_up(self, ring: Sequence[Event], after: Mark) -> None:
        if not ring or _mark(ring[0]) > after:
            self._missed = True
        for event in ring:
            if _mark(event) > after:
                self.offer(event)
        if self._missed:
            self.wake.set()

    def take(self) -> list[bytes]:
        self.wake.clear()
        frames = (
            [b'event: gap\ndata: {"reason":"events were missed; read the lists again"}\n\n'] if self._missed else []
        )
        self._missed = False
        frames.extend(_frame(event) for event in self._queue)
        self._queue.clear()
        return frames

    async def rest(self) -> None:
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                await self.wake.wait()
        except TimeoutError:
            pass


def parse_mark(text: str) -> Mark | None:
    """Return the mark in a `Last-Event-ID`; None when it is not one of ours."""
    index, _, seq = text.partition(".")
    if index.isdigit() and seq.isdigit() and len(text) <= 40:
        return int(index), int(seq)
    return None


def _mark(event: Event) -> Mark:
    return event.index, event.seq


def _frame(event: Event) -> bytes:
    if event.execution is not None:
        data = msgspec.json.encode(execution_document(event.execution))
    else:
        name = event.job.name if event.job is not None else ""
        data = msgspec.json.encode({"job_id": event.job_id, "job_name": name, "namespace": event.namespace})
    return b"id: %d.%d\nevent: %s\ndata: %s\n\n" % (event.index, event.seq, event.type.value.encode(), data)
