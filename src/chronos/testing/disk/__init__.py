"""Disks that lose, tear, reorder and refuse what is written to them. See `crashdisk` for how they are used."""

from __future__ import annotations

from chronos.testing.disk.crashdisk import CrashDisk, read_folder, write_folder
from chronos.testing.disk.faults import Doing, Fault, Wrong
from chronos.testing.disk.model import POWER_CUTS, DiskModel, Keeps, flipped

__all__ = [
    "POWER_CUTS",
    "CrashDisk",
    "DiskModel",
    "Doing",
    "Fault",
    "Keeps",
    "Wrong",
    "flipped",
    "read_folder",
    "write_folder",
]
