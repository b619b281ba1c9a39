"""The power fails at every write and every sync of a log at work; what was acknowledged is there afterwards."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from tests.crash.logwork import LogWork, survives
from tests.crash.places import memory_folder, seeds

from chronos.testing.disk import POWER_CUTS, CrashDisk, Doing, Keeps

STEPS = 45


class Cuts:
    """Cuts the power at every boundary, in every way, and counts what came of it."""

    def __init__(self, disk: CrashDisk, into: Path, chance: Random) -> None:
        self._disk = disk
        self._into = into
        self._chance = chance
        self.points = 0
        self.lost = 0

    def at(self, work: LogWork, doing: Doing) -> None:
        # What is lost entirely differs from one sync to the next only, not from write to write.
        for keeps in POWER_CUTS:
            if keeps is not Keeps.NOTHING or doing is Doing.SYNC:
                self._cut(work, keeps)

    def _cut(self, work: LogWork, keeps: Keeps) -> None:
        self.points += 1
        self._disk.crash(self._into, keeps, self._chance)
        self.lost += not survives(lambda: work.check(self._into))


def run(seed: int, *, synchronous: str = "FULL", steps: int = STEPS) -> Cuts:
    """Return what came of a log at work whose power failed everywhere."""
    chance = Random(seed)
    with memory_folder() as folder:
        (folder / "disk").mkdir()
        with CrashDisk(folder / "disk", f"power-cuts-{synchronous}-{seed}") as disk:
            work = LogWork(disk, chance, synchronous=synchronous)
            cuts = Cuts(disk, folder / "left", Random(seed + 1))
            disk.listen(lambda doing, _: cuts.at(work, doing))
            for _ in range(steps):
                work.step()
            cuts.at(work, Doing.SYNC)
            work.file.close()
            return cuts


@pytest.mark.parametrize("seed", seeds(8))
def test_a_power_cut_at_any_boundary_takes_nothing_that_was_acknowledged(seed: int) -> None:
    cuts = run(seed)
    assert cuts.points > 800
    assert cuts.lost == 0, f"python -m pytest '{__file__}' -k {seed}"


@pytest.mark.parametrize("seed", [1, 2])
def test_a_log_that_does_not_sync_every_commit_is_caught(seed: int) -> None:
    assert run(seed, synchronous="NORMAL", steps=15).lost > 10
