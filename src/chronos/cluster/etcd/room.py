"""Sees to it that a member's engine has room, and knows how the engine is. Each member looks after its own.

Nobody is asked for leave, and nothing is written for it: a full engine takes no writes, so whoever needed one, to take
the lead for instance, would wait for ever. What is done is safe whoever leads, and done twice does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from chronos.cluster.etcd.members import EtcdStatus, Members
from chronos.cluster.etcd.probe import EngineLook, EngineMetrics, Fsyncs
from chronos.cluster.etcd.space import Space, Step, is_turn, needed
from chronos.errors import ChronosError, Conflict, LogFailed, Unavailable
from chronos.timing.clock import Clock

log = structlog.get_logger("chronos.engine")

LOOK_S = 2.0
SLOT_S = 60.0
"""Members write their files anew one after the other; one of 4 GiB takes less than half of this."""
SOON_S = 5.0
"""The same for what holds nobody up, or not more than a full engine does already."""
FOREIGN_S = 20.0
"""How long the alarm of another member is left to that one; it may be the one that has died."""
RESERVE_PART = 16
"""The part of the quota (one in so many) that entries may take which stay though most members have them."""
SPARE = 0.9
"""A file that weighs less than this part of the quota has room again."""


class RoomLog(Protocol):
    """What can be done for room without leading (`EtcdLog`)."""

    async def forget_what_is_safe(self, reserve_bytes: int) -> None: ...

    async def compact(self) -> None: ...


class Room:
    """One member's engine, looked after.

    Args:
        measure: Returns the engine's numbers; None while it does not answer.

    Attributes:
        last: The last look; None before there was one.
    """

    def __init__(
        self,
        shared: RoomLog,
        members: Members,
        measure: Callable[[], Awaitable[EngineMetrics | None]],
        clock: Clock,
        *,
        slot_s: float = SLOT_S,
        soon_s: float = SOON_S,
        foreign_s: float = FOREIGN_S,
    ) -> None:
        self._log = shared
        self._members = members
        self._measure = measure
        self._clock = clock
        self._slot_s, self._soon_s, self._foreign_s = slot_s, soon_s, foreign_s
        self._full_since_s: float | None = None
        self.last: EngineLook | None = None

    async def keep_for_ever(self) -> None:
        """Look, and do what is needed, now and then. What cannot be done now is tried at the next look."""
        while True:
            try:
                await self.turn()
            except LogFailed:
                raise
            except ChronosError as error:
                log.info("engine_room_waits", reason=str(error))
            await asyncio.sleep(min(LOOK_S, self._soon_s / 4))  # or every look might miss the slot

    async def turn(self) -> Step:
        """Look once, do what is needed if it is this member's turn, and return what was.

        Raises:
            ChronosError: The engine does not answer, or another was quicker.
        """
        metrics = await self._measure()
        if metrics is None:
            raise Unavailable("The engine does not tell its numbers.")
        status, full = await self._members.status(), await self._members.full()
        now_s = self._clock.boottime()
        fsync_s = metrics.fsync.since(self.last.metrics.fsync if self.last else Fsyncs()).quantile(0.99)
        self.last = EngineLook(now_s, metrics, tuple(full), status.alarms, status.behind, fsync_s)
        if not full:
            self._full_since_s = None
        elif self._full_since_s is None:
            self._full_since_s = now_s
            log.error("engine_full", db_bytes=metrics.db_bytes, quota_bytes=metrics.quota_bytes)
        space = metrics.space(is_full=bool(full))
        step = needed(space)
        slot_s = self._slot_s if step is Step.DEFRAGMENT else self._soon_s
        if step is not Step.NOTHING and await self._is_turn(status.id, slot_s):
            await self._do(step, space, status)
        return step

    async def _is_turn(self, own: int, slot_s: float) -> bool:
        ids = sorted(one.id for one in await self._members.all())
        return own in ids and is_turn(self._clock.time(), ids.index(own), len(ids), slot_s)

    async def _do(self, step: Step, space: Space, status: EtcdStatus) -> None:
        log.info("engine_room", step=step.value, db_bytes=space.db_bytes, in_use_bytes=space.in_use_bytes)
        match step:
            case Step.TRUNCATE:
                await self._forget(space)
            case Step.DEFRAGMENT:
                await self._write_anew(status)
            case Step.RECOVER:
                await self._recover(status)
            case Step.NOTHING:
                pass

    async def _forget(self, space: Space) -> None:
        await self._log.compact()
        await self._log.forget_what_is_safe(space.quota_bytes // RESERVE_PART)

    async def _write_anew(self, status: EtcdStatus) -> None:
        if status.leader == status.id:
            await self._hand_on(status.id)
        await self._members.defragment()

    async def _hand_on(self, own: int) -> None:
        """Let another member lead etcd, which must not stand still; where none can, this one goes on leading."""
        others = [one.id for one in await self._members.all() if one.id != own and one.name and not one.is_learner]
        for other in others:
            try:
                await self._members.move_leader(other)
            except (Unavailable, Conflict) as error:
                log.info("engine_lead_kept", reason=str(error))
            else:
                return

    async def _recover(self, status: EtcdStatus) -> None:
        """Make room in this member's file; lift its alarm, and in time those of members that do not do so."""
        await self._log.compact()
        space = await self._space()
        if needed(space) is Step.TRUNCATE:
            await self._forget(space)
        if space.db_bytes >= space.quota_bytes // 2:
            await self._members.defragment()
            space = await self._space()
        if space.db_bytes >= SPARE * space.quota_bytes:
            log.error("engine_still_full", db_bytes=space.db_bytes, in_use_bytes=space.in_use_bytes)
            return
        since_s = self._full_since_s if self._full_since_s is not None else self._clock.boottime()
        is_overdue = self._clock.boottime() - since_s >= self._foreign_s
        lifted = await self._members.disarm(*(() if is_overdue else (status.id,)))
        log.info("engine_has_room", db_bytes=space.db_bytes, alarms_lifted=lifted)

    async def _space(self) -> Space:
        metrics = await self._measure()
        if metrics is None:
            raise Unavailable("The engine does not tell its numbers.")
        return metrics.space(is_full=False)
