"""What a run is made of: how many jobs, how often something goes wrong, and how."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

PLANNED_A_SECOND = 2.0
"""The standard load of one node."""


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
    # Of several nodes only.
    POWER_CUT_ALL = "power_cut_all"
    ROLLING_RESTART = "rolling_restart"
    PAUSE = "pause"
    ENGINE_KILL = "engine_kill"
    ENGINE_PAUSE = "engine_pause"
    ISOLATED = "isolated"
    LEADER_ISOLATED = "leader_isolated"
    DEAF = "deaf"
    MUTE = "mute"
    LOSSY = "lossy"
    SLOW_NETWORK = "slow_network"
    CLOCK_STEP = "clock_step"
    DISK_LOST = "disk_lost"
    WATCHES_LOSE = "watches_lose"


_ALONE = (
    Fault.KILL,
    Fault.POWER_CUT,
    Fault.RESTART,
    Fault.RESTORE,
    Fault.CLOCK_BACK,
    Fault.CLOCK_AHEAD,
    Fault.CLOCK_FAR,
    Fault.SUSPEND,
    Fault.SLOW_DISK,
    Fault.DISK_FULL,
    Fault.FSYNC_EIO,
    Fault.FSYNC_EIO_FOREVER,
    Fault.WRITE_EIO,
    Fault.TARGETS_DOWN,
    Fault.TARGETS_HANG,
    Fault.TARGETS_SLOW,
    Fault.TARGETS_LIE,
)
_NETWORK = (
    Fault.ISOLATED,
    Fault.LEADER_ISOLATED,
    Fault.DEAF,
    Fault.MUTE,
    Fault.LOSSY,
    Fault.SLOW_NETWORK,
    Fault.WATCHES_LOSE,
)
_PROCESSES = (Fault.KILL, Fault.RESTART, Fault.ROLLING_RESTART, Fault.PAUSE, Fault.ENGINE_KILL, Fault.ENGINE_PAUSE)
_DISKS = (Fault.POWER_CUT, Fault.POWER_CUT_ALL, Fault.SLOW_DISK, Fault.DISK_LOST, Fault.KILL)
_TARGETS = (Fault.TARGETS_DOWN, Fault.TARGETS_HANG, Fault.TARGETS_SLOW)
_ALL = tuple(dict.fromkeys((*_PROCESSES, *_NETWORK, *_DISKS, *_TARGETS, Fault.CLOCK_STEP)))


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
        planned_a_second: The load; a run with less than 80 % of it proves nothing.
        first_after_s: Nothing goes wrong before this, in virtual seconds.
        tour: Let every fault strike in turn, instead of drawing one each time.
    """

    name: str
    jobs: int = 36
    fault_every_s: float = 24.0
    faults: tuple[Fault, ...] = _ALONE
    faults_at_least: int = 4
    op_every_s: float = 4.0
    clients: int = 3
    quiet_s: float = 60.0
    nasty_targets: bool = True
    planned_a_second: float = PLANNED_A_SECOND
    first_after_s: float = 0.0
    tour: bool = False


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="standard"),
        Profile(name="calm", fault_every_s=0, faults=(), faults_at_least=0, clients=0, nasty_targets=False),
        Profile(name="tour", fault_every_s=12, faults_at_least=len(_ALONE), tour=True),
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


def _cluster(name: str, *faults: Fault, **more: object) -> Profile:
    settings: dict[str, object] = {
        "jobs": 14,
        "planned_a_second": 0.8,
        "fault_every_s": 9.0,
        "faults_at_least": 3,
        "op_every_s": 3.0,
        "clients": 2,
        "quiet_s": 20.0,
    }
    return Profile(name=name, faults=faults, **(settings | more))  # type: ignore[arg-type]


CLUSTER_PROFILES = {
    profile.name: profile
    for profile in (
        _cluster("standard", *_ALL),
        _cluster("calm", fault_every_s=0, faults_at_least=0, clients=0, nasty_targets=False),
        _cluster("tour", *_ALL, fault_every_s=6.0, faults_at_least=len(_ALL), tour=True),
        _cluster("kills", Fault.KILL, fault_every_s=14.0, clients=0, nasty_targets=False),
        _cluster("rolling", Fault.ROLLING_RESTART, fault_every_s=14.0, clients=0, nasty_targets=False),
        _cluster("pauses", Fault.PAUSE, jobs=24, fault_every_s=6.0, nasty_targets=False),
        _cluster(
            "churn",
            Fault.ISOLATED,
            Fault.LEADER_ISOLATED,
            Fault.DEAF,
            Fault.MUTE,
            clients=5,
            op_every_s=0.6,
            nasty_targets=False,
        ),
        _cluster("network", *_NETWORK, nasty_targets=False),
        _cluster("processes", *_PROCESSES, nasty_targets=False),
        _cluster("disks", *_DISKS, nasty_targets=False),
        _cluster("clocks", Fault.CLOCK_STEP, Fault.KILL, Fault.LEADER_ISOLATED, nasty_targets=False),
    )
}
"""What runs of several nodes are made of."""
