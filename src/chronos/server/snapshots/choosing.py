"""From whom a snapshot is fetched: the member that has come furthest, and another one when that does not work out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import structlog
from msgspec import Struct

from chronos.errors import ChronosError, Unavailable
from chronos.server.snapshots.calls import STANDING, AskStanding, Offered
from chronos.server.snapshots.fetching import YARD, Asked, Fetched, OnBytes, fetch

log = structlog.get_logger("chronos.snapshots")

ROUNDS_MAX = 500
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
"""Between two rounds; all of them together take about an hour when nobody is there."""

FROM = "from"
"""Remembers in the yard whose snapshot it is that is half here."""


class Others(Protocol):
    """The other members, as `PeerNet` knows them."""

    def others(self) -> list[str]:
        """Return their names."""
        ...

    def lane(self, node: str) -> AbstractAsyncContextManager[Asked]:
        """Yield a connection of its own to one of them."""
        ...


class Stage(Struct):
    """How far a fetch has come, for people.

    Attributes:
        node: Whose snapshot it is; empty while nobody has one.
        bytes: Of it that are here; `of_bytes` are wanted.
        trouble: Why it does not go on; empty while it does.
    """

    node: str = ""
    bytes: int = 0
    of_bytes: int = 0
    trouble: str = ""

    def __str__(self) -> str:
        if not self.node:
            return self.trouble or "The members are asked how far they have come."
        share = f"{100 * self.bytes // self.of_bytes} % of {self.of_bytes / 1e6:.1f} MB" if self.of_bytes else "begins"
        return f"State and history are fetched from {self.node}: {share}." + (
            f" {self.trouble}" if self.trouble else ""
        )


class NoSnapshot(Unavailable):
    """No member that is reached has a state from which the log goes on."""


async def fetch_from_anybody(
    members: Others,
    data: Path,
    *,
    first: Callable[[], Awaitable[int]],
    on_offered: Callable[[Offered], Awaitable[None]],
    stage: Stage,
) -> Fetched:
    """Fetch a snapshot of a member into the data folder `data`, whoever has one; `stage` says how far it is.

    Args:
        first: Returns the first entry that the log still has: a snapshot has to reach up to the one before it.

    Raises:
        NoSnapshot: Nobody had one in `ROUNDS_MAX` rounds, or there was no room for it.
    """
    pause_s = FIRST_PAUSE_S
    for _ in range(ROUNDS_MAX):
        try:
            above = await first() - 1
            for node in await furthest(members, data, above):
                fetched = await _from(node, members, data, above, on_offered, stage)
                if fetched is not None and fetched.applied >= await first() - 1:
                    return fetched
        except Unavailable as error:  # there is nobody to ask what the log still has
            stage.trouble = str(error)
        stage.trouble = stage.trouble or str(NoSnapshot())
        log.warning("no_snapshot_yet", reason=stage.trouble, again_in_s=pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    raise NoSnapshot(f"{NoSnapshot()} {stage.trouble}")


async def furthest(members: Others, data: Path, above: int) -> list[str]:
    """Return the members that have come to entry `above` at least, furthest first.

    The one whose snapshot is half here stands before all.
    """
    names = members.others()
    standing = await asyncio.gather(*(_standing(members, node) for node in names))
    begun = _begun_with(data)
    reached = {node: applied for node, applied in zip(names, standing, strict=True) if applied >= max(above, 1)}
    return sorted(reached, key=lambda node: (node != begun, -reached[node], node))


async def _standing(members: Others, node: str) -> int:
    """Return the last entry that a member has folded; -1 when it does not say."""
    try:
        async with members.lane(node) as lane:
            return (await lane.call(STANDING, AskStanding())).applied
    except ChronosError as error:
        log.info("member_not_asked", node=node, reason=str(error))
        return -1


async def _from(
    node: str,
    members: Others,
    data: Path,
    above: int,
    on_offered: Callable[[Offered], Awaitable[None]],
    stage: Stage,
) -> Fetched | None:
    """Return the snapshot of this member; None when another one has to be asked."""
    stage.node, stage.bytes, stage.of_bytes, stage.trouble = node, 0, 0, ""
    log.info("snapshot_wanted", of=node, above=above)

    async def offered(what: Offered) -> None:
        stage.of_bytes = what.bytes
        _begin_with(data, node)
        await on_offered(what)

    try:
        async with members.lane(node) as lane:
            return await fetch(lane, data, above=above, on_offered=offered, on_bytes=_telling(stage))
    except ChronosError as error:  # also that there is no room, here or there: somebody may make some
        stage.trouble = str(error)
    log.warning("snapshot_not_had", of=node, reason=stage.trouble)
    stage.node = ""
    return None


def _telling(stage: Stage) -> OnBytes:
    """Return what keeps `stage` up, and says in the log each tenth that has come."""
    told = 0

    def tell(here: int) -> None:
        nonlocal told
        stage.bytes = here
        tenths = 10 * here // stage.of_bytes if stage.of_bytes else 0
        if tenths > told:
            told = tenths
            log.info("snapshot_comes", of=stage.node, percent=10 * tenths, bytes=here)

    return tell


def _begun_with(data: Path) -> str:
    try:
        return (data / YARD / FROM).read_text()
    except (OSError, ValueError):
        return ""


def _begin_with(data: Path, node: str) -> None:
    try:
        (data / YARD / FROM).write_text(node)
    except OSError as error:  # it only saves asking somebody who cannot go on with it
        log.warning("snapshot_source_not_noted", reason=str(error))
