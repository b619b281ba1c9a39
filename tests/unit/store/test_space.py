from __future__ import annotations

from chronos.errors import StorageFull
from chronos.store.space import SpaceKeeper
from chronos.testing import virtual_time


class Disk:
    """A disk as the keeper sees it."""

    storage_full = False
    spare = True
    ballast = True
    turns = 0
    cut_fails = False

    def drop_ballast(self) -> None:
        self.ballast = False

    def take_ballast(self) -> bool:
        self.ballast = True
        return True

    def has_spare_space(self) -> bool:
        return self.spare

    async def turn(self) -> int:
        self.turns += 1
        if self.cut_fails:
            raise StorageFull
        return 1


def keeper(disk: Disk) -> SpaceKeeper:
    return SpaceKeeper(disk, disk, disk)


@virtual_time
async def test_a_full_disk_is_given_the_ballast_and_what_can_be_cut() -> None:
    disk = Disk()
    disk.storage_full = True
    await keeper(disk).turn()
    assert not disk.ballast
    assert disk.turns == 1


@virtual_time
async def test_a_cut_that_finds_no_space_either_is_tried_again_next_turn() -> None:
    disk = Disk()
    disk.storage_full = disk.cut_fails = True
    keeping = keeper(disk)
    await keeping.turn()
    await keeping.turn()
    assert disk.turns == 2


@virtual_time
async def test_the_ballast_comes_back_only_when_it_does_not_fill_the_disk_again() -> None:
    disk = Disk()
    disk.ballast = disk.spare = False
    await keeper(disk).turn()
    assert not disk.ballast
    disk.spare = True
    await keeper(disk).turn()
    assert disk.ballast
    assert disk.turns == 0
