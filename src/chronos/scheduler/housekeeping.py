"""Once a minute: lets go of what has been kept long enough."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from chronos.errors import ChronosError
from chronos.scheduler.ports import Commands, Readings
from chronos.scheduler.settings import SchedulerSettings
from chronos.store.commands import ExpireDead

log = structlog.get_logger(__name__)

EVERY_S = 60.0
DAY_US = 86_400_000_000


class Housekeeper:
    """Proposes the end of dead letters that are old enough, and of what belongs to history that is gone."""

    def __init__(
        self, commands: Commands, readings: Readings, settings: SchedulerSettings, now_us: Callable[[], int]
    ) -> None:
        self._commands = commands
        self._readings = readings
        self._settings = settings
        self._now_us = now_us

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            now_us = self._now_us()
            dead_us = now_us - self._settings.dead_letter_days * DAY_US
            # As long as a segment is there, whatever it may speak of is.
            forgotten_us = min(now_us - int(self._settings.history_days * DAY_US), self._readings.history_begins_us())
            try:
                await self._commands.submit([ExpireDead(dead_us, forgotten_us=forgotten_us)])
            except ChronosError as error:
                log.warning("what is old is removed later", reason=str(error))
