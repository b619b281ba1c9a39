"""Who is waited for before the log is cut, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from chronos.cluster.memory import MemoryLog
from chronos.store.state import MemoryState
from chronos.store.truncation import Hold, Truncation, TruncationSettings

FEW = TruncationSettings(reserve_entries=2, held_bytes=50, free_bytes=1_000)


class Folded(MemoryState):
    """A state that has everything."""

    async def checkpoint(self, *, patiently: bool = False) -> int:
        return 1 << 40


async def a_log(entries: int) -> tuple[MemoryLog, Any]:
    """Return a log with entries of ten bytes."""
    log = MemoryLog()
    epoch = await log.campaign()
    for index in range(1, entries + 1):
        await log.append(index, bytes(10), epoch)
    return log, epoch


@pytest.mark.parametrize(
    ("needs", "first", "held", "passed"),
    [
        (None, 9, {}, set()),  # nobody needs anything: the reserve stays
        (20, 9, {}, set()),  # what is needed is in the reserve
        (7, 7, {"backup": 2}, set()),
        (6, 6, {"backup": 3}, set()),
        (2, 6, {"backup": 3}, {"backup"}),  # no more than the bytes allow
    ],
)
@pytest.mark.asyncio
async def test_the_log_waits_for_whoever_needs_it_within_its_bound(
    needs: int | None, first: int, held: dict[str, int], passed: set[str]
) -> None:
    log, epoch = await a_log(10)
    truncation = Truncation(log, Folded(), epoch, FEW, holds=[Hold("backup", lambda: needs)])
    assert await truncation.turn() == first
    assert (await log.bounds())[0] == first
    standing = truncation.standing
    assert (standing.held, standing.passed) == (held, passed)
    assert (standing.first, standing.last, standing.bytes) == (first, 10, (11 - first) * 10)


@pytest.mark.asyncio
async def test_the_slowest_is_waited_for_and_each_is_told_apart() -> None:
    log, epoch = await a_log(10)
    holds = [Hold("backup", lambda: 7), Hold("notify", lambda: 3), Hold("idle", lambda: None)]
    truncation = Truncation(log, Folded(), epoch, FEW, holds=holds)
    assert await truncation.turn() == 6
    assert truncation.standing.held == {"backup": 2, "notify": 3}
    assert truncation.standing.passed == {"notify"}


@pytest.mark.asyncio
async def test_nobody_is_waited_for_when_the_disk_is_nearly_full() -> None:
    log, epoch = await a_log(10)
    truncation = Truncation(log, Folded(), epoch, FEW, holds=[Hold("backup", lambda: 7)], free_bytes=lambda: 999)
    assert await truncation.turn() == 9
    assert truncation.standing.passed == {"backup"}


@pytest.mark.asyncio
async def test_what_state_has_not_folded_stays_whoever_needs_it_or_not() -> None:
    log, epoch = await a_log(10)
    truncation = Truncation(log, MemoryState(), epoch, FEW, holds=[Hold("backup", lambda: 5)])
    assert await truncation.turn() == 1
    assert truncation.standing.passed == set()
