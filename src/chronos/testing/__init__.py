"""Fakes that ship with Chronos, so that plug-ins and targets can be tested the way Chronos is."""

from __future__ import annotations

from chronos.testing.virtual_time import (
    Deadlock,
    NotUnderVirtualTime,
    TimeStandsStill,
    VirtualClock,
    VirtualLoop,
    run_virtual,
    virtual_time,
)

__all__ = [
    "Deadlock",
    "NotUnderVirtualTime",
    "TimeStandsStill",
    "VirtualClock",
    "VirtualLoop",
    "run_virtual",
    "virtual_time",
]
