"""What waits to be sent: kept as documents until it has arrived or is lost, and tried again in between."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog
from msgspec.structs import replace

from chronos.errors import ChronosError, VersionConflict
from chronos.features.notify.courier import Courier, described
from chronos.features.notify.model import (
    LOST_MAX,
    OUTBOX_MAX,
    WINDOW_US,
    Addressed,
    Digest,
    Lost,
    Notice,
    Queued,
    kind_of,
)
from chronos.features.notify.port import Result, Sent
from chronos.features.notify.rules import RateWindow, digest_notice, retry_us, to_send, with_notice
from chronos.plugin import Collection
from chronos.telemetry import Telemetry
from chronos.timing.clock import Clock

BY = "notify"
AT_ONCE = 8
IDLE_US = 60_000_000
STUMBLE_US = 5_000_000
SENT_MAX = 2_000

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Shelves:
    """The documents the outbox keeps."""

    waiting: Collection[Queued]
    digests: Collection[Digest]
    lost: Collection[Lost]


class Outbox:
    """Sends what is put into it, on the node that leads.

    `load` takes over what an earlier leader left; `drop` forgets it, the documents stay.

    Args:
        max_attempts: After this many tries a notice is lost.
        max_per_5m: Messages on one channel before the rest is put into a digest.
    """

    def __init__(
        self,
        shelves: Shelves,
        courier: Courier,
        clock: Clock,
        telemetry: Telemetry,
        *,
        max_attempts: int = 12,
        max_per_5m: int = 10,
    ) -> None:
        self._shelves = shelves
        self._courier = courier
        self._clock = clock
        self._telemetry = telemetry
        self._max_attempts = max_attempts
        self._window = RateWindow(max_per_5m)
        self._waiting: dict[str, Queued] = {}
        self._in_flight: dict[str, Queued] = {}
        self._sent: dict[str, None] = {}
        self._digests: dict[str, Digest] = {}
        self._closed: dict[str, Digest] = {}
        self._not_before: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._is_open = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._is_open = True
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def load(self) -> None:
        """Take over everything that waits; a digest begun by somebody else is told at once."""
        self._waiting = {queued.key: queued for _, queued in await self._shelves.waiting.items()}
        self._closed = {digest.id: digest for _, digest in await self._shelves.digests.items()}
        self._wake.set()

    def drop(self) -> None:
        """Forget what waits, because another node leads now. What is being sent still arrives."""
        self._waiting.clear()
        self._digests.clear()
        self._closed.clear()

    async def put(self, notice: Notice, to: Addressed) -> bool:
        """Make sure `notice` gets to `to`; return whether on its own, not in a digest.

        Putting it again puts it once while it waits, and for the last 2,000 that were sent.
        """
        queued = Queued(notice=notice, to=to, queued_at_us=notice.at_us)
        if queued.key in self._waiting or queued.key in self._sent:
            return True
        if not self._window.admit(to.key, notice.at_us):
            await self._digest(notice, to)
            return False
        if len(self._waiting) >= OUTBOX_MAX:
            await self._lose(queued, f"{OUTBOX_MAX:,} notices were waiting already")
        else:
            await self._enqueue(queued)
        return True

    async def _enqueue(self, queued: Queued) -> None:
        try:
            await self._shelves.waiting.put(queued.key, queued, by=BY, namespace=queued.notice.namespace, expect=0)
        except VersionConflict:
            return  # it waits already; whoever leads has it
        self._waiting[queued.key] = queued
        self._wake.set()

    async def _digest(self, notice: Notice, to: Addressed) -> None:
        digest = self._digests.get(to.key) or Digest(
            id=f"digest-{notice.id}", to=to, namespace=notice.namespace, since_us=self._now_us()
        )
        digest, is_news = with_notice(digest, notice)
        self._digests[to.key] = digest
        self._count(to, notice, "suppressed")
        if is_news:
            # Only more of the same is not written down at once: a crash may make a count too low, no more.
            await self._shelves.digests.put(digest.id, digest, by=BY, namespace=digest.namespace)
            self._wake.set()

    def _start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="notify outbox")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or not self._is_open:
            return
        # A bug. What was under way waits a minute, so that it cannot stop the rest for ever.
        _log.error("sending notices broke off; it goes on", exc_info=task.exception())
        for queued in self._in_flight.values():
            self._hold_back(queued, self._now_us() + IDLE_US)
        self._in_flight.clear()
        self._start()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            rest_us = await self._turn()
            try:
                async with asyncio.timeout(rest_us / 1e6):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _turn(self) -> int:
        """Send what may go out now; return the microseconds until there may be more to do."""
        now_us = self._now_us()
        try:
            await self._flush_digests(now_us)
        except ChronosError as refused:
            _log.warning("a digest could not be queued; it is tried again", reason=str(refused))
            return STUMBLE_US
        chosen, _ = to_send(self._waiting.values(), self._not_before, now_us, at_most=AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for queued in chosen:
                group.create_task(self._try(queued))
        return self._rest_us()

    def _rest_us(self) -> int:
        now_us = self._now_us()
        left, next_us = to_send(self._waiting.values(), self._not_before, now_us, at_most=1)
        self._not_before = {key: at for key, at in self._not_before.items() if at > now_us}
        self._window.forget_before(now_us)
        if left:
            return 0
        ends = [digest.since_us + WINDOW_US for digest in self._digests.values()]
        return max(0, min([now_us + IDLE_US, *ends, *([] if next_us is None else [next_us])]) - now_us)

    async def _flush_digests(self, now_us: int) -> None:
        for key in [k for k, digest in self._digests.items() if digest.since_us + WINDOW_US <= now_us]:
            digest = self._digests.pop(key)
            self._closed[digest.id] = digest
        for digest in list(self._closed.values()):
            await self._enqueue(Queued(notice=digest_notice(digest, now_us), to=digest.to, queued_at_us=now_us))
            await self._shelves.digests.delete(digest.id, by=BY, namespace=digest.namespace)
            self._closed.pop(digest.id, None)

    async def _try(self, queued: Queued) -> None:
        self._in_flight[queued.key] = queued
        result = await self._courier.carry(queued.notice, queued.to)
        try:
            await self._settle(replace(queued, attempts=queued.attempts + 1), result)
        except ChronosError as refused:
            # Not written down, so it will be sent again: twice told is better than not told.
            _log.warning("a notice's outcome was not recorded", notice=queued.notice.id, reason=str(refused))
            self._hold_back(queued, self._now_us() + STUMBLE_US)
        del self._in_flight[queued.key]

    async def _settle(self, queued: Queued, result: Result) -> None:
        if isinstance(result, Sent):
            await self._remove(queued)
            self._remember(queued.key)
            self._count(queued.to, queued.notice, "sent")
        elif result.permanent or queued.attempts >= self._max_attempts:
            await self._lose(queued, result.reason)
            await self._remove(queued)
        else:
            wait_us = max(retry_us(queued.attempts, queued.key), int(min(result.retry_after_s, 3_600) * 1e6))
            later = replace(queued, not_before_us=self._now_us() + wait_us)
            await self._shelves.waiting.put(queued.key, later, by=BY, namespace=queued.notice.namespace)
            self._hold_back(later, later.not_before_us)
            self._count(queued.to, queued.notice, "retried")

    async def _remove(self, queued: Queued) -> None:
        await self._shelves.waiting.delete(queued.key, by=BY, namespace=queued.notice.namespace)
        self._waiting.pop(queued.key, None)

    def _remember(self, key: str) -> None:
        self._sent[key] = None
        while len(self._sent) > SENT_MAX:
            del self._sent[next(iter(self._sent))]

    def _hold_back(self, queued: Queued, until_us: int) -> None:
        if queued.key in self._waiting:
            self._waiting[queued.key] = replace(queued, not_before_us=until_us)
        self._not_before[queued.to.key] = until_us

    async def _lose(self, queued: Queued, reason: str) -> None:
        lost = Lost(
            notice=queued.notice,
            channel=described(self._courier.channel(queued.to)),
            reason=reason,
            attempts=queued.attempts,
            at_us=self._now_us(),
        )
        _log.error(
            "a notice was lost",
            notice=queued.notice.id,
            job=queued.notice.job_name,
            channel=lost.channel,
            reason=reason,
            attempts=lost.attempts,
        )
        self._count(queued.to, queued.notice, "lost")
        await self._make_room()
        await self._shelves.lost.put(queued.key, lost, by=BY, namespace=queued.notice.namespace)

    async def _make_room(self) -> None:
        kept = await self._shelves.lost.items()
        for key, lost in sorted(kept, key=lambda item: item[1].at_us)[: max(0, len(kept) - LOST_MAX + 1)]:
            await self._shelves.lost.delete(key, by=BY, namespace=lost.notice.namespace)

    def _count(self, to: Addressed, notice: Notice, outcome: str) -> None:
        channel = kind_of(self._courier.channel(to))
        self._telemetry.count("notifications_total", channel=channel, event=notice.kind.value, outcome=outcome)

    def _now_us(self) -> int:
        return int(self._clock.time() * 1_000_000)
