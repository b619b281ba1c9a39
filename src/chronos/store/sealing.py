"""Seals each segment of history once nothing is written to it any more, in small pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from chronos.errors import ChronosError
from chronos.store import proof
from chronos.store.archive import FIRST, Archive
from chronos.store.commands import Command, Seal
from chronos.store.port import Result, View
from chronos.store.segment import SegmentInfo
from chronos.store.tables import META, Meta

log = structlog.get_logger("chronos.history")

EVERY_S = 60.0
ROWS_AT_ONCE = 100
REST_S = 0.005
"""Between two pieces of a few milliseconds: a day of a million rows takes some minutes, and nobody notices."""


class Proposing(Protocol):
    """Where commands are proposed; `CommandLog` is it."""

    @property
    def view(self) -> View: ...
    @property
    def time_us(self) -> int: ...
    def submit(self, commands: Sequence[Command]) -> asyncio.Future[list[Result]]: ...


class Sealing:
    """Proposes the seals that are missing, oldest first."""

    def __init__(self, archive: Archive, commands: Proposing) -> None:
        self._archive = archive
        self._commands = commands

    async def run(self, is_mine: Callable[[], bool] = lambda: True) -> None:
        """Take a turn every minute, until cancelled.

        Args:
            is_mine: Whether this node seals. One that does not, for another of its cluster does, closes all the same.
        """
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                if is_mine():
                    await self.turn()
                else:
                    await self._archive.close_due(self._commands.time_us)
            except ChronosError as error:
                log.warning("history_sealed_later", reason=str(error))

    async def turn(self) -> int:
        """Seal what is closed and not sealed; return how many segments that were.

        Segments are sealed in order, so one that is still written to lets those begun after it wait: a day at most.

        Raises:
            ChronosError: The log does not take a seal for the moment.
        """
        await self._archive.close_due(self._commands.time_us)
        sealed = 0
        for info in self._archive.infos:
            if info.number <= sealed_to(self._commands.view):
                continue
            if not info.closed_us:
                break
            seal = await seal_of(self._archive, info)
            if seal is None:
                break
            [result] = await self._commands.submit([seal])
            sealed += result.ok
        return sealed


def sealed_to(view: View) -> int:
    """Return the last segment that is sealed; 0 when none is."""
    return (view.get(META, "meta") or Meta()).sealed


async def seal_of(archive: Archive, info: SegmentInfo) -> Seal | None:
    """Return the seal of a closed segment; None when the segment is gone."""
    tree, executions, skipped = proof.Tree(), 0, 0
    after = FIRST
    while True:
        rows = await archive.rows(info.number, after, ROWS_AT_ONCE)
        if rows is None:
            return None
        if not rows:
            break
        for row in rows:
            tree.add(row.leaf)
        more = proof.planned(row.record for row in rows if row.record is not None)
        executions, skipped = executions + more[0], skipped + more[1]
        after = rows[-1].place
        await asyncio.sleep(REST_S)
    return Seal(
        info.number,
        tree.leaves,
        info.first_s,
        info.last_s,
        tree.root(),
        executions,
        skipped,
        info.opened_us,
        info.closed_us,
    )
