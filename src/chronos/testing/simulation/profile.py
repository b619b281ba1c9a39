"""What a run is made of: how many jobs, how often something goes wrong, and how."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Fault(StrEnum):
    """What can go wrong."""

    KILL = "kill"
    POWER_CUT = "power_cut"
    RESTART = "restart"
    RESTORE = "restore"
    CLOCK_BACK = "clock_back"
    CLOCK_AHEAD = "clock_ahead"
    CLOCK_FAR = "clock_far"
    SUSPEND = "suspend"
    SLOW_DISK = "slow_disk"
    DISK_FULL = "disk_full"
    FSYNC_EIO = "fsync_eio"
    FSYNC_EIO_FOREVER = "fsync_eio_forever"
    WRITE_EIO = "write_eio"
    TARGETS_DOWN = "targets_down"
    TARGETS_HANG = "targets_hang"
    TARGETS_SLOW = "targets_slow"
    TARGETS_LIE = "targets_lie"


class Profile(Struct, frozen=True, kw_only=True):
    """A kind of run.

    Attributes:
        jobs: Created at the start; at least 30 of them in the standard load.
        fault_every_s: Mean distance between faults, in virtual seconds; 0 for a run without faults.
        faults: What may go wrong; each seed draws a part of it.
        faults_at_least: How many kinds a seed draws at least.
        op_every_s: Mean distance between two operations of one client.
        clients: How many change jobs at a time.
        quiet_s: The end of a run, without faults and operations, in which everything has to come to rest.
        nasty_targets: Whether targets fail when nothing else is wrong.
        tour: Let every fault strike in turn, instead of drawing one each time.
    """

    name: str
    jobs: int = 36
    fault_every_s: float = 24.0
    faults: tuple[Fault, ...] = tuple(Fault)
    faults_at_least: int = 4
    op_every_s: float = 4.0
    clients: int = 3
    quiet_s: float = 60.0
    nasty_targets: bool = True
    tour: bool = False


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="standard"),
        Profile(name="calm", fault_every_s=0, faults=(), faults_at_least=0, clients=0, nasty_targets=False),
        Profile(name="tour", fault_every_s=12, faults_at_least=len(Fault), tour=True),
        Profile(name="churn", fault_every_s=60, op_every_s=0.7, clients=5),
        Profile(
            name="disk",
            fault_every_s=15,
            faults=(
                Fault.POWER_CUT,
                Fault.KILL,
                Fault.DISK_FULL,
                Fault.FSYNC_EIO,
                Fault.FSYNC_EIO_FOREVER,
                Fault.WRITE_EIO,
                Fault.SLOW_DISK,
            ),
        ),
        Profile(
            name="clock",
            fault_every_s=20,
            faults=(Fault.CLOCK_BACK, Fault.CLOCK_AHEAD, Fault.CLOCK_FAR, Fault.SUSPEND, Fault.KILL),
            faults_at_least=3,
        ),
        Profile(
            name="targets",
            fault_every_s=20,
            faults=(Fault.TARGETS_DOWN, Fault.TARGETS_HANG, Fault.TARGETS_SLOW, Fault.TARGETS_LIE, Fault.KILL),
            faults_at_least=3,
        ),
    )
}
