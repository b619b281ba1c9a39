"""Forgetting what no longer has to be in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog
from msgspec import Struct

from chronos.errors import StorageFull
from chronos.failpoints import reach
from chronos.store.port import Log
from chronos.store.state import State

log = structlog.get_logger("chronos.log")

ENTRIES_MAX = 1 << 40
MIB = 1 << 20


class TruncationSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept.

    Attributes:
        every_s: Seconds between two turns.
        reserve_entries: How many entries stay in the log though they are safe elsewhere …
        reserve_bytes: … as long as they weigh no more than this.
        held_bytes: How much the log may weigh for the sake of those who still need older entries.
        free_bytes: Less than this left on the disk, and nobody is waited for.
    """

    every_s: float = 10.0
    reserve_entries: int = 10_000
    reserve_bytes: int = 64 * MIB
    held_bytes: int = 128 * MIB
    free_bytes: int = 1024 * MIB


class Hold(NamedTuple):
    """Somebody whom truncation waits for, within bounds.

    Attributes:
        needs: Returns the first entry that they need; None when they need none.
    """

    name: str
    needs: Callable[[], int | None]


@dataclass
class LogStanding:
    """How the log stood at the last turn.

    Attributes:
        held: By name, how many entries are kept for somebody's sake.
        passed: Who needed entries that were let go all the same.
    """

    first: int = 0
    last: int = 0
    bytes: int = 0
    held: dict[str, int] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)

    @property
    def entries(self) -> int:
        """How many entries the log has."""
        return max(0, self.last - self.first + 1)


class Truncation:
    """Cuts the log below what is safe in state and history, minus a reserve, and minus what others still need.

    Args:
        quiet: Held by whoever needs the log to stay as it is for a while; no turn is taken then.
        holds: Who is waited for, within the bounds of the settings: the log never fills the disk for them.
        free_bytes: Returns what is left on the disk.
        standing: Told how the log stands.
    """

    def __init__(
        self,
        log: Log,
        state: State,
        epoch: Any,
        settings: TruncationSettings | None = None,
        *,
        quiet: asyncio.Lock | None = None,
        holds: Sequence[Hold] = (),
        free_bytes: Callable[[], int] | None = None,
        standing: LogStanding | None = None,
    ) -> None:
        self._quiet = quiet or asyncio.Lock()
        self._log = log
        self._state = state
        self._epoch = epoch
        self._settings = settings or TruncationSettings()
        self._holds = holds
        self._free_bytes = free_bytes
        self.standing = standing or LogStanding()

    async def run(self) -> None:
        """Take a turn now and then, until cancelled. A full disk is waited out: turns are what makes space."""
        while True:
            await asyncio.sleep(self._settings.every_s)
            try:
                await self.turn()
            except StorageFull:
                continue

    async def turn(self) -> int:
        """Checkpoint and truncate once; return the first entry the log may still have.

        What is not on disk in state *and* history stays in the log, whatever the log weighs.
        """
        async with self._quiet:
            return await self._turn()

    async def _turn(self) -> int:
        settings = self._settings
        durable = await self._state.checkpoint(patiently=True)
        keep_from = await self._log.keep_from(settings.reserve_entries, settings.reserve_bytes)
        below = await self._held_back(min(durable + 1, keep_from))
        first, _ = await self._log.bounds()
        if below > first:
            reach("truncation.before")
            await self._log.truncate(below, self._epoch)
        health = await self._log.health()
        self.standing.first, self.standing.last, self.standing.bytes = health.first, health.last, health.bytes
        return max(below, first)

    async def _held_back(self, below: int) -> int:
        """Return from where on entries stay, of which those from `below` on stay in any case."""
        needs = {hold.name: first for hold in self._holds if (first := hold.needs()) is not None and first < below}
        kept_from = below
        if needs and await self._has_room():
            bound = await self._log.keep_from(ENTRIES_MAX, self._settings.held_bytes)
            kept_from = min(below, max(bound, min(needs.values())))
        self.standing.held = {name: below - max(first, kept_from) for name, first in needs.items()}
        self._note_passed({name for name, first in needs.items() if first < kept_from}, kept_from)
        return kept_from

    async def _has_room(self) -> bool:
        if self._free_bytes is None:
            return True
        return await asyncio.to_thread(self._free_bytes) >= self._settings.free_bytes

    def _note_passed(self, passed: set[str], below: int) -> None:
        for name in sorted(passed - self.standing.passed):
            log.warning("log_cut_past", who=name, below=below, held_bytes=self._settings.held_bytes)
        self.standing.passed = passed
