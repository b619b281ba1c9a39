"""Looks at the clock once a second: says when it jumps or is held, and lets people vouch for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from msgspec import Struct

from chronos.errors import ChronosError
from chronos.store.commandlog import CommandLog
from chronos.store.commands import ClockNote, NoteClock, ResetClock
from chronos.store.tables import SHARDS, Shard
from chronos.timing.trusted import ClockState, TrustedClock

log = structlog.get_logger("chronos.clock")

LOOK_S = 1.0
SILENT_S = 1.0
"""The mark is set ahead by the claim's lead; what is beyond this is a clock that was set back."""


class ClockStanding(Struct, frozen=True, kw_only=True):
    """How planning and the wall clock stand to each other.

    Attributes:
        state: Whether the wall clock is believed.
        silent_until_s: Set when the clock lies behind what is decided already: nothing fires until then.
    """

    state: ClockState
    silent_until_s: int | None

    @property
    def hold_seconds(self) -> float:
        """How far apart they are while planning is held or silent, at least 1; 0 while all is well."""
        if self.state.held:
            return max(1.0, self.state.wall - self.state.trusted)
        return 0.0 if self.silent_until_s is None else self.silent_until_s - self.state.trusted

    @property
    def note(self) -> str:
        """A sentence for an administrator with what to do; empty while all is well."""
        if not self.state.held:
            if self.silent_until_s is None:
                return ""
            return (
                f"The clock is {self.hold_seconds:.0f} s behind what is decided already; nothing fires until then. "
                "If the clock is right now, `chronosctl clock reset` plans from now on."
            )
        wait = "" if self.state.needs_accept else " Or it ends by itself once the kernel calls its clock synchronised."
        return (
            f"{self.state.reason} Planning goes on from before the gap. If the wall clock is right, "
            f"`chronosctl clock accept` ends the hold; if it is wrong, set it right.{wait}"
        )


class ClockWatch:
    """What the node knows of its clock, and what people may do about it.

    Args:
        synchronised: Asks the kernel; answers at once.
    """

    def __init__(self, clock: TrustedClock, commands: CommandLog, synchronised: Callable[[], bool]) -> None:
        self._clock = clock
        self._commands = commands
        self._synchronised = synchronised
        self._jumps = 0
        self._held = False

    def standing(self) -> ClockStanding:
        """Return how the clock stands now."""
        state = self._clock.state()
        shard = self._commands.view.get(SHARDS, "0") or Shard()
        is_silent = shard.hwm_s > state.trusted + SILENT_S
        return ClockStanding(state=state, silent_until_s=shard.hwm_s if is_silent else None)

    async def run(self) -> None:
        """Look for as long as the node lives."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Take the kernel's word, and say what is new."""
        state = self._clock.state()
        if state.held:
            self._clock.note_synchronised(self._synchronised())
            state = self._clock.state()
        if state.held != self._held:
            self._held = state.held
            self._say_held()
        if state.jumps != self._jumps:
            self._jumps = state.jumps
            await self._tell_jump(state)

    async def accept(self, *, by: str) -> None:
        """Believe the wall clock from now on; who said so is written down first.

        Raises:
            ChronosError: It could not be written down; nothing has changed.
        """
        await self._commands.propose(NoteClock(ClockNote.ACCEPTED, by, self._clock.state().reason))
        self._clock.accept()
        log.warning("clock_accepted", by=by)

    async def reset(self, *, by: str) -> None:
        """Plan from now on, whatever was decided before, in a new restore epoch.

        Raises:
            ChronosError: It could not be written down; nothing has changed.
        """
        await self._commands.propose(ResetClock(int(self._clock.time()), by))
        log.warning("clock_reset", by=by)

    def _say_held(self) -> None:
        if self._held:
            log.error("clock_held", what=self.standing().note)
        else:
            log.warning("clock_released")

    async def _tell_jump(self, state: ClockState) -> None:
        log.warning("clock_jumped", seconds=round(state.last_jump), held=state.held)
        note = f"The wall clock jumped ahead by {state.last_jump:.0f} s."
        try:
            await self._commands.propose(NoteClock(ClockNote.JUMP, "server", note))
        except ChronosError as error:  # the log has said it; the event is for those who listen
            log.warning("clock_jump_not_recorded", reason=str(error))
